//! `carillon bench`: puts load on a broker, and tells what came back and what it cost.

mod place;
mod progress;
mod summary;
mod workloads;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use carillon_bench::{Carillon, Run, RunError, process};
use carillon_wire::TopicBuf;
use clap::Subcommand;
use serde::Serialize;

use self::{
    place::{Place, PlaceError},
    progress::Line,
    summary::Summary,
    workloads::{ChurnArgs, ConnectArgs, FanOutArgs, IdleArgs, ManyToManyArgs, PublishArgs, ReplayArgs, StormArgs},
};
use super::{
    EXIT_FAILURE, EXIT_USAGE,
    connection::{Connection, seconds},
    fail,
};

const AFTER_HELP: &str = "\
Exit status: 0 when everything expected came, once and in order, and no connection was lost; 1 when not, and what is printed \
says what; 2 when the command line or a file that it names is wrong; 124 when --timeout was over.

Latencies count from when a publication was due, at times that are fixed beforehand: a broker that stalls is seen in all that \
was due meanwhile. WARNING tells when the load itself may be the limit, or the machine. docs/bench.md tells how to read it.

JSON: one object with \"workload\", \"settings\", \"ok\", \"problems\" and \"outcome\".";

/// What `carillon bench` can be told.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(subcommand)]
    workload: Workload,
}

/// A workload's own options, and those of all.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct With<A: clap::Args> {
    #[command(flatten)]
    own: A,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    connection: Connection,
}

/// How every workload is run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Run")]
struct How {
    /// Threads of the load, each with its share of the connections
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// The broker's process on this machine: adds what it used
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// What topics start with; what follows is new in each run
    #[arg(long, value_name = "TOPIC", default_value = "bench", value_parser = topic)]
    topic: TopicBuf,
    /// What is missing is lost when nothing has come for so long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    patience: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// One publisher, one topic, many subscribers
    FanOut(With<FanOutArgs>),
    /// Many publishers, many topics, many subscribers
    ManyToMany(With<ManyToManyArgs>),
    /// Connections as they come: TCP, TLS, WebSocket, CONNECT
    Connect(With<ConnectArgs>),
    /// All connections are cut at once, and come back at once
    Storm(With<StormArgs>),
    /// Connections that are subscribed and do nothing
    Idle(With<IdleArgs>),
    /// Publications that are acknowledged: once they are on disk, where a stream on disk keeps the topics
    Publish(With<PublishArgs>),
    /// Fill a stream, and then read it from its beginning; needs a stream that keeps --topic
    Replay(With<ReplayArgs>),
    /// Subscriptions, or whole connections, that come and go
    Churn(With<ChurnArgs>),
}

/// A topic below which there is room for two more tokens.
fn topic(name: &str) -> Result<TopicBuf, String> {
    let longest = format!("{name}.ffffffff.{}", u32::MAX);
    TopicBuf::new(&longest).map_err(|error| format!("with the two tokens that a run adds, it is no topic: {error}"))?;
    TopicBuf::new(name).map_err(|error| error.to_string())
}

/// Runs `carillon bench`.
pub async fn run(args: Args) -> ExitCode {
    macro_rules! told {
        ($name:literal, $with:expr) => {{
            let With { own, how, connection } = $with;
            let settings = own.settings();
            let told = async {
                let broker = Broker::find(&connection).await?;
                let outcome = settings.run(&broker.run(&how)).await?;
                Ok::<_, BenchError>(tell($name, &settings, &outcome, how.json))
            };
            connection
                .within_timeout(async { told.await.unwrap_or_else(|error| fail(error.exit_code(), &error)) })
                .await
        }};
    }
    match args.workload {
        Workload::FanOut(with) => told!("fan-out", with),
        Workload::ManyToMany(with) => told!("many-to-many", with),
        Workload::Connect(with) => told!("connect", with),
        Workload::Storm(with) => told!("storm", with),
        Workload::Idle(with) => told!("idle", with),
        Workload::Publish(with) => told!("publish", with),
        Workload::Replay(with) => told!("replay", with),
        Workload::Churn(with) => told!("churn", with),
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl BenchError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Place(PlaceError::Unreachable { .. }) => EXIT_FAILURE,
            Self::Place(_) | Self::Run(RunError::Settings(_) | RunError::Unsupported { .. }) => EXIT_USAGE,
            Self::Run(_) => EXIT_FAILURE,
        }
    }
}

/// The broker that gets the load, and whom progress is told.
struct Broker {
    place: Place,
    line: Line,
}

impl Broker {
    async fn find(connection: &Connection) -> Result<Self, PlaceError> {
        if let Err(error) = process::raise_file_limit() {
            tracing::warn!("this process may not open as many files as the system allows: {error}");
        }
        Ok(Self { place: Place::find(connection).await?, line: Line::new() })
    }

    fn run(&self, how: &How) -> Run<'_, Carillon> {
        Run {
            threads: how.threads.into(),
            server: how.pid,
            topic: how.topic.as_str().to_owned(),
            patience: how.patience,
            ..Run::new(self.place.dialect.clone(), &self.place.target, &self.line)
        }
    }
}

/// Prints an outcome, and says by the exit status whether it is as it must be.
fn tell<O: Summary>(workload: &str, settings: &impl Serialize, outcome: &O, json: bool) -> ExitCode {
    let problems = outcome.problems();
    let text = if json {
        let document = serde_json::json!({
            "workload": workload,
            "settings": settings,
            "ok": problems.is_empty(),
            "problems": problems,
            "outcome": outcome,
        });
        format!("{document}\n")
    } else {
        outcome.summary()
    };
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        return fail(EXIT_FAILURE, &format_args!("standard output cannot be written: {error}"));
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILURE) }
}
