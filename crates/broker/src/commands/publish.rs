//! `carillon pub`.

use std::process::ExitCode;

/// What `carillon pub` can be told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs `carillon pub`.
#[expect(clippy::unused_async, reason = "the client is asynchronous")]
pub async fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
