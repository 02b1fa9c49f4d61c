//! `carillon bench` against brokers that run: what it tells, and by which exit status.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    process::{Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use self::support::{Broker, carillon, home, run, told};

fn bench(home: &TempDir, broker: &Broker, args: &[&str]) -> Output {
    let (url, pid) = (broker.url(), broker.child.id().to_string());
    run(home.path(), &[&["bench"], args, &["--url", &url, "--pid", &pid]].concat())
}

fn document(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&output.stdout), told(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_workload_against_the_development_broker() {
    let home = home();
    let broker = Broker::start(home.path());
    let runs: [&[&str]; 8] = [
        &["fan-out", "--subscribers", "5", "--rate", "200", "--seconds", "0.5", "--warm-up", "0.1"],
        &["fan-out", "--subscribers", "5", "--saturate", "--messages", "500", "--together"],
        &[
            "many-to-many",
            "--topics",
            "4",
            "--subscribers",
            "8",
            "--publishers",
            "3",
            "--seconds",
            "0.2",
            "--threads",
            "2",
        ],
        &["connect", "--connections", "10", "--resume", "--subscribe"],
        &["storm", "--connections", "10"],
        &["idle", "--connections", "5", "--seconds", "0.2"],
        &["publish", "--messages", "500"],
        &["churn", "--rate", "50", "--seconds", "0.4"],
    ];
    for args in runs {
        let told = document(&bench(&home, &broker, &[args, &["--json"]].concat()));
        assert_eq!((&told["workload"], &told["ok"]), (&args[0].into(), &true.into()), "{told}");
        let outcome = &told["outcome"];
        assert!(outcome["server"]["resident_after_kib"].as_u64() > Some(0), "{told}");
        assert_eq!((outcome["lost_connections"].as_u64(), outcome["refused"].as_u64()), (Some(0), Some(0)));
        assert_eq!(outcome["tls"]["version"], "TLSv1_3");
    }
    assert!(told_warnings(&bench(&home, &broker, &["publish", "--messages", "10", "--json"])).contains("nothing_kept"));
}

fn told_warnings(output: &Output) -> String {
    document(output)["outcome"]["warnings"].to_string()
}

#[test]
fn stream_is_filled_and_replayed() {
    let home = home();
    let config = home.path().join("carillon.toml");
    let keep = "[streams.bench]\ntopics = [\"bench.>\"]\ndurability = \"memory\"\nmax_bytes = 100000000\n";
    fs::write(&config, keep).unwrap();
    let args = ["--dev", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let broker = Broker::serve(carillon(home.path()), &args);
    let told = document(&bench(&home, &broker, &["replay", "--messages", "2000", "--readers", "2", "--json"]));
    assert_eq!(told["outcome"]["deliveries"]["delivered"], 4000);
    assert_eq!(told["outcome"]["caught_up"]["count"], 2);
    let published = bench(&home, &broker, &["publish", "--messages", "100", "--json"]);
    assert!(!told_warnings(&published).contains("nothing_kept"));
}

#[test]
fn without_a_stream_there_is_nothing_to_replay() {
    let home = home();
    let broker = Broker::start(home.path());
    let output = bench(&home, &broker, &["replay", "--messages", "10"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("no stream keeps `bench."), "{}", told(&output));
}

#[test]
fn broker_that_dies_is_told_and_fails_the_run() {
    let home = home();
    let broker = Broker::start(home.path());
    let url = broker.url();
    let args =
        ["bench", "fan-out", "--subscribers", "3", "--rate", "100", "--seconds", "20", "--patience", "0.5", "--url"];
    let mut command = carillon(home.path());
    let load = command.args(args).arg(&url).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    broker.wait_for_metric("carillon_subscriptions", 3);
    thread::sleep(Duration::from_millis(500));
    broker.signal("KILL");
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("PROBLEM      4 connections were lost"), "{summary}");
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let home = home();
    let broker = Broker::start(home.path());
    let wrong: [&[&str]; 4] = [
        &["fan-out", "--payload", "15"],
        &["many-to-many", "--topics", "9", "--subscribers", "8"],
        &["fan-out", "--topic", "not a topic"],
        &["churn", "--rate", "0"],
    ];
    for args in wrong {
        let output = bench(&home, &broker, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", told(&output));
    }
    let nobody = run(home.path(), &["bench", "fan-out", "--url", "https://localhost"]);
    assert_eq!(nobody.status.code(), Some(2));
}
