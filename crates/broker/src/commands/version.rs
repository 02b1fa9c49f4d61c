//! `carillon version`.

use std::process::ExitCode;

/// Prints the version and the protocol that it speaks.
pub fn run() -> ExitCode {
    println!("carillon {}", env!("CARGO_PKG_VERSION"));
    println!("protocol {}", carillon_wire::SUBPROTOCOL);
    ExitCode::SUCCESS
}
