//! What a reload keeps, starts and stops, with real servers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use carillon_listener::{Gate, gate::Rules};
use carillon_metrics::{BrokerMetrics, JwksFetchResult};

use super::{super::Fetchers, issuer::Answer, *};
use crate::access::now_s;

/// Long enough that only what never comes runs into it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Site {
    gate: Arc<Gate>,
    metrics: Arc<BrokerMetrics>,
    fetchers: Fetchers,
}

impl Site {
    fn new(loaded: Loaded) -> Self {
        let gate = Arc::new(Gate::new(Rules::default()));
        let metrics = Arc::new(BrokerMetrics::new("test", Vec::new()));
        let fetchers = Fetchers::new(Arc::clone(&gate), Arc::clone(&metrics));
        let mut site = Self { gate, metrics, fetchers };
        site.put_in_force(loaded);
        site
    }

    fn put_in_force(&mut self, loaded: Loaded) {
        self.fetchers.put_in_force(loaded.rules, loaded.sources);
    }

    /// Whether a token of this signer is taken; otherwise whether it may be soon.
    fn lets_in(&self, signer: &Signer) -> Result<(), bool> {
        let identity = self.gate.rules().identify(Some(&signer.token("alice")), None, now_s());
        identity.map(drop).map_err(|refused| refused.is_retriable())
    }

    async fn wait_until_in(&self, signer: &Signer) {
        let start = Instant::now();
        while self.lets_in(signer).is_err() {
            assert!(start.elapsed() < PATIENCE, "the key has not come");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn keys_come_from_the_server_and_follow_its_rotation() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let server = Server::start(Answer::of(&[&old]));
    let site = Site::new(Given::at(&server, "jwks_floor_seconds = 1").load());
    site.wait_until_in(&old).await;
    assert_eq!(server.requests(), 1);
    server.set(Answer::of(&[&new]));
    site.wait_until_in(&new).await;
    assert_eq!(site.lets_in(&old), Err(true));
    assert!(site.metrics.jwks_fetches.of(JwksFetchResult::Ok).get() >= 2);
}

#[tokio::test]
async fn reload_keeps_keys_of_the_same_place_and_no_others() {
    let signer = Signer::new("a");
    let server = Server::start(Answer::of(&[&signer]));
    let given = Given::at(&server, "jwks_floor_seconds = 3600\njwks_max_age_seconds = 3600");
    let mut site = Site::new(given.load());
    site.wait_until_in(&signer).await;

    // The same place under another timing.
    given.write(&format!("jwks_url = {:?}\njwks_ca_file = \"ca.pem\"\nleeway_seconds = 1", server.url()));
    site.put_in_force(given.load());
    assert_eq!(site.lets_in(&signer), Ok(()));
    assert_eq!((server.requests(), site.metrics.jwks_issuers_without_keys.get()), (1, 0));

    // Another place: what came from the old one counts no more.
    let (other, second) = (Signer::new("b"), Server::start(Answer::raw("").and_hang()));
    given.write_ca(&second.ca);
    given.write(&format!("jwks_url = {:?}\njwks_ca_file = \"ca.pem\"", second.url()));
    site.put_in_force(given.load());
    assert_eq!(site.lets_in(&signer), Err(true));
    assert_eq!((site.metrics.jwks_issuers_without_keys.get(), site.metrics.jwks_fetched_seconds.get()), (1, 0));

    // And back, to a certificate that is not trusted any more, and then to one that is.
    server.set(Answer::of(&[&other]));
    given.write(&format!("jwks_url = {:?}\njwks_ca_file = \"ca.pem\"", server.url()));
    site.put_in_force(given.load());
    given.write_ca(&server.ca);
    site.put_in_force(given.load());
    site.wait_until_in(&other).await;
}

#[tokio::test]
async fn issuer_that_is_gone_is_not_asked_any_more() {
    let signer = Signer::new("a");
    let server = Server::start(Answer::of(&[&signer]));
    let given = Given::at(&server, "jwks_floor_seconds = 1");
    let mut site = Site::new(given.load());
    site.wait_until_in(&signer).await;
    // Now a file has its keys, and none that the URL had.
    fs::write(given.path().join("jwks.json"), issuer::document(&[&Signer::new("b")])).unwrap();
    given.write("jwks_file = \"jwks.json\"");
    site.put_in_force(given.load());
    assert_eq!(site.lets_in(&signer), Err(false), "a plain refusal: nobody fetches");
    let requests = server.requests();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(server.requests(), requests);
    assert_eq!(site.metrics.jwks_issuers_without_keys.get(), 0);
}

#[tokio::test]
async fn issuer_that_is_down_at_the_start_delays_nothing() {
    let signer = Signer::new("a");
    let server = Server::start(Answer::with("503 Service Unavailable", "", ""));
    let site = Site::new(Given::at(&server, "jwks_floor_seconds = 1").load());
    assert_eq!(site.lets_in(&signer), Err(true));
    server.set(Answer::of(&[&signer]));
    site.wait_until_in(&signer).await;
}

#[test]
fn commands_fetch_once_and_only_what_a_token_asks_for() {
    let signer = Signer::new("a");
    let server = Server::start(Answer::of(&[&signer]));
    let mut loaded = Given::at(&server, "").load();
    for without in [None, Some("ck_billing-1_key"), Some("nonsense")] {
        loaded.fetch_keys_for(without, now_s()).unwrap();
    }
    assert_eq!(server.requests(), 0);
    let token = signer.token("alice");
    loaded.fetch_keys_for(Some(&token), now_s()).unwrap();
    assert_eq!(loaded.identify(Some(&token), now_s()).unwrap().subject, "alice");
    assert_eq!(server.requests(), 1);

    server.set(Answer::with("302 Found", "", ""));
    let error = Given::at(&server, "").load().fetch_keys_for(Some(&token), now_s()).unwrap_err().to_string();
    assert!(error.contains("cannot be checked") && error.contains("redirects are not followed"), "{error}");
}
