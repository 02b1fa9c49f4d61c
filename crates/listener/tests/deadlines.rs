//! Who says or reads nothing is let go in time, and who is only slow is not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

mod support;

use std::{
    io::{Read, Write},
    time::Duration,
};

use carillon_listener::settings::Deadlines;
use carillon_metrics::{CloseReason, DropReason, HandshakeFailure};
use carillon_wire::{ClientMessage, Id, Overflow};
use support::{Broker, Said, eventually, settings, upgrade_request};

/// Long beside what a busy machine needs for a handshake, short beside what a test may take.
const SHORT: Duration = Duration::from_secs(1);

fn failures(broker: &Broker, reason: HandshakeFailure) -> u64 {
    broker.count(|shard| shard.handshake_failures.of(reason).get())
}

fn closed(broker: &Broker, reason: CloseReason) -> u64 {
    broker.count(|shard| shard.connections_closed.of(reason).get())
}

#[test]
fn a_client_that_says_nothing_is_let_go_in_each_phase() {
    let mut settings = settings();
    settings.deadlines = Deadlines { tls_handshake: SHORT, http_head: SHORT, connect: SHORT, ..Deadlines::default() };
    let broker = Broker::start(settings);

    let mut silent = broker.tcp();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
    eventually("the count", || failures(&broker, HandshakeFailure::TlsTimeout) == 1);

    let mut no_request = broker.tls_stream();
    no_request.write_all(&upgrade_request("").as_bytes()[..20]).unwrap();
    let _ = no_request.read(&mut [0; 10]);
    eventually("the count", || failures(&broker, HandshakeFailure::HttpTimeout) == 1);

    let mut no_connect = broker.websocket();
    let (said, close) = no_connect.until_close();
    assert!(matches!(said.as_slice(), [Said::Closing { code: 4102, .. }]), "{said:?}");
    assert_eq!(close.unwrap().0, 4102);
    eventually("the count", || closed(&broker, CloseReason::ConnectTimeout) == 1);
}

#[test]
fn heartbeats_are_asked_and_silence_ends_the_connection() {
    let mut settings = settings();
    settings.deadlines.heartbeat = SHORT;
    let broker = Broker::start(settings);
    let mut answering = broker.client();
    let mut silent = broker.client();
    for _ in 0..3 {
        match answering.next() {
            Said::Heartbeat(number) => answering.send(&ClientMessage::HeartbeatReply(Id::new(number).unwrap())),
            other => panic!("{other:?}"),
        }
    }
    let (_, close) = silent.until_close();
    assert_eq!(close.unwrap().0, 4001);
    eventually("the count", || closed(&broker, CloseReason::HeartbeatTimeout) >= 1);
}

#[test]
fn a_reader_whose_socket_takes_nothing_is_closed_after_the_write_deadline_and_costs_its_bound() {
    let mut settings = settings();
    settings.deadlines.write = Duration::from_secs(1);
    settings.limits.outbox_bytes = 2 << 20;
    let broker = Broker::start(settings);
    let mut stalled = broker.client();
    stalled.subscribe("a");
    let mut reader = broker.client();
    reader.subscribe("a");
    let mut publisher = broker.client();
    let payload = vec![0; 64 << 10];
    let mut published = 0;
    while closed(&broker, CloseReason::WriteTimeout) == 0 {
        publisher.publish("a", &payload);
        assert_eq!(reader.delivery().1.len(), payload.len(), "the other reader gets everything");
        assert!(broker.count(|shard| shard.outbox_bytes.get() as u64) <= 4 << 20);
        published += 1;
        assert!(published < 1_000_000, "never closed");
    }
    assert!(broker.count(|shard| shard.messages_dropped.of(DropReason::DropOldest).get()) > 0);
}

#[test]
fn a_reader_that_is_slow_is_told_the_gap_and_stays() {
    let mut settings = settings();
    settings.limits.outbox_bytes = 2 << 20;
    let broker = Broker::start(settings);
    let mut slow = broker.client();
    let subscription = slow.subscribe("a");
    let mut publisher = broker.client();
    let mut payload = vec![0; 64 << 10];
    let total = 1000_u64;
    for number in 0..total {
        payload[..8].copy_from_slice(&number.to_be_bytes());
        publisher.publish("a", &payload);
    }
    let (mut expected, mut gaps) = (0, 0);
    while expected < total {
        match slow.next() {
            Said::Delivery { payload, .. } => {
                let number = u64::from_be_bytes(payload[..8].try_into().unwrap());
                assert_eq!(number, expected, "a message is missing, and no gap stands for it");
                expected += 1;
            }
            Said::Gap { subscription: of, count } => {
                assert_eq!(of, subscription);
                expected += count;
                gaps += count;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(gaps > 0, "the outbox was never full; the test shows nothing");
    assert_eq!(broker.count(|shard| shard.messages_dropped.of(DropReason::DropOldest).get()), gaps);
    slow.ping();
}

#[test]
fn a_subscription_that_asks_for_it_is_closed_rather_than_robbed() {
    let mut settings = settings();
    settings.limits.outbox_bytes = 2 << 20;
    let broker = Broker::start(settings);
    let mut slow = broker.client();
    let reply = slow.ask_subscribe("a", Overflow::Close);
    assert_eq!(slow.next(), Said::Ok(reply));
    let mut publisher = broker.client();
    let mut payload = vec![0; 64 << 10];
    for number in 0..1000_u64 {
        payload[..8].copy_from_slice(&number.to_be_bytes());
        publisher.publish("a", &payload);
        if broker.count(|shard| shard.messages_dropped.of(DropReason::SlowConsumer).get()) > 0 {
            break;
        }
    }
    let mut expected = 0_u64;
    loop {
        match slow.next() {
            Said::Delivery { payload, .. } => {
                assert_eq!(payload[..8], expected.to_be_bytes());
                expected += 1;
            }
            Said::Closing { code, .. } => assert_eq!(code, 4002),
            Said::Close { code, .. } => {
                assert_eq!(code, 4002);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(expected < 1000);
    eventually("the count", || closed(&broker, CloseReason::SlowConsumer) == 1);
}

#[test]
fn a_drain_tells_everybody_when_to_come_back_and_loses_nothing_that_waits() {
    let mut broker = Broker::start_with(settings(), 2);
    let mut clients: Vec<_> = (0..10).map(|_| broker.client()).collect();
    for client in &mut clients {
        client.subscribe("a");
    }
    let mut publisher = broker.client();
    for _ in 0..10 {
        publisher.publish("a", &vec![7; 50_000]);
    }
    // Somebody who has not come in does not hold the broker up.
    let half_open = broker.tcp();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let mut deliveries = 0;
                let mut delay = None;
                loop {
                    match client.next() {
                        Said::Delivery { .. } => deliveries += 1,
                        Said::Closing { code: 4100, retry_after_ms } => delay = retry_after_ms,
                        Said::Close { code, .. } => {
                            assert_eq!(code, 4100);
                            return (deliveries, delay.expect("a delay"));
                        }
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    eventually("deliveries on both shards", || broker.count(|shard| shard.messages_delivered.get()) == 100);
    broker.drain();
    let results: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(results.iter().all(|(deliveries, _)| *deliveries == 10), "{results:?}");
    assert!(results.iter().all(|(_, delay)| *delay <= 5000), "{results:?}");
    assert!(results.iter().any(|(_, delay)| *delay != results[0].1), "all come back at once: {results:?}");
    drop(half_open);
    assert!(std::net::TcpStream::connect(broker.address).is_err(), "it still listens");
}

/// CPU time of this process's shard threads.
fn shard_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let shards = tasks
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("carillon-shard")));
    let nanos = shards.map(|shard| {
        let line = std::fs::read_to_string(shard.join("schedstat")).unwrap_or_default();
        line.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default()
    });
    Duration::from_nanos(nanos.sum())
}

#[test]
fn closing_a_socket_that_takes_nothing_waits_without_work() {
    // The sums are of all shards of the process, so this test has one of its own.
    if std::env::var_os("CARILLON_TEST_ALONE").is_none() {
        let name = "closing_a_socket_that_takes_nothing_waits_without_work";
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("CARILLON_TEST_ALONE", "1")
            .status();
        assert!(alone.unwrap().success());
        return;
    }
    let mut settings = settings();
    settings.limits.outbox_bytes = 2 << 20;
    settings.deadlines.write = Duration::from_secs(1);
    settings.deadlines.drain = Duration::from_secs(4);
    let mut broker = Broker::start(settings);
    let mut stalled = broker.client();
    stalled.subscribe("a");
    let mut publisher = broker.client();
    let payload = vec![0; 64 << 10];
    while broker.count(|shard| shard.messages_dropped.of(DropReason::DropOldest).get()) == 0 {
        publisher.publish("a", &payload);
    }
    let (cpu, start) = (shard_cpu(), std::time::Instant::now());
    let draining = std::thread::spawn(move || broker.drain());
    std::thread::sleep(Duration::from_secs(2));
    let (used, passed) = (shard_cpu().saturating_sub(cpu), start.elapsed());
    assert!(used < passed / 4, "{used:?} of CPU in {passed:?} of waiting");
    draining.join().unwrap();
    drop(stalled);
}
