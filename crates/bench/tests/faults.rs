//! What a broker does wrong is found, whatever it is, and what it does right is not taken for wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use carillon_bench::{
    Carillon, Churn, ChurnOf, Connect, FanOut, Framing, Idle, Pace, Publish, Run, RunError, Storm, Target, Tickets,
    outcome::{FanOutOutcome, Outcome, Warning},
    progress::Silent,
};

use self::support::{Fault, Server};

fn run(target: &Target) -> Run<'_, Carillon> {
    Run { patience: Duration::from_secs(5), threads: 2, ..Run::new(Carillon::default(), target, &Silent) }
}

const MESSAGES: u64 = 50;

fn fan_out() -> FanOut {
    FanOut {
        subscribers: 3,
        pace: Pace::PerSecond(500.0),
        messages: MESSAGES,
        warm_up: 0,
        payload_bytes: 32,
        ..FanOut::default()
    }
}

async fn outcome(fault: Fault) -> FanOutOutcome {
    let server = Server::start(fault, false).await;
    fan_out().run(&run(&server.target())).await.unwrap()
}

#[tokio::test]
async fn faultless_run_has_no_problems() {
    let outcome = outcome(Fault::None).await;
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert_eq!((outcome.deliveries.delivered, outcome.latency.count), (3 * MESSAGES, 3 * MESSAGES));
    assert_eq!((outcome.common.connections, outcome.common.tls.full), (4, 4));
}

#[tokio::test]
async fn dropped_delivery_is_lost() {
    let outcome = outcome(Fault::Drop(20)).await;
    assert_eq!((outcome.deliveries.lost, outcome.deliveries.delivered), (1, 3 * MESSAGES - 1));
    assert_eq!(outcome.problems(), ["1 of 150 deliveries did not come"]);
}

#[tokio::test]
async fn last_delivery_that_is_dropped_is_lost_too() {
    assert_eq!(outcome(Fault::Drop(MESSAGES - 1)).await.deliveries.lost, 1);
}

#[tokio::test]
async fn repeated_delivery_is_told() {
    let outcome = outcome(Fault::Repeat(20)).await;
    assert_eq!((outcome.deliveries.repeated, outcome.deliveries.lost), (1, 0));
    assert_eq!(outcome.problems(), ["1 deliveries came more than once"]);
}

#[tokio::test]
async fn last_delivery_that_is_repeated_is_told_too() {
    assert_eq!(outcome(Fault::Repeat(MESSAGES - 1)).await.deliveries.repeated, 1);
}

#[tokio::test]
async fn delivery_out_of_order_is_told() {
    let outcome = outcome(Fault::Swap(20)).await;
    assert_eq!((outcome.deliveries.reordered, outcome.deliveries.lost), (1, 0));
    assert_eq!(outcome.problems(), ["1 deliveries came out of order"]);
}

#[tokio::test]
async fn lost_connection_is_told_with_its_reason() {
    let outcome = outcome(Fault::Cut(20)).await;
    assert_eq!((outcome.common.lost_connections, outcome.deliveries.lost), (1, MESSAGES - 20));
    assert_eq!(outcome.problems().len(), 3, "{:?}", outcome.problems());
}

#[tokio::test]
async fn stall_is_in_the_latency_of_all_that_was_due_meanwhile() {
    let stall = Duration::from_millis(200);
    let server = Server::start(Fault::Stall(100, stall), false).await;
    // Half of what is published is due while the server stalls. A load that waited for the server would measure one long
    // latency, or publish later and measure none; so these bounds hold on a machine of any speed.
    let settings = FanOut { messages: 400, pace: Pace::PerSecond(1000.0), ..fan_out() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!(outcome.problems(), Vec::<String>::new());
    let latency = outcome.latency;
    assert!(latency.max_ms >= 199.0, "{latency:?}");
    assert!(latency.p99_ms >= 190.0, "{latency:?}");
    assert!(latency.p99_9_ms >= 195.0, "{latency:?}");
}

#[tokio::test]
async fn what_is_measured_is_not_late_because_of_the_warm_up() {
    let server = Server::start(Fault::None, false).await;
    // The next publication of the warm-up would be due a minute later, if there were one.
    let settings = FanOut { messages: 1, warm_up: 1, pace: Pace::PerSecond(1.0 / 60.0), ..fan_out() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert!(outcome.latency.max_ms < 30_000.0, "{:?}", outcome.latency);
}

#[tokio::test]
async fn what_the_server_does_not_take_keeps_its_time() {
    let server = Server::start(Fault::Stall(50, Duration::from_secs(1)), false).await;
    // 30 MB are due while the server does not read, far more than sockets hold. Had they the time of their writing, only the
    // few that still could be written would be late, and the median would tell nothing of the stall.
    let settings =
        FanOut { subscribers: 1, messages: 600, pace: Pace::PerSecond(500.0), payload_bytes: 60_000, ..fan_out() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert!(outcome.latency.p50_ms >= 350.0, "{:?}", outcome.latency);
}

#[tokio::test]
async fn topics_publishers_and_packed_messages_add_up() {
    let server = Server::start(Fault::None, false).await;
    let settings = FanOut {
        topics: 3,
        subscribers: 7,
        publishers: 2,
        framing: Framing::Together,
        pace: Pace::PerSecond(2000.0),
        warm_up: 5,
        ..fan_out()
    };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert_eq!((outcome.published, outcome.deliveries.expected), (3 * MESSAGES, 7 * MESSAGES));
}

#[tokio::test]
async fn saturation_publishes_all() {
    let server = Server::start(Fault::None, false).await;
    let settings = FanOut { pace: Pace::Saturated { window: 3 }, warm_up: 5, ..fan_out() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!((outcome.problems(), outcome.deliveries.delivered), (vec![], 3 * MESSAGES));
}

#[tokio::test]
async fn acknowledgements_and_refusals_are_counted() {
    let server = Server::start(Fault::Refuse(7), false).await;
    let settings = Publish { connections: 2, in_flight: 4, messages: 40, ..Publish::default() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!((outcome.acknowledged, outcome.common.refused, outcome.latency.count), (39, 1, 39));
    assert_eq!(outcome.problems(), ["1 requests were refused", "reason: not this one"]);
    assert!(!outcome.common.warnings.contains(&Warning::NothingKept));
}

#[tokio::test]
async fn pace_of_acknowledged_publications_is_open_loop() {
    let server = Server::start(Fault::Stall(20, Duration::from_millis(200)), false).await;
    // More are due while the server stalls than may be in flight: those wait, and that is in their latency.
    let settings =
        Publish { connections: 1, in_flight: 8, messages: 200, per_second: Some(500.0), ..Publish::default() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert!(outcome.latency.p99_ms >= 180.0, "{:?}", outcome.latency);
}

#[tokio::test]
async fn tickets_resume_as_many_sessions_as_they_are() {
    let server = Server::start(Fault::None, true).await;
    let settings = Connect { connections: 20, tickets: Tickets::Kept, ..Connect::default() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!((outcome.common.tls.full, outcome.common.tls.resumed), (0, 20));
    assert_eq!((outcome.problems(), outcome.latency.count), (vec![], 20));
}

#[tokio::test]
async fn missing_tickets_are_warned_of() {
    let server = Server::start(Fault::None, false).await;
    let settings = Storm { connections: 10, tickets: Tickets::Kept };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert!(outcome.common.warnings.contains(&Warning::NotResumed { full: 10, of: 10 }));
}

#[tokio::test]
async fn all_come_back_from_a_storm() {
    let server = Server::start(Fault::None, true).await;
    let outcome = Storm { connections: 30, tickets: Tickets::Kept }.run(&run(&server.target())).await.unwrap();
    assert_eq!((outcome.problems(), outcome.latency.count, outcome.common.tls.resumed), (vec![], 30, 30));
}

#[tokio::test]
async fn what_comes_and_goes_is_done() {
    let server = Server::start(Fault::None, false).await;
    for of in [ChurnOf::Subscriptions, ChurnOf::Connections] {
        let settings = Churn { of, per_second: 100.0, seconds: 0.4, connections: 3 };
        let outcome = settings.run(&run(&server.target())).await.unwrap();
        assert_eq!((outcome.problems(), outcome.done, outcome.latency.count), (vec![], 40, 40), "{of:?}");
    }
}

#[tokio::test]
async fn round_whose_delivery_is_dropped_is_not_done() {
    let server = Server::start(Fault::Drop(3), false).await;
    let settings = Churn { of: ChurnOf::Connections, per_second: 100.0, seconds: 0.1, ..Churn::default() };
    let outcome = settings.run(&run(&server.target())).await.unwrap();
    assert_eq!((outcome.done, outcome.common.lost_connections), (9, 1));
    assert!(outcome.problems().iter().any(|problem| problem.starts_with("1 of 10 rounds")), "{:?}", outcome.problems());
}

#[tokio::test]
async fn idle_connections_are_kept() {
    let server = Server::start(Fault::None, false).await;
    let outcome = Idle { connections: 5, seconds: 0.1, warm_up: 2 }.run(&run(&server.target())).await.unwrap();
    assert_eq!((outcome.problems(), outcome.common.connections), (vec![], 7));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let server = Server::start(Fault::None, false).await;
    let target = server.target();
    let wrong = [
        FanOut { topics: 0, ..fan_out() },
        FanOut { topics: 4, ..fan_out() },
        FanOut { publishers: 0, ..fan_out() },
        FanOut { messages: 0, ..fan_out() },
        FanOut { payload_bytes: 15, ..fan_out() },
        FanOut { pace: Pace::PerSecond(0.0), ..fan_out() },
        FanOut { pace: Pace::Saturated { window: 0 }, ..fan_out() },
    ];
    for settings in wrong {
        let refused = settings.run(&run(&target)).await;
        assert!(matches!(refused, Err(RunError::Settings(_))), "{settings:?}");
    }
}
