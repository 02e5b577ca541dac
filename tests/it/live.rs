//! What is true only for the moment: shown at once on all replicas, ended by itself.

mod presence;
mod presence_faults;
mod rolls;
mod storm;
mod two_replicas;
mod typing;
