//! Connections that are not made, and what the error says.

use carillon_wire::{
    BrokerMessage, CloseCode, ErrorCode, Id,
    broker_message::{Closing, ErrorReply},
};
use fastwebsockets::{Frame, Payload};
use tokio::io::AsyncWriteExt;

use super::{peer::*, *};

/// What the client makes of an HTTP answer; `{ok}` stands for the head that would be right.
async fn answered(answer: impl FnOnce(&str) -> String) -> ConnectError {
    let (mut broker, client) = start_with(settings(), None);
    let mut stream = broker.stream().await;
    let head = read_head(&mut stream).await;
    stream.write_all(answer(&accepting(&head)).as_bytes()).await.unwrap();
    client.await.unwrap().unwrap_err()
}

/// What the client makes of what follows its connect message.
async fn after_connect(messages: &[BrokerMessage<'_>]) -> ConnectError {
    let (mut broker, client) = start_with(settings(), None);
    let mut peer = Peer::upgrade(broker.stream().await).await;
    assert_eq!(peer.hear().await, Said::Connect { token: Some("secret".to_owned()) });
    peer.say(messages).await;
    client.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn http_status_and_the_servers_reason_are_told() {
    let by_the_broker = [400, 403, 405, 426, 431].map(|status| (status, false));
    let by_others = [302, 401, 404, 407, 429, 503].map(|status| (status, true));
    for (status, temporary) in by_the_broker.into_iter().chain(by_others) {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 15\r\nRetry-After: 7\r\n\r\nnot like that\r\n");
        let error = answered(|_| answer).await;
        assert_eq!(error.is_temporary(), temporary, "{status}");
        assert!(error.to_string().contains("not like that"), "{error}");
        match error {
            ConnectError::Http { status: told, body, retry_after } => {
                assert_eq!((told, body.as_str()), (status, "not like that"));
                assert_eq!(retry_after, Some(Duration::from_secs(7)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn endless_refusal_is_cut() {
    let (mut broker, client) = start_with(settings(), None);
    let mut stream = broker.stream().await;
    read_head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    while stream.write_all(&[b"400\r\n".as_slice(), &[b'x'; 0x400], b"\r\n"].concat()).await.is_ok() {}
    assert!(matches!(client.await.unwrap(), Err(ConnectError::Http { status: 500, .. })));
}

#[tokio::test(start_paused = true)]
async fn answers_that_do_not_accept_this_upgrade_are_refused() {
    for (part, instead) in [
        ("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x"),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n"),
        ("Sec-WebSocket-Protocol:", "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Protocol:"),
    ] {
        let error = answered(|right| right.replace(part, instead)).await;
        assert!(matches!(error, ConnectError::InvalidUpgrade { .. }) && error.is_temporary(), "{part}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_choose_the_subprotocol_is_another_one_for_good() {
    for (part, instead) in [("carillon.v1", "mqtt"), ("Sec-WebSocket-Protocol: carillon.v1\r\n", "")] {
        let error = answered(|right| right.replace(part, instead)).await;
        assert!(matches!(error, ConnectError::NotCarillon(_)) && !error.is_temporary(), "{part}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_refused() {
    let error = answered(|_| "SSH-2.0-OpenSSH_9.2\r\n".to_owned()).await;
    assert!(matches!(error, ConnectError::Broken { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_after_the_connect_timeout() {
    let start = tokio::time::Instant::now();
    let (mut broker, client) = start_with(settings(), None);
    let stream = broker.stream().await;
    let error = client.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the answer to the WebSocket upgrade"), "{error}");
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_welcome_is_given_up_after_the_connect_timeout() {
    let (mut broker, client) = start_with(settings(), None);
    let peer = Peer::upgrade(broker.stream().await).await;
    let error = client.await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { waiting_for: "the broker's welcome", .. }), "{error}");
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_welcome_right_behind_the_upgrade_is_not_lost() {
    let (mut broker, client) = start_with(settings(), None);
    let mut stream = broker.stream().await;
    let mut answer = accepting(&read_head(&mut stream).await).into_bytes();
    let (mut message, mut frame) = (Vec::new(), Vec::new());
    BrokerMessage::Welcome(welcome()).encode(&mut message);
    answer.extend_from_slice(Frame::binary(Payload::Owned(message)).write(&mut frame));
    stream.write_all(&answer).await.unwrap();
    client.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_told_as_such() {
    match after_connect(&[refuse(Some(0), ErrorCode::Unauthenticated)]).await {
        error @ ConnectError::Refused(_) => {
            assert!(!error.is_temporary());
            assert!(error.to_string().contains("unauthenticated"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn closing_behind_a_refusal_tells_when_to_come_back() {
    let error = |retry_after_ms| {
        BrokerMessage::Error(ErrorReply {
            id: Some(Id::from(0_u32)),
            code: ErrorCode::Overloaded,
            message: "full",
            retry_after_ms,
            last_sequence: None,
        })
    };
    let closing = |retry_after_ms| {
        BrokerMessage::Closing(Closing { code: CloseCode::Overloaded, reason: "full", retry_after_ms })
    };
    for (messages, seconds) in [
        ([error(Some(2000)), closing(Some(3000))], Some(3)),
        ([error(None), closing(Some(3000))], Some(3)),
        ([error(Some(2000)), closing(None)], Some(2)),
        ([error(None), closing(None)], None),
    ] {
        for size in [1, 2] {
            let (mut broker, client) = start_with(settings(), None);
            let mut peer = Peer::upgrade(broker.stream().await).await;
            for batch in messages.chunks(size) {
                peer.say(batch).await;
            }
            match client.await.unwrap() {
                Err(ConnectError::Refused(refusal)) => {
                    assert_eq!(refusal.retry_after, seconds.map(Duration::from_secs));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_error_that_answers_connect_refuses_it() {
    for id in [None, Some(7)] {
        let error = after_connect(&[refuse(id, ErrorCode::Overloaded)]).await;
        assert!(matches!(error, ConnectError::NotCarillon(_)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_this_version_does_not_know_is_passed_over_before_the_welcome_too() {
    let (mut broker, client) = start_with(settings(), None);
    let mut peer = Peer::upgrade(broker.stream().await).await;
    peer.send(Frame::binary(Payload::Owned(b"\x92\x7f\x01".to_vec()))).await;
    peer.say(&[BrokerMessage::Welcome(welcome())]).await;
    client.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_instead_of_a_welcome_tells_when_to_come_back() {
    let closing = Closing { code: CloseCode::Overloaded, reason: "full", retry_after_ms: Some(3000) };
    match after_connect(&[BrokerMessage::Closing(closing)]).await {
        ConnectError::Closed { code, reason, retry_after } => {
            assert_eq!((code, reason.as_str()), (CloseCode::Overloaded, "full"));
            assert_eq!(retry_after, Some(Duration::from_secs(3)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn anything_else_instead_of_a_welcome_is_no_broker() {
    assert!(matches!(after_connect(&[ok(0)]).await, ConnectError::NotCarillon(_)));
    assert!(matches!(after_connect(&[]).await, ConnectError::NotCarillon(_)));
}

#[tokio::test(start_paused = true)]
async fn a_token_provider_that_hangs_or_fails_does_not_hang_the_client() {
    let provider = |f: fn() -> Result<String, Box<dyn std::error::Error + Send + Sync>>, wait: u64| {
        TokenSource::provider(move || async move {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            f()
        })
    };
    let failing = Settings { token: Some(provider(|| Err("no vault".into()), 0)), ..settings() };
    let error = start_with(failing, None).1.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no vault") && error.is_temporary(), "{error}");
    let hanging = Settings { token: Some(provider(|| Ok(String::new()), 3600)), ..settings() };
    let error = start_with(hanging, None).1.await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { waiting_for: "a token", .. }), "{error}");
}
