//! Keeps what the broker holds for its clients within `quotas.broker.queued_bytes`.
//!
//! Each connection has bounds of its own, but there may be very many that use them up at the same time. So each shard
//! looks now and then at what all of them hold together. Where it is too much, those who hold the most give first: their
//! outboxes are shrunk as if they were full. Where that does not do, those who have sent a large part of a message are
//! told to come back. Who reads on, and publishes what comes in one piece, does not notice.

use std::{rc::Rc, sync::Arc, time::Duration};

use carillon_access::quota::Most;
use carillon_metrics::{Gauge, QuotaName, ShardMetrics};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Shard;

/// What comes in between two looks may go beyond the quota.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A shortage that goes on is told this often.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// What a connection may hold however short memory is; the quota leaves room for that.
pub(crate) const LEAST_BYTES: usize = 64 << 10;

pub(super) async fn keep_within_quota(shard: Rc<Shard>, all: Arc<[Arc<ShardMetrics>]>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<Instant> = None;
    loop {
        looks.tick().await;
        let scopes = shard.gate.scopes();
        let Some(Most { most, mode }) = scopes.broker.queued_bytes.filter(|quota| held_bytes(&all) > quota.most) else {
            shard.is_short_of_memory.set(false);
            continue;
        };
        if told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
            let (held, action) =
                (held_bytes(&all), if mode.is_enforced() { "taken from those with the most" } else { "only reported" });
            tracing::warn!(
                held_bytes = held,
                quota_bytes = most,
                "more waits in memory than quotas.broker.queued_bytes; it is {action}"
            );
            told = Some(Instant::now());
        }
        if !mode.is_enforced() {
            shard.ledger.note_reported(QuotaName::BrokerQueuedBytes);
            continue;
        }
        shard.ledger.note_enforced(QuotaName::BrokerQueuedBytes);
        let mut outbox_bytes = shard.settings.limits.outbox_bytes;
        while held_bytes(&all) > most && outbox_bytes > LEAST_BYTES {
            outbox_bytes = (outbox_bytes / 2).max(LEAST_BYTES);
            shard.hub.borrow_mut().shrink_outboxes(outbox_bytes);
            shard.end_turn();
        }
        // Where that does not do, it is parts of messages. Those who have sent them look at this themselves.
        shard.is_short_of_memory.set(held_bytes(&all) > most);
        if shard.is_short_of_memory() {
            shard.wake_all();
        }
    }
}

fn held_bytes(all: &[Arc<ShardMetrics>]) -> u64 {
    let bytes = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
    all.iter().map(|shard| bytes(&shard.queued_bytes) + bytes(&shard.buffered_bytes)).sum()
}
