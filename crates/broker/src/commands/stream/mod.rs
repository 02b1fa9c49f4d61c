//! `carillon stream`: what a running broker keeps, and changes of it, through its admin listener.

mod admin;
mod change;
mod client;
mod endpoint;
mod progress;
mod read;
mod table;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use carillon_streams::stream::StreamName;
use clap::Subcommand;

use self::{
    admin::AdminFlags,
    client::{AdminClient, AskError},
};
use super::{
    EXIT_FAILURE, EXIT_USAGE,
    connection::{EXIT_REFUSED, within},
    fail,
};
use crate::admin::documents::{StreamAndStore, StreamList};

const EXIT_CODES: &str = "\
Exit status: 0 when it was done, 1 when the broker could not be reached or could not do it, 2 when the command line or a file \
that it names is wrong, 3 when the broker refused it, as for a stream that it does not have, 124 when --timeout was over.";

/// What to do with streams.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the streams
    #[command(after_help = EXIT_CODES)]
    Ls(Look),
    /// Show a stream: how it is defined, what it keeps, its epochs, its store
    #[command(after_help = EXIT_CODES)]
    Info(LookAt),
    /// Print the messages that a stream keeps now
    #[command(after_help = EXIT_CODES)]
    Read(read::Args),
    /// Take a stream's oldest messages away, or all; its readers are told
    #[command(after_help = EXIT_CODES)]
    Purge(change::PurgeArgs),
    /// Take a stream away with all its messages; while it is defined, it begins anew at once
    #[command(after_help = EXIT_CODES)]
    Rm(change::ChangeArgs),
    /// Give a stream another epoch, after its store was restored from a backup
    #[command(after_help = EXIT_CODES)]
    RenewEpoch(change::ChangeArgs),
    /// Open the store of the streams on disk again after a write has failed
    #[command(after_help = EXIT_CODES)]
    Reopen(Look),
}

#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, clap::Args)]
struct LookAt {
    #[command(flatten)]
    stream: StreamArg,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, clap::Args)]
struct StreamArg {
    /// The stream
    #[arg(id = "stream", value_name = "STREAM", value_parser = stream_name)]
    name: StreamName,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct OutputFlag {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn stream_name(text: &str) -> Result<StreamName, String> {
    StreamName::new(text).map_err(|error| error.to_string())
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Ask(#[from] AskError),
    /// What was typed, or a file that it names.
    #[error("{0}")]
    Usage(String),
    #[error("nothing was changed")]
    Declined,
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

impl StreamError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Ask(AskError::Refused { .. }) => EXIT_REFUSED,
            Self::Ask(_) | Self::Declined | Self::Output(_) => EXIT_FAILURE,
        }
    }
}

/// Runs `carillon stream`.
pub async fn run(args: Args) -> ExitCode {
    let admin = match &args.command {
        Command::Ls(args) | Command::Reopen(args) => &args.admin,
        Command::Info(args) => &args.admin,
        Command::Read(args) => &args.admin,
        Command::Purge(args) => &args.admin,
        Command::Rm(args) | Command::RenewEpoch(args) => &args.admin,
    };
    let client = match admin.client() {
        Ok(client) => client,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    within(admin.timeout(), async {
        match args.command.run(&client).await {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever closed standard output has seen enough.
            Err(StreamError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => fail(error.exit_code(), &error),
        }
    })
    .await
}

impl Command {
    async fn run(&self, client: &AdminClient) -> Result<(), StreamError> {
        match self {
            Self::Ls(args) => list(client, args.output).await,
            Self::Info(args) => info(client, &args.stream.name, args.output).await,
            Self::Read(args) => read::run(client, args).await,
            Self::Purge(args) => change::purge(client, args).await,
            Self::Rm(args) => change::remove(client, args).await,
            Self::RenewEpoch(args) => change::renew_epoch(client, args).await,
            Self::Reopen(args) => change::reopen(client, args.output).await,
        }
    }
}

async fn list(client: &AdminClient, output: OutputFlag) -> Result<(), StreamError> {
    let answer = client.get("/streams").await?;
    output.print(&answer, |list: &StreamList| table::list(list))
}

async fn info(client: &AdminClient, name: &StreamName, output: OutputFlag) -> Result<(), StreamError> {
    let answer = client.get(&format!("/streams/{name}")).await?;
    output.print(&answer, |stream: &StreamAndStore| table::info(stream))
}

impl OutputFlag {
    /// Prints a document as it came, or for people.
    fn print<T: serde::de::DeserializeOwned>(
        self,
        answer: &[u8],
        for_people: impl FnOnce(&T) -> String,
    ) -> Result<(), StreamError> {
        let text = if self.json { answer.to_vec() } else { for_people(&client::read(answer)?).into_bytes() };
        io::stdout().write_all(&text).map_err(StreamError::Output)
    }
}
