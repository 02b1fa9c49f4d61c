//! Keeps what the broker holds for its clients within `quotas.broker.queued_bytes`.
//!
//! Each connection has bounds of its own, but there may be very many that use them up at the same time. So what all of
//! them hold together is looked at now and then. Where it is too much, what each may keep is halved until it is not:
//!
//! - Outboxes are shrunk, as if they were full.
//! - Who holds more in parts of messages, or in replies that it does not read, is told to come back later.
//!
//! All shards take a step before the next one is told, so those who hold the most give first, wherever they are. The
//! last step is everybody's fair share of the quota, and who holds no more than that never gives.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use carillon_access::quota::Most;
use carillon_metrics::{Phase, QuotaName, ShardMetrics};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::Shard;
use crate::{gate::Gate, quota::Ledger};

/// What comes in between two looks may go beyond the quota.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// For a step to show in what is held.
const STEP_EVERY: Duration = Duration::from_millis(20);
/// A shortage that goes on is told this often.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// What each connection may keep while there is no shortage.
const ANYTHING: usize = usize::MAX;

/// Looks at all shards, and tells them what their connections may keep.
pub(crate) struct Watch {
    gate: Arc<Gate>,
    ledger: Arc<Ledger>,
    shards: Arc<[Arc<ShardMetrics>]>,
    /// What one outbox holds at most.
    outbox_bytes: usize,
    allowance: watch::Sender<usize>,
    /// Shards that have not done yet what they were told last.
    busy: Arc<AtomicUsize>,
}

/// What a shard is told.
#[derive(Clone)]
pub(crate) struct Allowance {
    bytes: watch::Receiver<usize>,
    busy: Arc<AtomicUsize>,
}

impl Watch {
    pub(crate) fn new(
        gate: &Arc<Gate>,
        ledger: &Arc<Ledger>,
        shards: &[Arc<ShardMetrics>],
        outbox_bytes: usize,
    ) -> (Self, Allowance) {
        let (allowance, bytes) = watch::channel(ANYTHING);
        let busy = Arc::new(AtomicUsize::new(0));
        let (gate, ledger) = (Arc::clone(gate), Arc::clone(ledger));
        let told = Allowance { bytes, busy: Arc::clone(&busy) };
        (Self { gate, ledger, shards: shards.into(), outbox_bytes, allowance, busy }, told)
    }

    /// Looks for as long as it is polled.
    pub(crate) async fn run(self) {
        let mut told: Option<Instant> = None;
        let mut pause = LOOK_EVERY;
        loop {
            sleep(pause).await;
            if self.busy.load(Ordering::Acquire) > 0 {
                pause = STEP_EVERY;
                continue;
            }
            pause = LOOK_EVERY;
            let held = self.held_bytes();
            let quota = self.gate.scopes().broker.queued_bytes;
            let Some(Most { most, mode }) = quota.filter(|quota| held > quota.most) else {
                self.tell(ANYTHING);
                continue;
            };
            if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
                let action = if mode.is_enforced() { "taken from those with the most" } else { "only reported" };
                tracing::warn!(
                    held_bytes = held,
                    quota_bytes = most,
                    "more waits in memory than quotas.broker.queued_bytes; it is {action}"
                );
                told = Some(Instant::now());
            }
            if !mode.is_enforced() {
                self.ledger.note_reported(QuotaName::BrokerQueuedBytes);
                self.tell(ANYTHING);
                continue;
            }
            self.ledger.note_enforced(QuotaName::BrokerQueuedBytes);
            let share = self.fair_share_bytes(most);
            let next = (*self.allowance.borrow()).min(self.outbox_bytes) / 2;
            self.tell(next.max(share));
            if next > share {
                pause = STEP_EVERY;
            }
        }
    }

    fn tell(&self, bytes: usize) {
        // At its fair share, a connection may have come by more again since it was told.
        if bytes != ANYTHING || *self.allowance.borrow() != ANYTHING {
            self.busy.store(self.shards.len(), Ordering::Release);
            self.allowance.send_replace(bytes);
        }
    }

    fn held_bytes(&self) -> u64 {
        self.sum(|shard| shard.queued_bytes.get()) + self.sum(|shard| shard.buffered_bytes.get())
    }

    /// What each connection may hold in its outbox, and as much beside it, so that it is not too much together.
    fn fair_share_bytes(&self, most: u64) -> usize {
        let connections = self.sum(|shard| shard.connections.of(Phase::WebSocket).get());
        usize::try_from(most / 2 / connections.max(1)).unwrap_or(ANYTHING)
    }

    fn sum(&self, of: impl Fn(&ShardMetrics) -> i64) -> u64 {
        self.shards.iter().map(|shard| u64::try_from(of(shard)).unwrap_or(0)).sum()
    }
}

/// Lets the connections of a shard keep what they are allowed to.
pub(super) async fn keep_to(shard: Rc<Shard>, mut allowance: Allowance) {
    while allowance.bytes.changed().await.is_ok() {
        let bytes = *allowance.bytes.borrow_and_update();
        shard.may_keep_bytes.set(bytes);
        if bytes != ANYTHING {
            shard.hub.borrow_mut().shrink_outboxes(bytes);
            shard.end_turn();
            // What they hold beside their outboxes, they let go of themselves.
            shard.wake_those_who_buffer(bytes);
        }
        allowance.busy.fetch_sub(1, Ordering::Release);
    }
}
