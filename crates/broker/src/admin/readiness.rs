//! Whether the broker takes connections, and why not.

use std::sync::{Arc, Mutex, PoisonError};

use carillon_metrics::BrokerMetrics;

/// A reason why the broker takes no connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// It is not listening yet.
    Starting,
    /// It was told to stop.
    Draining,
}

impl NotReady {
    /// For whoever asks `/readyz`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Starting => "starting: the broker does not listen yet",
            Self::Draining => "draining: the broker was told to stop",
        }
    }
}

/// The reasons why the broker takes no connections; without any, it is ready.
#[derive(Debug)]
pub struct Readiness {
    reasons: Mutex<Vec<NotReady>>,
    metrics: Arc<BrokerMetrics>,
}

impl Readiness {
    /// Begins with [`NotReady::Starting`].
    pub fn starting(metrics: Arc<BrokerMetrics>) -> Self {
        Self { reasons: Mutex::new(vec![NotReady::Starting]), metrics }
    }

    /// Adds a reason.
    pub fn raise(&self, reason: NotReady) {
        self.change(|reasons| {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        });
    }

    /// Takes a reason away.
    pub fn clear(&self, reason: NotReady) {
        self.change(|reasons| reasons.retain(|&known| known != reason));
    }

    /// The reasons now, the oldest first.
    pub fn reasons(&self) -> Vec<NotReady> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<NotReady>)) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut reasons);
        self.metrics.ready.set(i64::from(reasons.is_empty()));
    }
}
