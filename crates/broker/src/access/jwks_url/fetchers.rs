//! All issuers with a JWKS URL: one task each, from one reload to the next.

use std::{collections::HashMap, mem, sync::Arc};

use carillon_listener::{
    Gate,
    gate::{KeyRequests, Rules},
};
use carillon_metrics::BrokerMetrics;
use tokio::{sync::watch, task::AbortHandle};

use super::{
    JwksSource,
    fetch::fetch,
    in_force::{InForce, Wanted},
    keeper::Keeper,
};

/// Fetches the keys of all issuers that have them at a URL, and puts them and the rules in force at the gate. Dropping it
/// stops all fetches; the keys that came stay.
#[derive(Debug)]
pub struct Fetchers {
    in_force: Arc<InForce>,
    metrics: Arc<BrokerMetrics>,
    running: HashMap<String, Running>,
}

/// An issuer's task, which ends when this is dropped.
#[derive(Debug)]
struct Running {
    source: watch::Sender<Arc<JwksSource>>,
    requests: KeyRequests,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetchers {
    /// For this gate, without an issuer yet.
    pub fn new(gate: Arc<Gate>, metrics: Arc<BrokerMetrics>) -> Self {
        Self { in_force: Arc::new(InForce::new(gate, Arc::clone(&metrics))), metrics, running: HashMap::new() }
    }

    /// Puts rules in force, and fetches from these sources from now on. Issuers whose URL and CA are the same as before
    /// keep their keys and their schedule; new ones are fetched at once, without waiting for it; for those that are gone
    /// nothing is fetched any more.
    ///
    /// # Panics
    /// Outside of a tokio runtime, which has to have I/O and time, and runs the fetches.
    pub fn put_in_force(&mut self, mut rules: Rules, sources: Vec<JwksSource>) {
        let mut before = mem::take(&mut self.running);
        let kept = |running: &Running, source: &JwksSource| running.source.borrow().is_same_place(source);
        let sources: Vec<_> = sources
            .into_iter()
            .map(|source| (before.remove(&source.issuer).filter(|running| kept(running, &source)), source))
            .map(|(running, source)| {
                let requests = running.as_ref().map(|running| running.requests.clone()).unwrap_or_default();
                rules.fetched.insert(source.issuer.clone(), requests.clone());
                (running, requests, source)
            })
            .collect();
        // Those that are gone stop before the rules without them hold.
        drop(before);
        let wanted: Vec<_> =
            sources.iter().map(|(running, _, source)| Wanted { source, is_kept: running.is_some() }).collect();
        self.in_force.replace(rules, &wanted);
        for (running, requests, source) in sources {
            let issuer = source.issuer.clone();
            let running = match running {
                None => self.start(source, requests),
                Some(running) => {
                    running.source.send_replace(Arc::new(source));
                    running
                }
            };
            self.running.insert(issuer, running);
        }
    }

    fn start(&self, source: JwksSource, requests: KeyRequests) -> Running {
        let (issuer, url) = (&source.issuer, &source.url);
        tracing::info!(issuer, %url, "fetching the issuer's keys; its tokens are refused until they have come");
        let (sender, receiver) = watch::channel(Arc::new(source));
        let keeper = Keeper {
            source: receiver,
            requests: requests.clone(),
            in_force: Arc::clone(&self.in_force),
            metrics: Arc::clone(&self.metrics),
        };
        let task = tokio::spawn(keeper.run(|source: Arc<JwksSource>| async move { fetch(&source).await }));
        Running { source: sender, requests, task: task.abort_handle() }
    }
}
