//! One run: one server, one work.

use std::{collections::BTreeMap, io, time::Duration};

use carillon_bench::{
    Arrivals, Carillon, Connect, Dialect, FanOut, Framing, Idle, KeyExchange, Pace, Quantiles, Run, RunError, Target,
    Tickets, Trust,
    outcome::{Common, Outcome, Warning},
};
use carillon_benches::{live::Live, others::Others, site::HOST};
use tokio::{runtime::Runtime, time};

use crate::{
    dialects::{Floor, Mqtt, Nats, Nchan},
    servers::{self, Running, Server},
    site::Site,
    works::{Figure, Load, Tokens, Work},
};

/// What is done before anything counts, of the same rate.
const WARM_UP_SECONDS: f64 = 1.0;
/// Publications that not all subscribers have, when a server is to be saturated.
const WINDOW: u64 = 2000;
/// What is published to find out how much a saturated server delivers in a second.
const PROBE_MESSAGES: u64 = 3000;
/// The floor takes no window: it is ordered to send at a rate that no server reaches.
const BEYOND_ALL: f64 = 1e9;
/// Of a core, a saturated server uses at least this.
const SATURATED: f64 = 0.9;
/// Handshakes that are under way at once.
const HANDSHAKES: usize = 16;
/// Beside three times what a run should take.
const PATIENCE: Duration = Duration::from_secs(45);
/// Of the rate at which is published. Who delivers less has latencies that tell how long the run was, and nothing else.
const FELL_BEHIND: f64 = 0.8;
/// After which nothing more is expected.
const SILENCE: Duration = Duration::from_secs(5);

/// What a run said.
#[derive(Debug, Clone)]
pub(crate) enum Ran {
    /// All came that was expected.
    Well(Reading),
    /// Something was missing, and what.
    Drowned(String),
    /// The server, or its dialect, has no such thing, and why.
    Not(String),
}

/// A run that counts.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// What the work is about.
    pub(crate) value: f64,
    /// What else there is to say.
    pub(crate) details: BTreeMap<&'static str, f64>,
    /// What TLS agreed on.
    pub(crate) tls: String,
    /// Processor time of everybody but the server and the load, for each second.
    pub(crate) others: f64,
    /// Why it may mean less than it seems to.
    pub(crate) warnings: Vec<String>,
}

/// What each run needs.
pub(crate) struct Bench<'a> {
    pub(crate) site: &'a Site,
    pub(crate) runtime: &'a Runtime,
    pub(crate) seconds: f64,
}

/// Half of whose rate is to be published, in publications in each second, where that is known.
pub(crate) type Saturation = Option<f64>;

impl Bench<'_> {
    /// Does a work with a server that was just started.
    pub(crate) fn run(&self, work: &Work, server: Server, running: &Running, half_of: Saturation) -> io::Result<Ran> {
        let target = self.target(running)?;
        Ok(match server {
            Server::Carillon => {
                let dialect = match work.load {
                    Load::Connect { connections, tokens: Tokens::Own, .. } => {
                        Carillon::default().with_tokens(servers::own_tokens(&self.site.files, connections)?)
                    }
                    _ => Carillon::default().with_token(&servers::token(&self.site.files)?),
                };
                self.run_with(dialect, work, &target, running, half_of)?
            }
            Server::Nats => {
                self.run_with(Nats::new(servers::USER, servers::PASSWORD), work, &target, running, half_of)?
            }
            Server::Mosquitto => {
                self.run_with(Mqtt::new(servers::USER, servers::PASSWORD), work, &target, running, half_of)?
            }
            Server::Nchan => match work.load {
                Load::FanOut { topics: 2.., .. } => Ran::Not(
                    "a connection that publishes has one channel, so that there would be 1,000 of them".to_owned(),
                ),
                _ => self.run_with(Nchan, work, &target, running, half_of)?,
            },
            Server::Floor => match work.load {
                Load::FanOut { topics: 2.., .. } => Ran::Not("it has no publishers".to_owned()),
                _ => self.run_with(Floor, work, &target, running, half_of)?,
            },
        })
    }

    fn target(&self, running: &Running) -> io::Result<Target> {
        let trust = Trust::CaFile(self.site.files.authority());
        Target::with_key_exchange(running.address, HOST, &trust, KeyExchange::X25519).map_err(io::Error::other)
    }

    fn run_with<D: Dialect>(
        &self,
        dialect: D,
        work: &Work,
        target: &Target,
        running: &Running,
        half_of: Saturation,
    ) -> io::Result<Ran> {
        let progress = Live::new(format!("{}, {}", work.name, dialect.name()));
        let mut run = Run::new(dialect, target, &progress);
        run.server = Some(running.pid());
        servers::TOPICS.clone_into(&mut run.topic);
        run.patience = SILENCE;
        let others = Others::begin(running.pid())?;
        let limit = PATIENCE + Duration::from_secs_f64(self.seconds * 3.0);
        let ran = self.runtime.block_on(async {
            let ran = time::timeout(limit, self.load(&run, work, half_of)).await;
            ran.unwrap_or_else(|_| Ok(Ran::Drowned(format!("it was not done after {} s", limit.as_secs()))))
        });
        Live::clear();
        let others = others.cores()?;
        Ok(match ran {
            Ok(Ran::Well(reading)) => Ran::Well(Reading { others, ..reading }),
            Ok(other) => other,
            Err(RunError::Unsupported { dialect, what }) => Ran::Not(format!("{dialect} has no {what}")),
            Err(error) => Ran::Drowned(error.to_string()),
        })
    }

    async fn load<D: Dialect>(&self, run: &Run<'_, D>, work: &Work, half_of: Saturation) -> Result<Ran, RunError> {
        match work.load {
            Load::FanOut { topics, subscribers, per_second, payload_bytes } => {
                let fan_out = self.fan_out(topics, subscribers, per_second, payload_bytes);
                fan_out_reading(run, &fan_out, work.figure).await
            }
            Load::Saturate { subscribers, payload_bytes } => self.saturate(run, work, subscribers, payload_bytes).await,
            Load::HalfOf { subscribers, payload_bytes, .. } => match half_of {
                Some(saturated) => {
                    let fan_out = self.fan_out(1, subscribers, saturated / 2.0, payload_bytes);
                    fan_out_reading(run, &fan_out, work.figure).await
                }
                None => Ok(Ran::Not("its saturation was not measured in this round".to_owned())),
            },
            Load::Idle { connections } => {
                let outcome = Idle { connections, seconds: 2.0, ..Idle::default() }.run(run).await?;
                Ok(judge(&outcome, outcome.resident_kib_for_each, BTreeMap::new()))
            }
            Load::Connect { connections, resumed, .. } => {
                let tickets = if resumed { Tickets::Kept } else { Tickets::Never };
                let arrivals = Arrivals::AtOnce(HANDSHAKES);
                let outcome = Connect { connections, arrivals, tickets, subscribe: false }.run(run).await?;
                if let Some(Warning::NotResumed { full, of }) =
                    outcome.common.warnings.iter().find(|warning| matches!(warning, Warning::NotResumed { .. }))
                    && full * 10 > *of
                {
                    return Ok(Ran::Not(format!("{full} of {of} sessions were not resumed")));
                }
                let details = latencies(&outcome.latency);
                Ok(judge(&outcome, outcome.server_us_for_each_connection, details))
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "far below 2^52"
    )]
    fn fan_out(&self, topics: usize, subscribers: usize, per_second: f64, payload_bytes: usize) -> FanOut {
        let messages = |seconds: f64| (per_second * seconds / topics as f64).ceil() as u64;
        FanOut {
            topics,
            subscribers,
            publishers: 1,
            pace: Pace::PerSecond(per_second),
            messages: messages(self.seconds).max(1),
            warm_up: messages(WARM_UP_SECONDS),
            payload_bytes,
            framing: Framing::Each,
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below 2^52")]
    async fn saturate<D: Dialect>(
        &self,
        run: &Run<'_, D>,
        work: &Work,
        subscribers: usize,
        payload_bytes: usize,
    ) -> Result<Ran, RunError> {
        let pace = if run.dialect.name() == Floor.name() {
            Pace::PerSecond(BEYOND_ALL)
        } else {
            Pace::Saturated { window: WINDOW }
        };
        let fan_out = FanOut { pace, warm_up: PROBE_MESSAGES / 3, ..self.fan_out(1, subscribers, 1.0, payload_bytes) };
        let probe = FanOut { messages: PROBE_MESSAGES, ..fan_out.clone() }.run(run).await?;
        let problems = probe.problems();
        if !problems.is_empty() {
            return Ok(Ran::Drowned(problems.join("; ")));
        }
        let messages = (probe.published_per_second * self.seconds).ceil() as u64;
        let mut ran = fan_out_reading(run, &FanOut { messages, ..fan_out }, work.figure).await?;
        if let Ran::Well(reading) = &mut ran
            && let Some(cores) = reading.details.get("server_cores")
            && *cores < SATURATED
        {
            reading.warnings.push(format!("the server used {cores:.2} of its core, so that it was not what was slow"));
        }
        Ok(ran)
    }
}

async fn fan_out_reading<D: Dialect>(run: &Run<'_, D>, fan_out: &FanOut, figure: Figure) -> Result<Ran, RunError> {
    let outcome = fan_out.run(run).await?;
    if let Pace::PerSecond(asked) = fan_out.pace
        && asked < BEYOND_ALL
        && outcome.published_per_second < asked * FELL_BEHIND
        && outcome.problems().is_empty()
    {
        let told = format!("fell behind: all came, at {:.0} of {asked:.0} msg/s", outcome.published_per_second);
        return Ok(Ran::Drowned(told));
    }
    let mut details = latencies(&outcome.latency);
    details.insert("published_per_second", outcome.published_per_second);
    details.insert("delivered_per_second", outcome.delivered_per_second);
    details.extend(outcome.server_ns_for_each_delivery.map(|ns| ("cpu_ns_for_each_delivery", ns)));
    let value = match figure {
        Figure::DeliveriesPerSecond => Some(outcome.delivered_per_second),
        Figure::LatencyP99 => Some(outcome.latency.p99_ms),
        _ => outcome.server_ns_for_each_delivery,
    };
    Ok(judge(&outcome, value, details))
}

fn latencies(latency: &Quantiles) -> BTreeMap<&'static str, f64> {
    let Quantiles { p50_ms, p99_ms, p99_9_ms, max_ms, .. } = *latency;
    BTreeMap::from([("p50_ms", p50_ms), ("p99_ms", p99_ms), ("p99_9_ms", p99_9_ms), ("max_ms", max_ms)])
}

/// Whether a run counts, and what it says.
fn judge(outcome: &impl Outcome, value: Option<f64>, mut details: BTreeMap<&'static str, f64>) -> Ran {
    let problems = outcome.problems();
    if !problems.is_empty() {
        return Ran::Drowned(problems.join("; "));
    }
    let Some(value) = value else { return Ran::Not("its process could not be looked at".to_owned()) };
    let Common { seconds, server, tls, own, warnings, .. } = outcome.common();
    details.insert("seconds", *seconds);
    details.insert("load_cores", own.thread_shares.iter().sum());
    if let Some(server) = server {
        details.insert("server_cores", server.cores);
    }
    Ran::Well(Reading {
        value,
        details,
        tls: format!("{} {} {}", tls.version, tls.suite, tls.group),
        others: 0.0,
        warnings: warnings.iter().map(ToString::to_string).collect(),
    })
}
