//! Hostile input and hostile callers: what browsers are told, what the log holds, and what attackers can use up.

pub mod attackers;
mod attacking;
mod attacks;
mod bounds;
mod figures;
mod headers;
mod logs;
mod measured;
mod replays;
