//! What every workload needs to run.

use std::time::Duration;

use crate::{Dialect, Target, progress::Progress};

/// Against what, by how many threads, and who is told: what every workload is run with.
#[derive(Clone)]
pub struct Run<'a, D> {
    /// How the broker is spoken to.
    pub dialect: D,
    /// Where it is.
    pub target: &'a Target,
    /// Threads of the load, at least 1.
    pub threads: usize,
    /// The broker's process, where it is on this machine.
    pub server: Option<u32>,
    /// What the topics start with. The rest of their names is new in each run.
    pub topic: String,
    /// How long nothing may come before the run takes what is missing for lost.
    pub patience: Duration,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
}

impl<'a, D: Dialect> Run<'a, D> {
    /// With one thread, topics below `bench`, and 10 s of patience.
    pub fn new(dialect: D, target: &'a Target, progress: &'a dyn Progress) -> Self {
        Self {
            dialect,
            target,
            threads: 1,
            server: None,
            topic: "bench".to_owned(),
            patience: Duration::from_secs(10),
            progress,
        }
    }
}

/// Why a workload could not be run at all. What goes wrong while it runs is in its outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Settings that make no sense.
    #[error("{0}")]
    Settings(String),
    /// The broker does not speak what the workload needs.
    #[error("{dialect} has no {what}")]
    Unsupported {
        /// The dialect's name.
        dialect: &'static str,
        /// What it lacks.
        what: &'static str,
    },
    /// Not all connections could be opened.
    #[error("connection {number} could not be opened: {reason}")]
    Open {
        /// Which, from 0.
        number: usize,
        /// Why.
        reason: std::io::Error,
    },
    /// There is nothing to replay.
    #[error(
        "no stream keeps `{topic}`, so there is nothing to replay: define a stream for it in the broker's configuration"
    )]
    NothingKept {
        /// The topic.
        topic: String,
    },
    /// What is to be replayed could not be published as a whole.
    #[error("the stream could not be filled: {0}")]
    NotFilled(String),
    /// The server's process cannot be looked at, or a thread of the load could not be started.
    #[error(transparent)]
    Machine(#[from] std::io::Error),
    /// A thread of the load ended before it should.
    #[error("a thread of the load ended before it should; this is a defect of the load")]
    ThreadEnded,
}
