//! Connections that are lost, and what comes after.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use carillon_wire::{BrokerMessage, CloseCode, ErrorCode, broker_message::Closing};
use fastwebsockets::{Frame, Payload};
use tokio::time::{Instant, timeout};

use super::{
    peer::*,
    subscribe::{next_payload, subscribed},
    *,
};
use crate::{
    client::SubscribeOptions,
    error::ConnectionLost,
    event::{Ended, Event},
};

#[tokio::test(start_paused = true)]
async fn subscriptions_are_made_again_and_told_that_messages_are_missing() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut first, _) = subscribed(&client, &mut peer, "a").await;
    let (mut second, _) = subscribed(&client, &mut peer, "b.>").await;
    drop(peer);
    let mut peer = broker.welcome().await;
    peer.accept_subscription("a").await;
    peer.accept_subscription("b.>").await;
    peer.say(&[delivery("a", b"1"), delivery("b.c", b"2")]).await;
    for (subscription, payload) in [(&mut first, "1"), (&mut second, "2")] {
        match subscription.next().await {
            Some(Event::Reconnected(how)) => assert!(matches!(how.cause, ConnectionLost::Broken { .. })),
            other => panic!("{other:?}"),
        }
        assert_eq!(next_payload(subscription).await, payload);
    }
    assert_eq!(client.counters().reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn ids_of_the_old_connection_mean_nothing_on_the_new_one() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, old) = subscribed(&client, &mut peer, "a").await;
    drop(peer);
    let mut peer = broker.welcome().await;
    let new = peer.accept_subscription("a").await;
    assert_ne!(old, new);
    assert!(matches!(subscription.next().await, Some(Event::Reconnected(_))));
    drop(subscription);
    assert_eq!(peer.hear().await, Said::Unsubscribe { subscription: new });
}

#[tokio::test(start_paused = true)]
async fn a_subscription_dropped_while_disconnected_is_not_made_again() {
    let (mut broker, mut peer, client) = connected().await;
    let (dropped, _) = subscribed(&client, &mut peer, "a").await;
    let (_kept, _) = subscribed(&client, &mut peer, "b").await;
    drop(peer);
    let stream = broker.stream().await;
    drop(dropped);
    let (mut peer, _) = Peer::welcome(stream).await;
    peer.accept_subscription("b").await;
    assert!(timeout(Duration::from_secs(1), peer.hear()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_asked_for_while_disconnected_waits_for_the_connection() {
    let (mut broker, peer, client) = connected().await;
    drop(peer);
    let stream = broker.stream().await;
    let (subscription, ()) = tokio::join!(client.subscribe("a", SubscribeOptions::default()), async {
        let (mut peer, _) = Peer::welcome(stream).await;
        peer.accept_subscription("a").await;
        peer.say(&[delivery("a", b"1")]).await;
    });
    // It never lived before, so nothing is missing.
    assert_eq!(next_payload(&mut subscription.unwrap()).await, "1");
}

#[tokio::test(start_paused = true)]
async fn a_pattern_refused_after_a_reconnect_ends_its_subscription_alone() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut first, _) = subscribed(&client, &mut peer, "a").await;
    let (mut second, _) = subscribed(&client, &mut peer, "b").await;
    drop(peer);
    let mut peer = broker.welcome().await;
    let Said::Subscribe { id, .. } = peer.hear().await else { panic!() };
    peer.say(&[refuse(Some(id), ErrorCode::Forbidden)]).await;
    peer.accept_subscription("b").await;
    assert!(matches!(first.next().await, Some(Event::Ended(Ended::Refused { pattern, .. })) if pattern == "a"));
    assert!(first.next().await.is_none());
    assert!(matches!(second.next().await, Some(Event::Reconnected(_))));
}

/// Loses the connection with this close and gives how long the client stays away, unless it does for more than an hour.
async fn away_after(closing: Option<Closing<'_>>, code: CloseCode) -> Option<Duration> {
    let (mut broker, mut peer, client) = connected().await;
    // Long enough to count as a stable connection.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let start = Instant::now();
    if let Some(closing) = closing {
        peer.say(&[BrokerMessage::Closing(closing)]).await;
    }
    peer.close(code).await;
    let back = timeout(Duration::from_hours(2), broker.ends.recv()).await.ok()?;
    drop(client);
    back.map(|_| start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_close_codes_range_says_when_to_come_back() {
    assert_eq!(away_after(None, CloseCode::SlowConsumer).await, Some(Duration::ZERO));
    assert!(away_after(None, CloseCode::Draining).await.unwrap() <= Duration::from_millis(250));
    for code in [CloseCode::BadMessage, CloseCode::Unauthenticated, CloseCode::Normal] {
        assert_eq!(away_after(None, code).await, None, "{code}");
    }
}

/// How a connection may end after CLOSING.
#[derive(Debug, Clone, Copy)]
enum End {
    Dropped,
    Silent,
    CloseFrame(CloseCode),
}

#[tokio::test(start_paused = true)]
async fn what_closing_told_counts_however_the_connection_ends() {
    for end in [End::Dropped, End::Silent, End::CloseFrame(CloseCode::Draining)] {
        let (mut broker, mut peer, client) = connected().await;
        let closing = Closing { code: CloseCode::BadMessage, reason: "told before", retry_after_ms: None };
        peer.say(&[BrokerMessage::Closing(closing)]).await;
        let peer = match end {
            End::Dropped => None,
            End::Silent => Some(peer),
            End::CloseFrame(code) => {
                peer.close(code).await;
                Some(peer)
            }
        };
        let next = timeout(Duration::from_hours(2), broker.ends.recv()).await.unwrap();
        assert!(next.is_none(), "the client came back after {end:?}");
        assert!(
            matches!(client.flush().await, Err(ConnectionLost::Closed { code: CloseCode::BadMessage, .. })),
            "{end:?}"
        );
        drop(peer);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_after_closing_waits_for_the_next_connection() {
    let (mut broker, mut peer, client) = connected().await;
    let closing = Closing { code: CloseCode::Draining, reason: "update", retry_after_ms: None };
    peer.say(&[BrokerMessage::Closing(closing)]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pending = client.publication("a", "late").enqueue().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.close(CloseCode::Draining).await;
    let mut next = broker.welcome().await;
    let Said::Publish { id: Some(id), payload, .. } = next.hear().await else { panic!() };
    assert_eq!(payload, b"late");
    next.say(&[ok(id)]).await;
    pending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_breaks_the_protocol_is_not_asked_again() {
    for (bytes, comes_back) in [(vec![0xc1], false), (vec![0; 17 * 1024], true)] {
        let (mut broker, mut peer, _client) = connected().await;
        peer.send(Frame::binary(Payload::Owned(bytes))).await;
        let next = timeout(Duration::from_hours(2), broker.ends.recv()).await.unwrap();
        assert_eq!(next.is_some(), comes_back);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_is_answered_with_its_code() {
    for (code, answer) in [(CloseCode::Draining, 4100), (CloseCode::Other(1006), 1000)] {
        let (_broker, mut peer, _client) = connected().await;
        peer.close(code).await;
        assert_eq!(peer.hear().await, Said::Close(answer));
    }
}

#[tokio::test(start_paused = true)]
async fn the_brokers_last_words_are_read_even_when_writing_fails_first() {
    let notices = Arc::new(Notices::default());
    let (mut broker, client) =
        start_with(Settings { receive_queue_bytes: 1000, ..settings() }, Some(notices.handler()));
    let mut peer = broker.welcome().await;
    let client = client.await.unwrap().unwrap();
    let (_slow, _) = subscribed(&client, &mut peer, "a").await;
    // With its queue full the client does not read, and so learns of the end by writing.
    for _ in 0..2 {
        peer.say(&[delivery("a", &[0; 1000])]).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.close(CloseCode::SlowConsumer).await;
    drop(peer);
    client.publish("b", "").await.unwrap();
    broker.welcome().await;
    match &notices.take()[0] {
        Notice::Disconnected { cause: ConnectionLost::Closed { code, .. }, .. } => {
            assert_eq!(*code, CloseCode::SlowConsumer);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_that_the_broker_told_is_kept() {
    let closing = Closing { code: CloseCode::Draining, reason: "update", retry_after_ms: Some(5000) };
    let away = away_after(Some(closing), CloseCode::Draining).await.unwrap();
    assert!((Duration::from_secs(5)..=Duration::from_millis(5250)).contains(&away), "{away:?}");
}

#[tokio::test(start_paused = true)]
async fn never_tells_everyone_and_ends_the_client() {
    let (_broker, mut peer, client) = connected().await;
    let (mut subscription, _) = subscribed(&client, &mut peer, "a").await;
    peer.close(CloseCode::Unauthenticated).await;
    match subscription.next().await {
        Some(Event::Ended(Ended::ConnectionLost(ConnectionLost::Closed { code, reason, .. }))) => {
            assert_eq!((code, reason.as_str()), (CloseCode::Unauthenticated, "as scripted"));
        }
        other => panic!("{other:?}"),
    }
    assert!(subscription.next().await.is_none());
    assert!(client.subscribe("b", SubscribeOptions::default()).await.is_err());
    assert!(client.flush().await.is_err());
    assert!(client.close().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_welcomes_and_hangs_up_is_asked_ever_more_slowly() {
    let (mut broker, client) = start_with(settings(), None);
    let start = Instant::now();
    for _ in 0..30 {
        let mut peer = broker.welcome().await;
        peer.say(&[BrokerMessage::Closing(Closing {
            code: CloseCode::SlowConsumer,
            reason: "again",
            retry_after_ms: None,
        })])
        .await;
    }
    // 30 waits under doubling ceilings are five minutes on average; without them it would be no time at all.
    assert!(start.elapsed() > Duration::from_secs(30), "{:?}", start.elapsed());
    client.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_end_when_the_policy_says_so() {
    let reconnect = ReconnectPolicy { max_attempts: Some(3), ..ReconnectPolicy::default() };
    let (mut broker, peer, client) = connected_with(Settings { reconnect, ..settings() }).await;
    drop(peer);
    for _ in 0..3 {
        drop(broker.stream().await);
    }
    assert!(matches!(client.flush().await, Err(ConnectionLost::ReconnectFailed(_) | ConnectionLost::Broken { .. })));
    assert!(timeout(Duration::from_hours(1), broker.ends.recv()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn each_connection_gets_a_fresh_token_even_when_the_old_one_ran_out() {
    let count = AtomicU32::new(0);
    let token = TokenSource::provider(move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move { Ok(format!("token {number}")) }
    });
    let (mut broker, client) = start_with(Settings { token: Some(token), ..settings() }, None);
    let (mut peer, token) = Peer::welcome(broker.stream().await).await;
    assert_eq!(token.as_deref(), Some("token 0"));
    peer.close(CloseCode::Unauthenticated).await;
    let (_peer, token) = Peer::welcome(broker.stream().await).await;
    assert_eq!(token.as_deref(), Some("token 1"));
    client.await.unwrap().unwrap();
}

/// Dials like `Wire`, but does not trust the certificate at the second attempt.
struct MistrustsOnce {
    wire: Wire,
    dials: AtomicU32,
}

impl Dial for MistrustsOnce {
    type Io = DuplexStream;

    async fn dial(&self, deadline: Deadline) -> Result<DuplexStream, ConnectError> {
        if self.dials.fetch_add(1, Ordering::Relaxed) != 1 {
            return self.wire.dial(deadline).await;
        }
        let mistrust = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        Err(ConnectError::Tls { address: "broker.test:443".to_owned(), source: std::io::Error::other(mistrust) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_client_returns_when_a_certificate_was_mended() {
    let notices = Arc::new(Notices::default());
    let (ends, incoming) = mpsc::unbounded_channel();
    let dialer = MistrustsOnce { wire: Wire { ends }, dials: AtomicU32::new(0) };
    let client = tokio::spawn(Client::start(dialer, settings(), Some(notices.handler())));
    let mut broker = Broker { ends: incoming };
    let peer = broker.welcome().await;
    let _client = client.await.unwrap().unwrap();
    drop(peer);
    broker.welcome().await;
    let story = notices.take();
    let Some(Notice::ReconnectFailed { error, retry_in: Some(_) }) = story.get(1) else { panic!("{story:?}") };
    assert!(error.to_string().contains("as CA file"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn close_while_disconnected_ends_at_once() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, _) = subscribed(&client, &mut peer, "a").await;
    drop(peer);
    let _silent = broker.stream().await;
    let start = Instant::now();
    assert!(client.close().await.is_err());
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(subscription.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn notices_tell_the_whole_story() {
    let notices = Arc::new(Notices::default());
    let (mut broker, client) = start_with(settings(), Some(notices.handler()));
    let peer = broker.welcome().await;
    let client = client.await.unwrap().unwrap();
    drop(peer);
    drop(broker.stream().await);
    let mut peer = broker.welcome().await;
    // What is answered on the new connection comes after the notice of it.
    let (flushed, ()) = tokio::join!(client.flush(), async {
        let Said::Flush(id) = peer.hear().await else { panic!() };
        peer.say(&[ok(id)]).await;
    });
    flushed.unwrap();
    let story = notices.take();
    assert!(
        matches!(
            &story[..],
            [
                Notice::Disconnected { retry_in: Some(_), .. },
                Notice::ReconnectFailed { retry_in: Some(_), .. },
                Notice::Reconnected { attempts: 2, .. },
            ]
        ),
        "{story:?}"
    );
}
