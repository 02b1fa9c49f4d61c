//! `carillon token`: makes tokens for development, and reads any.

mod mint;
mod read;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do with tokens.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign a token, for development: in production the issuer alone has the key
    Mint(Box<mint::Args>),
    /// Print what is in a token, and with --config whether the broker takes it
    Read(read::Args),
}

/// Runs `carillon token`.
pub fn run(args: &Args) -> ExitCode {
    match &args.command {
        Command::Mint(args) => mint::run(args),
        Command::Read(args) => read::run(args),
    }
}
