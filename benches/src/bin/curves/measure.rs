//! One point of a curve: a broker that is started for it, the work, and what it cost.

use std::{
    collections::BTreeMap,
    io::{self, Error},
    time::Duration,
};

use carillon_bench::{FanOut, Framing, Pace};
use carillon_benches::{
    carillon::{self, Settings},
    live::Live,
    machine,
    others::Others,
    site::Site,
};
use tokio::{runtime::Runtime, time::timeout};

use crate::{
    curve::{Curve, Growing, Quantity},
    names::Kind,
    server::Server,
};

/// What is done before anything counts, at the same rate.
const WARM_UP_SECONDS: f64 = 1.0;
/// For one point.
const LIMIT: Duration = Duration::from_mins(2);

pub(crate) type Figures = BTreeMap<Quantity, f64>;

/// A point that counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    pub(crate) figures: Figures,
    /// Processor time of everybody but the broker and the load, for each second.
    pub(crate) others: f64,
    /// Why it may mean less than it seems to.
    pub(crate) warnings: Vec<String>,
}

/// What each point needs.
pub(crate) struct Bench<'a> {
    pub(crate) site: &'a Site,
    pub(crate) runtime: &'a Runtime,
    /// How long the measured part of each takes.
    pub(crate) seconds: f64,
    pub(crate) server_on: &'a [usize],
    pub(crate) load_on: &'a [usize],
}

impl Bench<'_> {
    /// Measures a point. An error is why it does not count: what did not come, or what could not be done.
    pub(crate) fn point(&self, curve: &Curve, at: u64) -> io::Result<Reading> {
        let count = usize::try_from(at).map_err(Error::other)?;
        match curve.growing {
            Growing::Subscribers => {
                // So few that a core is enough for all of them.
                let fan_out = self.fan_out(count, 4.0, 128);
                self.with_broker(Settings::default(), self.server_on, async |server| server.fan_out(&fan_out).await)
            }
            Growing::Payload => {
                let fan_out = self.fan_out(20, 20.0, count);
                self.with_broker(Settings::default(), self.server_on, async |server| server.fan_out(&fan_out).await)
            }
            Growing::Topics => self.table(Kind::Topics, at),
            Growing::Patterns => self.table(Kind::Patterns, at),
            Growing::Shards => self.shards(count),
            Growing::Connections => self.with_broker(Settings::default(), self.server_on, async |server| {
                server.beside_idle(count, &self.fan_out(100, 1000.0, 128)).await
            }),
        }
    }

    fn table(&self, kind: Kind, count: u64) -> io::Result<Reading> {
        let subscriptions = usize::try_from(count).map_err(Error::other)? + 1;
        let settings = Settings { subscriptions: subscriptions.max(1000), ..Settings::default() };
        self.with_broker(settings, self.server_on, async |server| server.table(kind, count, self.seconds).await)
    }

    /// On one core at a rate, and with a core for each shard as fast as it can.
    fn shards(&self, shards: usize) -> io::Result<Reading> {
        let settings = Settings { shards, ..Settings::default() };
        let fan_out = self.fan_out(100, 5000.0, 128);
        let paced = self.with_broker(settings, self.server_on, async |server| server.fan_out(&fan_out).await)?;
        let cores: Vec<_> = machine::allowed().into_iter().take(shards).collect();
        let is_shared = cores.iter().any(|core| self.load_on.contains(core));
        let saturated = self.with_broker(settings, &cores, async |server| {
            server.saturate(&self.fan_out(100, 1.0, 128), self.seconds, cores.len(), is_shared).await
        })?;
        let mut reading = paced;
        reading.figures.extend(saturated.figures);
        reading.others = reading.others.max(saturated.others);
        reading.warnings.extend(saturated.warnings);
        Ok(reading)
    }

    fn fan_out(&self, subscribers: usize, per_second: f64, payload_bytes: usize) -> FanOut {
        FanOut {
            topics: 1,
            subscribers,
            publishers: 1,
            pace: Pace::PerSecond(per_second),
            messages: whole(per_second * self.seconds).max(1),
            warm_up: whole(per_second * WARM_UP_SECONDS).max(1),
            payload_bytes,
            framing: Framing::Each,
        }
    }

    /// Starts a broker on these processors, has it do the work, and ends it.
    fn with_broker(
        &self,
        settings: Settings,
        processors: &[usize],
        work: impl AsyncFnOnce(&Server) -> io::Result<Reading>,
    ) -> io::Result<Reading> {
        machine::enter(processors)?;
        let running = carillon::start(self.site, &settings);
        machine::enter(self.load_on)?;
        let mut server = Server::of(running?, self.site)?;
        let others = Others::begin(server.running.pid())?;
        let done = self.runtime.block_on(async { timeout(LIMIT, work(&server)).await });
        Live::clear();
        let others = others.cores()?;
        if !server.running.is_alive() {
            return Err(Error::other("the broker ended"));
        }
        let mut reading = done.map_err(|_| Error::other(format!("it was not done after {} s", LIMIT.as_secs())))??;
        reading.others = others;
        Ok(reading)
    }
}

/// The least whole number that is not less.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below 2^52, and not negative")]
pub(crate) fn whole(number: f64) -> u64 {
    number.ceil() as u64
}
