//! Whether the broker takes connections and publications, and why not.

use std::{
    borrow::Cow,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use carillon_metrics::BrokerMetrics;

/// A reason why the broker is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReady {
    /// It is not listening yet.
    Starting,
    /// It was told to stop.
    Draining,
    /// Streams on disk take nothing, because their store has failed. Everything else works.
    StoreFailed {
        /// What failed.
        reason: String,
    },
}

impl NotReady {
    /// For whoever asks `/readyz`.
    pub fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::Starting => "starting: the broker does not listen yet".into(),
            Self::Draining => "draining: the broker was told to stop".into(),
            Self::StoreFailed { reason } => format!(
                "the store has failed, and streams on disk take no publications: {reason}. Once the cause is gone, `carillon \
                 stream reopen` or a restart opens it again"
            )
            .into(),
        }
    }
}

/// The reasons why the broker is not ready; without any, it is.
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

    /// Adds a reason. Of each kind there is one: it takes the place of the one before.
    pub fn raise(&self, reason: NotReady) {
        self.change(|reasons| match reasons.iter_mut().find(|known| is_same_kind(known, &reason)) {
            Some(known) => *known = reason,
            None => reasons.push(reason),
        });
    }

    /// Takes the reason of this kind away.
    pub fn clear(&self, reason: &NotReady) {
        self.change(|reasons| reasons.retain(|known| !is_same_kind(known, reason)));
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

fn is_same_kind(one: &NotReady, other: &NotReady) -> bool {
    mem::discriminant(one) == mem::discriminant(other)
}
