//! Credentials that run out or are taken back while a connection lives.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use carillon_wire::{
    BrokerMessage, CloseCode, ErrorCode, Id, NoticeKind,
    broker_message::{Ended as WireEnded, Notice as WireNotice},
};
use tokio::time::{Instant, timeout};

use super::{
    peer::*,
    subscribe::{next_payload, subscribed},
    *,
};
use crate::{
    client::SubscribeOptions,
    error::{RefreshError, SubscribeError},
    event::{Ended, Event},
};

const EXPIRING: BrokerMessage<'static> = BrokerMessage::Notice(WireNotice {
    kind: NoticeKind::CredentialsExpire,
    message: "as scripted",
    in_ms: Some(30_000),
});

/// A provider whose tokens are numbered, and take a second each.
fn numbered() -> (Settings, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let provider = TokenSource::provider(move || {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(format!("token {number}"))
        }
    });
    (Settings { token: Some(provider), ..settings() }, count)
}

async fn refreshed(peer: &mut Peer<DuplexStream>, expected: &str) -> u64 {
    match peer.hear().await {
        Said::Refresh { id, token } if token == expected => id,
        other => panic!("expected a refresh with {expected}, not {other:?}"),
    }
}

fn ended(subscription: u64) -> BrokerMessage<'static> {
    let subscription = Id::new(subscription).unwrap();
    BrokerMessage::Ended(WireEnded { subscription, code: ErrorCode::Forbidden, message: "as scripted" })
}

#[tokio::test(start_paused = true)]
async fn credentials_that_run_out_are_renewed_while_the_connection_goes_on() {
    let (settings, count) = numbered();
    let (mut broker, mut peer, client) = connected_with(settings).await;
    let (mut subscription, _) = subscribed(&client, &mut peer, "a").await;
    // However often it is told, one call is under way; and what comes meanwhile is not held up.
    peer.say(&[EXPIRING, EXPIRING, delivery("a", b"1")]).await;
    let before = Instant::now();
    assert_eq!(next_payload(&mut subscription).await, "1");
    assert_eq!(before.elapsed(), Duration::ZERO);
    peer.say(&[EXPIRING]).await;
    let id = refreshed(&mut peer, "token 1").await;
    peer.say(&[EXPIRING]).await;
    assert!(timeout(Duration::from_secs(10), peer.hear()).await.is_err(), "one refresh at a time");
    peer.say(&[ok(id)]).await;
    // The next time they run out, it is done again.
    peer.say(&[EXPIRING]).await;
    let id = refreshed(&mut peer, "token 2").await;
    peer.say(&[ok(id), delivery("a", b"2")]).await;
    assert_eq!(next_payload(&mut subscription).await, "2");
    drop(peer);
    let (_peer, token) = Peer::welcome(broker.stream().await).await;
    assert_eq!(token.as_deref(), Some("token 2"), "the refreshed token is kept");
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_kept_token_that_the_broker_refuses_is_replaced_at_once() {
    let (settings, _) = numbered();
    let (mut broker, mut peer, _client) = connected_with(settings).await;
    peer.say(&[EXPIRING]).await;
    let id = refreshed(&mut peer, "token 1").await;
    peer.say(&[ok(id)]).await;
    drop(peer);
    let mut refusing = Peer::upgrade(broker.stream().await).await;
    assert_eq!(refusing.hear().await, Said::Connect { token: Some("token 1".to_owned()) });
    refusing.say(&[refuse(Some(0), ErrorCode::Unauthenticated)]).await;
    refusing.close(CloseCode::Unauthenticated).await;
    let (mut peer, token) = Peer::welcome(broker.stream().await).await;
    assert_eq!(token.as_deref(), Some("token 2"));
    // One that was refused on a live connection is not shown again either.
    peer.say(&[EXPIRING]).await;
    let id = refreshed(&mut peer, "token 3").await;
    peer.say(&[ok(id)]).await;
    peer.close(CloseCode::Unauthenticated).await;
    let (_peer, token) = Peer::welcome(broker.stream().await).await;
    assert_eq!(token.as_deref(), Some("token 4"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_is_told_and_the_connection_goes_on_until_it_is_closed() {
    let notices = Arc::new(Notices::default());
    let (settings, _) = numbered();
    let (mut broker, client) = start_with(settings, Some(notices.handler()));
    let mut peer = broker.welcome().await;
    let client = client.await.unwrap().unwrap();
    let (mut subscription, _) = subscribed(&client, &mut peer, "a").await;
    peer.say(&[EXPIRING]).await;
    let id = refreshed(&mut peer, "token 1").await;
    peer.say(&[refuse(Some(id), ErrorCode::Unauthenticated), delivery("a", b"1")]).await;
    assert_eq!(next_payload(&mut subscription).await, "1");
    let told = notices.take();
    assert!(
        matches!(&told[..], [Notice::RefreshFailed(RefreshError::Refused(r))] if r.code == ErrorCode::Unauthenticated),
        "{told:?}"
    );
    peer.close(CloseCode::Unauthenticated).await;
    let (_peer, token) = Peer::welcome(broker.stream().await).await;
    assert_eq!(token.as_deref(), Some("token 2"), "a refused token is not kept");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_or_hangs_is_told_and_the_connection_goes_on() {
    for hangs in [false, true] {
        let notices = Arc::new(Notices::default());
        let calls = AtomicU32::new(0);
        let provider = TokenSource::provider(move || {
            let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if is_first {
                    return Ok("token".to_owned());
                }
                tokio::time::sleep(Duration::from_secs(if hangs { 3600 } else { 0 })).await;
                Err("no vault".into())
            }
        });
        let (mut broker, client) =
            start_with(Settings { token: Some(provider), ..settings() }, Some(notices.handler()));
        let mut peer = broker.welcome().await;
        let client = client.await.unwrap().unwrap();
        let (mut subscription, _) = subscribed(&client, &mut peer, "a").await;
        peer.say(&[EXPIRING]).await;
        tokio::time::sleep(Duration::from_secs(11)).await;
        peer.say(&[delivery("a", b"1")]).await;
        assert_eq!(next_payload(&mut subscription).await, "1");
        let told = notices.take();
        match &told[..] {
            [Notice::RefreshFailed(RefreshError::Timeout { timeout })] if hangs => assert_eq!(timeout.as_secs(), 10),
            [Notice::RefreshFailed(RefreshError::Token(error))] if !hangs => assert_eq!(error.to_string(), "no vault"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_client_cannot_see_to_is_passed_to_the_application() {
    let notices = Arc::new(Notices::default());
    let (mut broker, client) = start_with(settings(), Some(notices.handler()));
    let mut peer = broker.welcome().await;
    let _client = client.await.unwrap().unwrap();
    let later = WireNotice { kind: NoticeKind::Other(9), message: "maintenance", in_ms: None };
    peer.say(&[EXPIRING, BrokerMessage::Notice(later)]).await;
    assert!(timeout(Duration::from_secs(10), peer.hear()).await.is_err(), "there is nothing to refresh with");
    let told = notices.take();
    let [Notice::Broker { kind, due_in, .. }, Notice::Broker { kind: other, message, due_in: None }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((*kind, *due_in), (NoticeKind::CredentialsExpire, Some(Duration::from_secs(30))));
    assert_eq!((*other, message.as_str()), (NoticeKind::Other(9), "maintenance"));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_the_broker_ends_tells_why_and_is_not_made_again() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut first, id) = subscribed(&client, &mut peer, "a").await;
    let (mut second, _) = subscribed(&client, &mut peer, ">").await;
    peer.say(&[delivery("a", b"1"), ended(id), delivery("a", b"2")]).await;
    assert_eq!(next_payload(&mut first).await, "1");
    match first.next().await {
        Some(Event::Ended(Ended::ByBroker { pattern, refusal })) => {
            assert_eq!((pattern.as_str(), refusal.code), ("a", ErrorCode::Forbidden));
            assert_eq!(refusal.message, "as scripted");
        }
        other => panic!("{other:?}"),
    }
    assert!(first.next().await.is_none());
    drop(first);
    assert_eq!(next_payload(&mut second).await, "1");
    assert_eq!(next_payload(&mut second).await, "2");
    assert!(timeout(Duration::from_secs(10), peer.hear()).await.is_err(), "there is nothing to ask for or to end");
    drop(peer);
    let mut peer = broker.welcome().await;
    peer.accept_subscription(">").await;
    assert!(timeout(Duration::from_secs(10), peer.hear()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_other_patterns_of_an_ended_subscription_end_with_it() {
    let (_broker, mut peer, client) = connected().await;
    // One pattern is ended while the other is not yet answered: who subscribes is told.
    let (outcome, ()) = tokio::join!(client.subscribe_many(["a", "b"], SubscribeOptions::default()), async {
        let a = peer.accept_subscription("a").await;
        let Said::Subscribe { id: b, .. } = peer.hear().await else { panic!() };
        peer.say(&[ended(a), ok(b)]).await;
        assert_eq!(peer.hear().await, Said::Unsubscribe { subscription: b });
    });
    assert!(matches!(outcome, Err(SubscribeError::Refused { pattern, .. }) if pattern == "a"));
    // An end of what nobody knows disturbs nothing.
    peer.say(&[ended(99)]).await;
    subscribed(&client, &mut peer, "c").await;
}
