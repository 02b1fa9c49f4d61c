//! The `carillon` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    carillon::commands::main()
}
