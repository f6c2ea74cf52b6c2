//! The command line of `nmt`: parse, run, exit code.

mod render;

fn main() {}
