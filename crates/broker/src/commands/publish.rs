//! `carillon pub`: publishes one message, or each line of standard input as it comes.

mod input;
mod outcome;
mod report;

use std::{collections::VecDeque, process::ExitCode};

use carillon_client::{Ack, Bytes, Client, PendingAck, PublishError};
use carillon_wire::{Id, MAX_MESSAGE_ID_BYTES, TopicBuf};
use tokio::sync::mpsc;

use self::{
    input::{InputError, lines_of_stdin, whole_stdin},
    outcome::Tally,
    report::Report,
};
use super::{
    EXIT_FAILURE, EXIT_USAGE,
    connection::{Connection, policy, refused},
    fail,
};

/// So many publications may wait for their acknowledgement.
const MAX_IN_FLIGHT: usize = 1024;

const AFTER_HELP: &str = "\
Exit status: 0 when the broker accepted everything, 1 when there was no connection, or it was lost and what became of a \
message is not known, 2 when the command line or a file that it names is wrong, 3 when the broker refused messages, \
124 when --timeout was over.

JSON: for each message that was accepted, in their order, an object with \"stream\", \"sequence\", \"epoch\" and \"duplicate\": \
whether the stream had this message id before, and where. {\"stream\":null} where no stream keeps the topic.";

/// What `carillon pub` can be told.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Where to publish
    #[arg(value_parser = topic)]
    topic: TopicBuf,
    /// What to publish [default: all of standard input]
    #[arg(conflicts_with = "lines", allow_hyphen_values = true)]
    payload: Option<String>,
    /// Publish each line of standard input as it comes, without its newline
    #[arg(long)]
    lines: bool,
    /// A header of every message
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Names the message, so that its stream keeps it once: it is sent again when the connection is lost before the broker
    /// answered, and you can do so too
    #[arg(long, value_name = "ID", value_parser = message_id, conflicts_with = "lines")]
    message_id: Option<String>,
    /// Publish only if this is the sequence of the newest message that is kept of the topic; 0: only if there is none
    #[arg(long, value_name = "SEQUENCE", value_parser = sequence, conflicts_with = "lines")]
    expected_sequence: Option<u64>,
    /// With --lines: stop when the connection is lost
    #[arg(long, requires = "lines")]
    no_reconnect: bool,
    #[command(flatten)]
    report: Report,
    #[command(flatten)]
    connection: Connection,
}

fn topic(name: &str) -> Result<TopicBuf, String> {
    TopicBuf::new(name).map_err(|error| error.to_string())
}

fn header(pair: &str) -> Result<(String, String), String> {
    match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a header is written KEY=VALUE".to_owned()),
    }
}

fn message_id(id: &str) -> Result<String, String> {
    match id.len() {
        1..=MAX_MESSAGE_ID_BYTES => Ok(id.to_owned()),
        bytes => Err(format!("a message id has 1 to {MAX_MESSAGE_ID_BYTES} bytes, and this one {bytes}")),
    }
}

fn sequence(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number <= Id::MAX.get());
    number.ok_or_else(|| format!("a sequence is an integer from 0 to {}", Id::MAX.get()))
}

/// Runs `carillon pub`.
pub async fn run(args: Args) -> ExitCode {
    args.connection.within_timeout(connect_and_publish(&args)).await
}

async fn connect_and_publish(args: &Args) -> ExitCode {
    let reconnect = policy(args.message_id.is_some() || args.lines && !args.no_reconnect);
    let client = match args.connection.open(reconnect).await {
        Ok(client) => client,
        Err(error) => return refused(&error),
    };
    let publisher = Publisher { client: &client, args };
    let code =
        if args.lines { publisher.lines(lines_of_stdin()).await } else { publisher.one(args.payload.as_deref()).await };
    // All is acknowledged or given up, so how the connection ends changes nothing.
    let _ = client.close().await;
    code
}

/// Publishes to one topic.
struct Publisher<'a> {
    client: &'a Client,
    args: &'a Args,
}

impl Publisher<'_> {
    async fn one(&self, payload: Option<&str>) -> ExitCode {
        let payload = match payload {
            Some(payload) => Bytes::copy_from_slice(payload.as_bytes()),
            None => match whole_stdin().await {
                Ok(payload) => payload,
                Err(error) => return fail(EXIT_FAILURE, &error),
            },
        };
        let mut tally = Tally::default();
        let outcome = match self.enqueue(payload).await {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        tally.count(self.reported(outcome));
        tally.report()
    }

    async fn lines(&self, mut lines: mpsc::Receiver<Result<Bytes, InputError>>) -> ExitCode {
        let mut tally = Tally::default();
        let mut in_flight: VecDeque<PendingAck> = VecDeque::new();
        let mut input = None;
        // Ends with the input, or with the client: then no line can be published any more.
        while !tally.has_client_ended() {
            tokio::select! {
                line = lines.recv(), if in_flight.len() < MAX_IN_FLIGHT => match line {
                    Some(Ok(line)) => match self.enqueue(line).await {
                        Ok(pending) => in_flight.push_back(pending),
                        Err(error) => tally.count(Err(error)),
                    },
                    Some(Err(error)) => {
                        input = Some(error);
                        break;
                    }
                    None => break,
                },
                outcome = first_of(&mut in_flight), if !in_flight.is_empty() => {
                    if let Some(outcome) = outcome {
                        tally.count(self.reported(outcome));
                    }
                }
            }
        }
        while let Some(outcome) = first_of(&mut in_flight).await {
            tally.count(self.reported(outcome));
        }
        let code = tally.report();
        match input {
            Some(error) => fail(if matches!(error, InputError::TooLong) { EXIT_USAGE } else { EXIT_FAILURE }, &error),
            None => code,
        }
    }

    async fn enqueue(&self, payload: Bytes) -> Result<PendingAck, PublishError> {
        let mut publication = self.client.publication(self.args.topic.as_str(), payload);
        for (key, value) in &self.args.headers {
            publication = publication.header(key, value);
        }
        if let Some(id) = &self.args.message_id {
            publication = publication.message_id(id);
        }
        if let Some(sequence) = self.args.expected_sequence {
            publication = publication.expected_sequence(sequence);
        }
        publication.enqueue().await
    }

    /// Prints where the message is kept, if that was asked for.
    fn reported(&self, outcome: Result<Ack, PublishError>) -> Result<(), PublishError> {
        outcome.map(|ack| self.args.report.print(ack.kept.as_ref()))
    }
}

/// The outcome of the oldest publication, which then leaves the queue; `None` when there is none. Cancel safe.
async fn first_of(in_flight: &mut VecDeque<PendingAck>) -> Option<Result<Ack, PublishError>> {
    let outcome = in_flight.front_mut()?.await;
    in_flight.pop_front();
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_split_at_the_first_equals_sign() {
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(header("a="), Ok(("a".to_owned(), String::new())));
        assert!(header("a").is_err());
        assert!(header("=b").is_err());
    }

    #[test]
    fn message_ids_and_sequences_are_those_that_a_stream_takes() {
        let longest = "i".repeat(MAX_MESSAGE_ID_BYTES);
        assert_eq!(message_id(&longest), Ok(longest.clone()));
        assert!(message_id("").is_err() && message_id(&(longest + "i")).is_err());
        assert_eq!((sequence("0"), sequence("9007199254740991")), (Ok(0), Ok(Id::MAX.get())));
        for wrong in ["", "-1", "x", "9007199254740992", "18446744073709551616"] {
            assert!(sequence(wrong).is_err(), "{wrong}");
        }
    }
}
