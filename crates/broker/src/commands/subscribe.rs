//! `carillon sub`: prints what comes on topics.

pub(super) mod format;
mod from;
mod output;

use std::process::ExitCode;

use carillon_client::{Ended, Event, Overflow, Start, SubscribeError, SubscribeOptions, Subscription};
use clap::ValueEnum;

use self::{format::Format, output::Output};
use super::{
    EXIT_FAILURE, EXIT_USAGE, complain,
    connection::{Connection, policy, refused},
    fail,
};

const AFTER_HELP: &str = "\
Exit status: 0 after --count messages, or when nobody reads the output any more, 1 when there was no connection, it was lost \
for good, or the broker refused a pattern, 2 when the command line or a file that it names is wrong, 124 when --timeout was \
over.

Missing messages, and how a subscription with --from or --last came back, are told on standard error, or with --json among \
the messages.

JSON: a message is an object with \"topic\", \"payload\" (\"payload_base64\" where it is not UTF-8), \"time\" and \"headers\"; one \
that a stream keeps has \"stream\", \"sequence\" and \"epoch\" too, without --from or --last not always the last of them. What \
happens beside messages is an object with one key:
  gap            messages are lost: \"pattern\", \"reason\", \"count\"; \"stream\", \"first\", \"last\"
  epoch_changed  other numbers count: \"stream\", \"epoch\", \"reason\"; they go on with \"from\"
  resumed        back at a position: \"outcome\", \"stream\", \"epoch\", \"sequence\", \"reconnected\"
  caught_up      everything is there up to now: \"stream\", \"epoch\", \"sequence\"
  reconnected    messages may be missing: \"downtime_ms\", \"cause\"
To go on later, use --from with epoch and sequence of the last message that was done with.";

/// What `carillon sub` can be told.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Topics to subscribe to; `*` stands for one token, `>` at the end for one or more. A message that matches several is printed
    /// once
    #[arg(required = true, value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Where to start in the stream that keeps the topics: `now`, `last` (the last value of each topic), `beginning`, a time as
    /// in 2030-01-31T12:00:00Z, or EPOCH:SEQUENCE (behind this position). Then it resumes by itself without a loss. Takes one
    /// PATTERN
    #[arg(long, value_name = "START", value_parser = from::start, conflicts_with = "last")]
    from: Option<Start>,
    /// Start with the last N messages that a stream keeps. Takes one PATTERN
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// Leave after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print each message as a JSON object on a line of its own; see below
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print each payload as it is, and a newline
    #[arg(long)]
    raw: bool,
    /// What the broker does when this command takes messages too slowly
    #[arg(long, value_enum, default_value_t = OverflowFlag::DropOldest)]
    overflow: OverflowFlag,
    /// Stop when the connection is lost
    #[arg(long)]
    no_reconnect: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OverflowFlag {
    /// Drop the oldest messages, and tell how many
    DropOldest,
    /// Close the connection; this command then comes back, if it may
    Close,
}

impl From<OverflowFlag> for Overflow {
    fn from(flag: OverflowFlag) -> Self {
        match flag {
            OverflowFlag::DropOldest => Self::DropOldest,
            OverflowFlag::Close => Self::Close,
        }
    }
}

impl Args {
    fn format(&self) -> Format {
        match (self.json, self.raw) {
            (true, _) => Format::Json,
            (false, true) => Format::Raw,
            (false, false) => Format::Text,
        }
    }
}

/// Runs `carillon sub`.
pub async fn run(args: Args) -> ExitCode {
    args.connection.within_timeout(connect_and_print(&args)).await
}

async fn connect_and_print(args: &Args) -> ExitCode {
    let client = match args.connection.open(policy(!args.no_reconnect)).await {
        Ok(client) => client,
        Err(error) => return refused(&error),
    };
    let mut options = SubscribeOptions::default().overflow(args.overflow.into());
    options.start = args.last.map(Start::Newest).or_else(|| args.from.clone());
    let subscription = match client.subscribe_many(args.patterns.iter().map(String::as_str), options).await {
        Ok(subscription) => subscription,
        Err(
            error @ (SubscribeError::InvalidPattern { .. }
            | SubscribeError::NoPattern
            | SubscribeError::ManyPatternsWithStart { .. }),
        ) => return fail(EXIT_USAGE, &error),
        Err(error) => return fail(EXIT_FAILURE, &error),
    };
    let mut output = Output::stdout();
    let end = print(subscription, args.format(), args.count, &mut output).await;
    let written = output.finish().await;
    let _ = client.close().await;
    match (written, end) {
        (Err(error), _) => fail(EXIT_FAILURE, &format_args!("standard output cannot be written: {error}")),
        (Ok(()), Some(ended)) => fail(EXIT_FAILURE, &ended),
        (Ok(()), None) => ExitCode::SUCCESS,
    }
}

/// Prints events until there were enough, nobody reads them, or no more come; then it gives the reason, where there is one.
async fn print(
    mut subscription: Subscription,
    format: Format,
    count: Option<u64>,
    output: &mut Output,
) -> Option<Ended> {
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let event = if let Some(event) = subscription.try_next() {
            event
        } else {
            // Nothing waits, so what was printed should be seen before the next message comes.
            output.flush().await;
            tokio::select! {
                event = subscription.next() => event?,
                () = output.closed() => return None,
            }
        };
        match event {
            Event::Ended(ended) => return Some(ended),
            Event::Message(message) => {
                format.message(&message, output.buffer());
                left -= 1;
            }
            other => {
                if let Some(complaint) = format.happened(&other, output.buffer()) {
                    output.flush().await;
                    complain(&complaint);
                }
            }
        }
        if !output.flush_if_large().await {
            return None;
        }
    }
    None
}
