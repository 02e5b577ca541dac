mod checker;
mod content;
mod model;
fn main() {}
