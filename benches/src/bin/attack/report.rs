//! What was found, for people and as JSON.

use std::time::Duration;

use carillon_benches::metrics::Metrics;
use serde_json::{Value, json};

use crate::verdict::{Latency, Measured, Verdict};

/// The heading of the table. Newcomers are those who were welcomed and those who were not, and how long it took them: half
/// of them at most, and all at most.
pub(crate) fn heading() {
    println!(
        "{:<22} {:>17} {:>17} {:>6} {:>6} {:>20} {:>8} {:>9} {:>20}  verdict",
        "attack",
        "quiet p50/p99 ms",
        "under p50/p99 ms",
        "×p50",
        "×p99",
        "MiB peak/left/bound",
        "lasted",
        "CPU+wait",
        "newcomers p50/max ms"
    );
}

/// One attack, in a line of the table and those below it.
pub(crate) fn line(measured: &Measured<'_>, verdict: &Verdict) {
    let pair = |latency: Latency| format!("{:.2}/{:.2}", ms(latency.p50), ms(latency.p99));
    let newcomers = format!(
        "{}+{} {:.1}/{:.0}",
        measured.attacked.newcomers.len(),
        measured.attacked.turned_away,
        ms(verdict.newcomers.p50),
        ms(verdict.newcomers.max)
    );
    println!(
        "{:<22} {:>17} {:>17} {:>6.2} {:>6.2} {:>20} {:>8} {:>9} {:>20}  {}",
        measured.attack.name,
        pair(verdict.quiet),
        pair(verdict.attacked),
        ratio(verdict.attacked.p50, verdict.quiet.p50),
        ratio(verdict.attacked.p99, verdict.quiet.p99),
        format!("{}/{}/{}", measured.peak_kib >> 10, measured.left_kib >> 10, measured.allowed_kib >> 10),
        format!("{:.1} s", measured.lasted.as_secs_f64()),
        format!("{:.0}+{:.0} %", verdict.processor_share * 100.0, verdict.waiting_share * 100.0),
        newcomers,
        if verdict.complaints.is_empty() { "held" } else { "NOT HELD" },
    );
    for complaint in &verdict.complaints {
        println!("    ! {complaint}");
    }
    println!("    attackers: {}", measured.attack.does);
    println!("    bounded by: {}", measured.attack.bound);
    let tally: Vec<_> = measured.evidence.tally.iter().map(|(what, times)| format!("{what}: {times}")).collect();
    println!("    they saw: {}", tally.join(", "));
    let counted: Vec<_> = told(&measured.evidence.counted).map(|(name, value)| format!("{name} {value}")).collect();
    println!("    the broker counted: {}", counted.join(", "));
}

/// The counters that tell what became of connections and requests, where they have moved.
fn told(counted: &Metrics) -> impl Iterator<Item = (&str, f64)> {
    const NOT_OF_INTEREST: [&str; 6] = ["bytes", "_seconds", "messages_", "heartbeats", "limit", "opened"];
    counted.moved().filter(|(name, _)| !NOT_OF_INTEREST.iter().any(|part| name.contains(part)))
}

/// One attack as JSON; durations in microseconds.
pub(crate) fn to_json(measured: &Measured<'_>, verdict: &Verdict) -> Value {
    let latency = |latency: Latency| {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        json!({ "p50_us": us(latency.p50), "p99_us": us(latency.p99), "max_us": us(latency.max) })
    };
    let counted: serde_json::Map<_, _> =
        told(&measured.evidence.counted).map(|(name, value)| (name.to_owned(), json!(value))).collect();
    json!({
        "attack": measured.attack.name,
        "does": measured.attack.does,
        "bound": measured.attack.bound,
        "seconds": measured.lasted.as_secs_f64(),
        "held": verdict.complaints.is_empty(),
        "complaints": verdict.complaints,
        "quiet": latency(verdict.quiet),
        "attacked": latency(verdict.attacked),
        "ratio_p50": ratio(verdict.attacked.p50, verdict.quiet.p50),
        "ratio_p99": ratio(verdict.attacked.p99, verdict.quiet.p99),
        "messages": measured.attacked.latencies.len(),
        "lost": measured.attacked.lost + measured.quiet.lost,
        "newcomers": {
            "welcomed": measured.attacked.newcomers.len(),
            "turned_away": measured.attacked.turned_away,
            "latency": latency(verdict.newcomers),
        },
        "processor_share": verdict.processor_share,
        "waiting_share": verdict.waiting_share,
        "resident_kib": {
            "before": measured.before.resident_kib,
            "peak": measured.peak_kib,
            "left": measured.left_kib,
            "allowed": measured.allowed_kib,
        },
        "attackers": measured.evidence.tally,
        "counted": counted,
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn ratio(attacked: Duration, quiet: Duration) -> f64 {
    if quiet.is_zero() { 0.0 } else { attacked.as_secs_f64() / quiet.as_secs_f64() }
}
