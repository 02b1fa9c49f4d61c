//! Keeps one issuer's keys fresh: a task that asks the schedule what to do, does it, and tells it what came of it.

use std::{sync::Arc, time::Duration};

use carillon_access::identity::{Action, Fetched, JwksCache, Key, Skipped};
use carillon_listener::gate::KeyRequests;
use carillon_metrics::{BrokerMetrics, JwksFetchResult};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{JwksSource, error::FetchError, fetch::Document, in_force::InForce};
use crate::access::now_s;

/// What the task works with.
#[derive(Debug)]
pub(super) struct Keeper {
    /// A reload may bring another timing or other algorithms; the place stays. The task ends with the sender.
    pub(super) source: watch::Receiver<Arc<JwksSource>>,
    /// What the gate asks.
    pub(super) requests: KeyRequests,
    pub(super) in_force: Arc<InForce>,
    pub(super) metrics: Arc<BrokerMetrics>,
}

impl Keeper {
    /// Runs until the sender of the source is dropped. `fetch` is told of every outcome's schedule, and called by nobody
    /// else.
    pub(super) async fn run<F>(mut self, fetch: impl Fn(Arc<JwksSource>) -> F)
    where
        F: Future<Output = Result<Document, FetchError>>,
    {
        // Only differences of it count, so it begins with the task.
        let start = Instant::now();
        let elapsed_s = || start.elapsed().as_secs();
        let mut cache = JwksCache::new(self.source.borrow_and_update().timing);
        let mut seen = Seen::default();
        let mut action = cache.on_tick(0);
        loop {
            action = match action {
                // Whatever is fetched is fetched here and awaited, so nothing can be under way.
                Action::Fetch | Action::AwaitFetched => {
                    let source = Arc::clone(&self.source.borrow());
                    let fetched = fetch(Arc::clone(&source)).await;
                    let fetched = self.take(&source, fetched, cache.failures(), &mut seen);
                    self.answer_requests().await;
                    cache.on_fetched(elapsed_s(), fetched)
                }
                Action::WaitUntil(until_s) => {
                    let late = if cache.failures() == 0 {
                        Duration::ZERO
                    } else {
                        up_to_a_fifth(Duration::from_secs(until_s.saturating_sub(elapsed_s())))
                    };
                    tokio::select! {
                        () = sleep_until(start + Duration::from_secs(until_s) + late) => cache.on_tick(elapsed_s()),
                        () = self.requests.asked() => cache.on_unknown_kid(elapsed_s()),
                        changed = self.source.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            cache.set_timing(self.source.borrow_and_update().timing);
                            cache.on_tick(elapsed_s())
                        }
                    }
                }
            };
        }
    }

    /// Puts fetched keys in force; counts and tells what came of the fetch.
    fn take(
        &self,
        source: &JwksSource,
        fetched: Result<Document, FetchError>,
        failures: u32,
        seen: &mut Seen,
    ) -> Result<Fetched, FetchError> {
        let JwksSource { issuer, url, .. } = source;
        match fetched {
            Ok(Document { jwks, max_age_s }) => {
                let keys: Arc<[Key]> = jwks.keys.into();
                self.in_force.set_keys(issuer, &keys, now_s());
                self.metrics.jwks_fetches.of(JwksFetchResult::Ok).inc();
                let count = keys.len();
                if seen.is_news(&keys) || failures > 0 {
                    tracing::info!(issuer, %url, keys = count, "the issuer's keys have come");
                } else {
                    tracing::debug!(issuer, %url, keys = count, "the issuer's keys are the same as before");
                }
                seen.warn_of(jwks.skipped, issuer);
                Ok(Fetched { keys, max_age_s: Some(jittered_age_s(max_age_s, source.timing.max_age_s)) })
            }
            Err(error) => {
                self.metrics.jwks_fetches.of(error.result()).inc();
                let until_then = if seen.has_keys() { "the old ones stay in use" } else { "its tokens are refused" };
                tracing::warn!(issuer, %url, %error, "the issuer's keys cannot be fetched; until they can, {until_then}");
                Err(error)
            }
        }
    }

    /// Requests that came during a fetch are answered by it.
    async fn answer_requests(&self) {
        tokio::select! {
            biased;
            () = self.requests.asked() => {}
            () = std::future::ready(()) => {}
        }
    }
}

/// What the log was told of, so that it is not told again.
#[derive(Debug, Default)]
struct Seen {
    key_ids: Option<Vec<Option<String>>>,
    skipped: Vec<Skipped>,
}

impl Seen {
    const fn has_keys(&self) -> bool {
        self.key_ids.is_some()
    }

    fn is_news(&mut self, keys: &[Key]) -> bool {
        let key_ids: Vec<_> = keys.iter().map(|key| key.id().map(str::to_owned)).collect();
        let is_news = self.key_ids.as_ref() != Some(&key_ids);
        self.key_ids = Some(key_ids);
        is_news
    }

    fn warn_of(&mut self, skipped: Vec<Skipped>, issuer: &str) {
        if skipped != self.skipped {
            for skipped in &skipped {
                tracing::warn!(issuer, "the issuer's JWKS document holds what is not used: {skipped}");
            }
            self.skipped = skipped;
        }
    }
}

/// The age, up to a tenth shorter, so that brokers that started together do not keep asking together.
fn jittered_age_s(told_s: Option<u64>, configured_s: u64) -> u64 {
    let age_s = told_s.unwrap_or(u64::MAX).min(configured_s);
    age_s - rand::random_range(0..=age_s / 10)
}

/// A delay on top of a wait after failures, so that brokers that lost their source together do not find it together.
fn up_to_a_fifth(wait: Duration) -> Duration {
    (wait / 5).mul_f64(rand::random())
}
