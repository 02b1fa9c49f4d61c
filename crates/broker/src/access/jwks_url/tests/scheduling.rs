//! When an issuer is asked, by the task that asks it: with a paused clock and a source that does as it is told.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use carillon_access::identity::Jwks;
use carillon_listener::{
    Gate,
    gate::{KeyRequests, Rules},
};
use carillon_metrics::{BrokerMetrics, JwksFetchResult};
use tokio::{
    sync::watch,
    time::{advance, sleep},
};

use super::{
    super::{
        JwksSource,
        error::FetchError,
        fetch::Document,
        in_force::{InForce, Wanted},
        keeper::Keeper,
    },
    issuer::{Answer, document},
    *,
};
use crate::access::now_s;

const FLOOR_S: u64 = 30;
const MAX_AGE_S: u64 = 1_000;

/// An issuer's task that runs, with the gate that it serves.
struct Kept {
    gate: Arc<Gate>,
    metrics: Arc<BrokerMetrics>,
    source: watch::Sender<Arc<JwksSource>>,
    /// What is published; `None` while the source is down.
    published: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicUsize>,
}

impl Kept {
    /// Each fetch takes this long.
    async fn new(takes: Duration, published: &[&Signer]) -> Self {
        let server = Server::start(Answer::ok(""));
        let lines = format!("jwks_floor_seconds = {FLOOR_S}\njwks_max_age_seconds = {MAX_AGE_S}");
        let mut loaded = Given::at(&server, &lines).load();
        let source = loaded.sources.remove(0);
        let gate = Arc::new(Gate::new(Rules::default()));
        let metrics = Arc::new(BrokerMetrics::new("test", Vec::new()));
        let in_force = Arc::new(InForce::new(Arc::clone(&gate), Arc::clone(&metrics)));
        let requests = KeyRequests::default();
        loaded.rules.fetched.insert(ISSUER.to_owned(), requests.clone());
        in_force.replace(loaded.rules, &[Wanted { source: &source, is_kept: false }]);
        let (sender, receiver) = watch::channel(Arc::new(source));
        let keeper = Keeper { source: receiver, requests, in_force, metrics: Arc::clone(&metrics) };
        let fetches = Arc::new(AtomicUsize::new(0));
        let kept = Self { gate, metrics, source: sender, published: Arc::default(), fetches: Arc::clone(&fetches) };
        kept.publish(published);
        let published = Arc::clone(&kept.published);
        tokio::spawn(keeper.run(move |_| {
            fetches.fetch_add(1, Ordering::SeqCst);
            let published = Arc::clone(&published);
            async move {
                sleep(takes).await;
                let text = published.lock().unwrap().clone();
                let text = text.ok_or(FetchError::Status(hyper::StatusCode::SERVICE_UNAVAILABLE))?;
                Ok(Document { jwks: Jwks::parse(text.as_bytes())?, max_age_s: None })
            }
        }));
        settle().await;
        kept
    }

    fn publish(&self, signers: &[&Signer]) {
        *self.published.lock().unwrap() = Some(document(signers));
    }

    fn take_down(&self) {
        *self.published.lock().unwrap() = None;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Whether a token of this signer is taken; otherwise whether it may be soon.
    fn lets_in(&self, signer: &Signer) -> Result<(), bool> {
        let identity = self.gate.rules().identify(Some(&signer.token("alice")), None, now_s());
        identity.map(drop).map_err(|refused| refused.is_retriable())
    }

    fn results(&self, result: JwksFetchResult) -> u64 {
        self.metrics.jwks_fetches.of(result).get()
    }
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass(seconds: u64) {
    // Second by second, so that what is due meanwhile happens at its own time.
    for _ in 0..seconds {
        advance(Duration::from_secs(1)).await;
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_refused_for_now_until_the_first_keys_come() {
    let signer = Signer::new("a");
    let kept = Kept::new(Duration::from_secs(5), &[&signer]).await;
    assert_eq!(kept.lets_in(&signer), Err(true));
    assert_eq!(kept.metrics.jwks_issuers_without_keys.get(), 1);
    assert_eq!(kept.metrics.jwks_fetched_seconds.get(), 0);
    pass(5).await;
    assert_eq!(kept.lets_in(&signer), Ok(()));
    assert_eq!(kept.metrics.jwks_issuers_without_keys.get(), 0);
    assert!(kept.metrics.jwks_fetched_seconds.get() > 1_700_000_000);
    // The token that was refused had asked for the fetch that was under way, and for no other.
    pass(2 * FLOOR_S).await;
    assert_eq!((kept.fetches(), kept.results(JwksFetchResult::Ok)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn token_of_a_new_key_has_it_fetched_as_soon_as_the_floor_allows() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let kept = Kept::new(Duration::ZERO, &[&old]).await;
    kept.publish(&[&new]);
    assert_eq!(kept.lets_in(&new), Err(true));
    pass(FLOOR_S - 1).await;
    assert_eq!((kept.lets_in(&new), kept.fetches()), (Err(true), 1));
    pass(1).await;
    assert_eq!((kept.lets_in(&new), kept.fetches()), (Ok(()), 2));
    assert_eq!(kept.lets_in(&old), Err(true), "a key that was withdrawn still counts");
    // Long after the floor it comes at once.
    kept.publish(&[&old, &new]);
    pass(3 * FLOOR_S).await;
    let before = kept.fetches();
    assert_eq!(kept.lets_in(&unpublished()), Err(true));
    settle().await;
    assert_eq!((kept.fetches(), kept.lets_in(&old)), (before + 1, Ok(())));
}

#[tokio::test(start_paused = true)]
async fn thousand_made_up_ids_cost_one_fetch_more() {
    let signer = Signer::new("a");
    let kept = Kept::new(Duration::from_millis(300), &[&signer]).await;
    pass(FLOOR_S + 1).await;
    for number in 0..1_000 {
        assert_eq!(kept.lets_in(&Signer::new(&format!("made-up-{number}"))), Err(true));
        // Less than a floor in all.
        advance(Duration::from_millis(20)).await;
        settle().await;
    }
    assert_eq!(kept.fetches(), 2);
    assert_eq!(kept.lets_in(&signer), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn source_that_is_down_is_tried_again_while_old_keys_count() {
    let signer = Signer::new("a");
    let kept = Kept::new(Duration::ZERO, &[&signer]).await;
    let fetched_at = kept.metrics.jwks_fetched_seconds.get();
    kept.take_down();
    pass(5 * MAX_AGE_S).await;
    assert_eq!(kept.lets_in(&signer), Ok(()));
    assert_eq!(kept.metrics.jwks_fetched_seconds.get(), fetched_at);
    let failures = kept.results(JwksFetchResult::BadStatus);
    // Backoff is at most 120 s and a fifth of it late.
    assert!((25..=45).contains(&failures), "{failures}");

    let other = Signer::new("b");
    kept.publish(&[&other]);
    pass(120 + 120 / 5 + 1).await;
    assert_eq!(kept.lets_in(&other), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_before_their_age_and_not_all_at_one_time() {
    let signer = Signer::new("a");
    let mut moments = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let kept = Kept::new(Duration::ZERO, &[&signer]).await;
        let mut waited_s = 0;
        while kept.fetches() == 1 {
            pass(1).await;
            waited_s += 1;
        }
        // A fifth ahead of the age, which is up to a tenth shorter.
        assert!((720..=800).contains(&waited_s), "{waited_s}");
        moments.insert(waited_s);
    }
    assert!(moments.len() > 1);
}

#[tokio::test(start_paused = true)]
async fn shorter_age_of_a_reload_holds_at_once_and_the_task_ends_with_its_issuer() {
    let signer = Signer::new("a");
    let kept = Kept::new(Duration::ZERO, &[&signer]).await;
    pass(200).await;
    let mut source = JwksSource::clone(&kept.source.borrow());
    source.timing.max_age_s = 100;
    kept.source.send_replace(Arc::new(source));
    settle().await;
    assert_eq!((kept.fetches(), kept.lets_in(&signer)), (2, Ok(())));
    let Kept { source, fetches, .. } = kept;
    drop(source);
    pass(MAX_AGE_S).await;
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
}
