//! The options of each workload, and the settings that they are.

use std::time::Duration;

use carillon_bench::{Arrivals, Churn, ChurnOf, Connect, FanOut, Framing, Idle, Pace, Publish, Replay, Storm, Tickets};
use clap::ValueEnum;

use crate::commands::connection::seconds;

/// The smallest payload: it tells when it was due, who published it, and which one it is.
const MIN_PAYLOAD_BYTES: i64 = 16;

fn payload_bytes(text: &str) -> Result<usize, String> {
    let bytes: i64 = text.parse().map_err(|_| "a number of bytes is needed".to_owned())?;
    if bytes < MIN_PAYLOAD_BYTES {
        return Err(format!(
            "a payload has {MIN_PAYLOAD_BYTES} bytes at least, which tell when it was due and which one it is"
        ));
    }
    usize::try_from(bytes).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "a number for each second is needed, as in 1000 or 0.5".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("it must be above 0 for each second".to_owned()) }
}

/// How publications go out, in fan-out and many-to-many.
#[derive(Debug, clap::Args)]
pub(super) struct Flow {
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = payload_bytes)]
    payload: usize,
    /// How long is published at this pace
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, conflicts_with = "messages")]
    seconds: Duration,
    /// How many publications for each topic, instead of a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// How long the same is done before, and not measured
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    warm_up: f64,
    /// Publish as fast as subscribers get it, with so many publications on their way: finds how much the broker can deliver.
    /// Without --messages it is 100,000 publications
    #[arg(long, value_name = "WINDOW", num_args = 0..=1, default_missing_value = "1000", conflicts_with_all = ["rate", "seconds"],
        value_parser = clap::value_parser!(u64).range(1..))]
    saturate: Option<u64>,
    /// Put publications that are due together into one WebSocket message
    #[arg(long)]
    together: bool,
}

/// Options of `fan-out`.
#[derive(Debug, clap::Args)]
pub(super) struct FanOutArgs {
    /// How many subscribers
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    subscribers: u32,
    /// Publications in each second, each due at a fixed time
    #[arg(long, value_name = "PER_SECOND", default_value = "1000", value_parser = rate)]
    rate: f64,
    #[command(flatten)]
    flow: Flow,
}

/// Options of `many-to-many`.
#[derive(Debug, clap::Args)]
pub(super) struct ManyToManyArgs {
    /// How many topics; subscribers are spread over them
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    topics: u32,
    /// How many subscribers, at least as many as topics
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..))]
    subscribers: u32,
    /// How many publishers; each publishes to all topics in turn
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..))]
    publishers: u16,
    /// Publications in each second of all publishers together, each due at a fixed time
    #[arg(long, value_name = "PER_SECOND", default_value = "2000", value_parser = rate)]
    rate: f64,
    #[command(flatten)]
    flow: Flow,
}

impl FanOutArgs {
    pub(super) fn settings(&self) -> FanOut {
        self.flow.settings(1, self.subscribers as usize, 1, self.rate)
    }
}

impl ManyToManyArgs {
    pub(super) fn settings(&self) -> FanOut {
        self.flow.settings(self.topics as usize, self.subscribers as usize, self.publishers, self.rate)
    }
}

impl Flow {
    fn settings(&self, topics: usize, subscribers: usize, publishers: u16, rate: f64) -> FanOut {
        const SATURATING: u64 = 100_000;
        let topic_count = topics as u64;
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate_of_topic = rate / topics as f64;
        let has_warm_up = self.warm_up > 0.0;
        let (pace, messages, warm_up) = if let Some(window) = self.saturate {
            let messages = self.messages.unwrap_or(SATURATING.div_ceil(topic_count));
            (Pace::Saturated { window }, messages, messages.div_ceil(10))
        } else {
            let messages = self.messages.unwrap_or_else(|| count(rate_of_topic, self.seconds.as_secs_f64()));
            (Pace::PerSecond(rate), messages, count(rate_of_topic, self.warm_up))
        };
        FanOut {
            topics,
            subscribers,
            publishers,
            pace,
            messages,
            warm_up: if has_warm_up { warm_up } else { 0 },
            payload_bytes: self.payload,
            framing: framing(self.together),
        }
    }
}

fn framing(together: bool) -> Framing {
    if together { Framing::Together } else { Framing::Each }
}

/// At least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are above 0, and it saturates")]
fn count(per_second: f64, seconds: f64) -> u64 {
    ((per_second * seconds).round() as u64).max(1)
}

/// Options of `connect`.
#[derive(Debug, clap::Args)]
pub(super) struct ConnectArgs {
    /// How many
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// So many are under way at once
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "rate")]
    at_once: u32,
    /// So many are begun in each second, whatever the broker does
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Resume TLS sessions, with tickets that are gathered before
    #[arg(long)]
    resume: bool,
    /// Also subscribe each to a topic of its own
    #[arg(long)]
    subscribe: bool,
}

impl ConnectArgs {
    pub(super) fn settings(&self) -> Connect {
        Connect {
            connections: self.connections as usize,
            arrivals: self.rate.map_or(Arrivals::AtOnce(self.at_once as usize), Arrivals::PerSecond),
            tickets: if self.resume { Tickets::Kept } else { Tickets::Never },
            subscribe: self.subscribe,
        }
    }
}

/// Options of `storm`.
#[derive(Debug, clap::Args)]
pub(super) struct StormArgs {
    /// How many
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Come back with full TLS handshakes, as clients do whose tickets are lost
    #[arg(long)]
    full_handshakes: bool,
}

impl StormArgs {
    pub(super) fn settings(&self) -> Storm {
        let tickets = if self.full_handshakes { Tickets::Never } else { Tickets::Kept };
        Storm { connections: self.connections as usize, tickets }
    }
}

/// Options of `idle`.
#[derive(Debug, clap::Args)]
pub(super) struct IdleArgs {
    /// How many
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How long they idle
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    seconds: Duration,
}

impl IdleArgs {
    pub(super) fn settings(&self) -> Idle {
        let (connections, seconds) = (self.connections as usize, self.seconds.as_secs_f64());
        Idle { connections, seconds, ..Idle::default() }
    }
}

/// Options of `publish`.
#[derive(Debug, clap::Args)]
pub(super) struct PublishArgs {
    /// Connections that publish
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Publications of one connection that may wait for their acknowledgement
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Publications in each second in all, each due at a fixed time [default: as fast as acknowledgements come]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// How many topics
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    topics: u32,
    /// How many publications in all
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = payload_bytes)]
    payload: usize,
    /// Put publications that are due together into one WebSocket message
    #[arg(long)]
    together: bool,
}

impl PublishArgs {
    pub(super) fn settings(&self) -> Publish {
        Publish {
            connections: self.connections,
            in_flight: self.in_flight as usize,
            per_second: self.rate,
            topics: self.topics as usize,
            messages: self.messages,
            payload_bytes: self.payload,
            framing: framing(self.together),
        }
    }
}

/// Options of `replay`.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Readers, each of which reads all
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    readers: u32,
    /// How many messages
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Bytes of each payload
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = payload_bytes)]
    payload: usize,
}

impl ReplayArgs {
    pub(super) fn settings(&self) -> Replay {
        Replay { readers: self.readers as usize, messages: self.messages, payload_bytes: self.payload }
    }
}

/// Options of `churn`.
#[derive(Debug, clap::Args)]
pub(super) struct ChurnArgs {
    /// What comes and goes
    #[arg(long, value_enum, default_value_t = ChurnFlag::Subscriptions)]
    of: ChurnFlag,
    /// How many in each second
    #[arg(long, value_name = "PER_SECOND", default_value = "100", value_parser = rate)]
    rate: f64,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// Connections that subscriptions come and go on
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ChurnFlag {
    /// On a connection that stays: subscribe, publish, read, unsubscribe
    Subscriptions,
    /// Connect, subscribe, publish, read, disconnect
    Connections,
}

impl ChurnArgs {
    pub(super) fn settings(&self) -> Churn {
        Churn {
            of: match self.of {
                ChurnFlag::Subscriptions => ChurnOf::Subscriptions,
                ChurnFlag::Connections => ChurnOf::Connections,
            },
            per_second: self.rate,
            seconds: self.seconds.as_secs_f64(),
            connections: self.connections as usize,
        }
    }
}
