//! `carillon key`: API keys for services.

use std::process::ExitCode;

use carillon_access::identity::{KeyId, generate, limits::SECRET_BYTES};
use clap::Subcommand;
use rand::{TryRngCore, rngs::OsRng};

use super::{EXIT_FAILURE, fail};

/// What to do with API keys.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an API key, and print it with what the access file is to hold of it. The key is kept nowhere: it is shown this once
    New {
        /// What the key is called in the access file and in logs: a-z, 0-9 and `-`, such as billing-2030
        #[arg(long, value_name = "ID")]
        id: KeyId,
    },
}

/// Runs `carillon key`.
pub fn run(args: &Args) -> ExitCode {
    let Command::New { id } = &args.command;
    let mut random = [0; SECRET_BYTES];
    if let Err(error) = OsRng.try_fill_bytes(&mut random) {
        return fail(EXIT_FAILURE, &format_args!("the operating system gives no random bytes: {error}"));
    }
    let (key, hash) = generate(id, &random);
    println!("key, for the service:      {}", String::from_utf8_lossy(key.expose()));
    println!("hash, for the access file: keys = [{{ id = \"{id}\", hash = \"{}\" }}]", hash.to_hex());
    ExitCode::SUCCESS
}
