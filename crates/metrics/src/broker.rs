//! What is counted for the broker as a whole.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{AcceptError, Gauge, Labelled, ReloadResult, SharedCounter};

/// What is counted for the broker as a whole. Any thread may write; nothing here is on a hot path.
#[derive(Debug)]
pub struct BrokerMetrics {
    /// Failures to accept a connection.
    pub accept_errors: Labelled<AcceptError, SharedCounter>,
    /// Times that accepting paused, because descriptors or memory had run out.
    pub accept_pauses: SharedCounter,
    /// Connections that were closed at once, because there were as many as are allowed.
    pub connections_refused: SharedCounter,
    /// Reloads of certificate and key.
    pub config_reloads: Labelled<ReloadResult, SharedCounter>,
    /// When the certificate in use runs out, in seconds since 1970. Write it with `set` only. 0 means not known.
    pub certificate_not_after_seconds: Gauge,
    /// 1 while the broker takes connections, else 0. Write it with `set` only.
    pub ready: Gauge,
    version: &'static str,
    limits: Vec<(&'static str, u64)>,
    start_time_seconds: u64,
}

impl BrokerMetrics {
    /// Starts counting. `limits` are the configured bounds that a graph should show beside what they bound, each with the
    /// name it has in the configuration.
    pub fn new(version: &'static str, limits: Vec<(&'static str, u64)>) -> Self {
        Self {
            accept_errors: Labelled::default(),
            accept_pauses: SharedCounter::default(),
            connections_refused: SharedCounter::default(),
            config_reloads: Labelled::default(),
            certificate_not_after_seconds: Gauge::default(),
            ready: Gauge::default(),
            version,
            limits,
            // A clock before 1970 is wrong anyhow, and no reason not to start.
            start_time_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        }
    }

    /// The broker's version.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The configured bounds, by name.
    pub fn limits(&self) -> &[(&'static str, u64)] {
        &self.limits
    }

    /// When this was made, in seconds since 1970.
    pub fn start_time_seconds(&self) -> u64 {
        self.start_time_seconds
    }
}
