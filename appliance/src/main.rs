//! The one binary. What it does is said in the library; this only says how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    pericard::run(std::env::args_os())
}
