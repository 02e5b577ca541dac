//! What is true only for the moment: shown at once on all replicas, ended by itself, stored nowhere.

mod typing;
