//! What a run measured, for people.

use std::fmt::Write as _;

use carillon_bench::{
    Quantiles,
    outcome::{
        ChurnOutcome, Common, ConnectOutcome, Deliveries, FanOutOutcome, IdleOutcome, Outcome, PublishOutcome,
        ReplayOutcome, StormOutcome,
    },
};

/// Lines of a name and what is to be said of it.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, what: &str) -> &mut Self {
        // A `String` takes everything.
        let _ = writeln!(self.0, "{name:<12} {what}");
        self
    }

    fn latency(&mut self, name: &str, latency: &Quantiles) -> &mut Self {
        let Quantiles { p50_ms, p99_ms, p99_9_ms, max_ms, .. } = latency;
        let [p50, p99, p99_9, max] = [p50_ms, p99_ms, p99_9_ms, max_ms].map(|millis| milliseconds(*millis));
        self.line(name, &format!("p50 {p50}, p99 {p99}, p99.9 {p99_9}, max {max}"))
    }

    fn deliveries(&mut self, deliveries: &Deliveries, per_second: f64) -> &mut Self {
        let Deliveries { expected, delivered, lost, repeated, reordered, told_lost, .. } = *deliveries;
        let faults = if lost + repeated + reordered == 0 {
            "all of them once and in order".to_owned()
        } else {
            let [lost, repeated, reordered, told] = [lost, repeated, reordered, told_lost].map(grouped);
            format!("{lost} lost (the broker told of {told}), {repeated} more than once, {reordered} out of order")
        };
        let (delivered, expected) = (grouped(delivered), grouped(expected));
        self.line("delivered", &format!("{delivered} of {expected}, {}/s; {faults}", rounded(per_second)))
    }

    /// What the server used; `each` is what one of the things that were done cost.
    fn server(&mut self, common: &Common, each: Option<String>) -> &mut Self {
        let Some(cost) = common.server else { return self };
        let each = each.map(|each| format!("{each}; ")).unwrap_or_default();
        let (before, after) = (grouped(cost.resident_before_kib), grouped(cost.resident_after_kib));
        let peak = grouped(cost.resident_peak_kib);
        self.line(
            "broker",
            &format!(
                "{each}{:.0} % of a core; {after} KiB resident, {before} before, {peak} at most",
                cost.cores * 100.0
            ),
        )
    }

    /// What is said of every run, at the end.
    fn end<O: Outcome>(&mut self, outcome: &O) -> String {
        let common = outcome.common();
        let tls = &common.tls;
        self.line(
            "connections",
            &format!(
                "{}; {}, {}, {}; {} full handshakes, {} resumed",
                grouped(common.connections),
                tls.version,
                tls.suite,
                tls.group,
                grouped(tls.full),
                grouped(tls.resumed)
            ),
        );
        let shares: Vec<_> = common.own.thread_shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect();
        let lag = common.own.lag_p99_ms.map(|lag| format!("; late by {} (p99)", milliseconds(lag))).unwrap_or_default();
        self.line("load", &format!("{} of a core{lag}", shares.join(", ")));
        for warning in &common.warnings {
            self.line("WARNING", &warning.to_string());
        }
        for problem in outcome.problems() {
            self.line("PROBLEM", &problem);
        }
        std::mem::take(&mut self.0)
    }
}

/// An outcome that people can read.
pub(super) trait Summary: Outcome {
    fn summary(&self) -> String;
}

impl Summary for FanOutOutcome {
    fn summary(&self) -> String {
        let each =
            self.server_ns_for_each_delivery.map(|nanos| format!("{} ns of CPU for each delivery", rounded(nanos)));
        let published = format!(
            "{} in {:.1} s, {}/s",
            grouped(self.published),
            self.common.seconds,
            rounded(self.published_per_second)
        );
        Lines::default()
            .line("published", &published)
            .deliveries(&self.deliveries, self.delivered_per_second)
            .latency("latency", &self.latency)
            .server(&self.common, each)
            .end(self)
    }
}

impl Summary for ConnectOutcome {
    fn summary(&self) -> String {
        let each =
            self.server_us_for_each_connection.map(|micros| format!("{micros:.0} µs of CPU for each connection"));
        let ready = format!("in {:.1} s, {}/s", self.common.seconds, rounded(self.ready_per_second));
        Lines::default().line("ready", &ready).latency("latency", &self.latency).server(&self.common, each).end(self)
    }
}

impl Summary for StormOutcome {
    fn summary(&self) -> String {
        let each =
            self.server_us_for_each_connection.map(|micros| format!("{micros:.0} µs of CPU for each connection"));
        Lines::default()
            .line("all back", &format!("after {:.2} s", self.seconds_until_last))
            .latency("latency", &self.latency)
            .server(&self.common, each)
            .end(self)
    }
}

impl Summary for IdleOutcome {
    fn summary(&self) -> String {
        let mut lines = Lines::default();
        if let (Some(kib), Some(micros)) = (self.resident_kib_for_each, self.server_us_for_each_second) {
            lines.line("connection", &format!("{kib:.1} KiB resident and {micros:.2} µs of CPU in a second, for each"));
        }
        lines.line("idle for", &format!("{:.1} s", self.common.seconds)).server(&self.common, None).end(self)
    }
}

impl Summary for PublishOutcome {
    fn summary(&self) -> String {
        let each = self.server_ns_for_each.map(|nanos| format!("{} ns of CPU for each publication", rounded(nanos)));
        let acknowledged = format!(
            "{} of {} in {:.1} s, {}/s",
            grouped(self.acknowledged),
            grouped(self.expected),
            self.common.seconds,
            rounded(self.acknowledged_per_second)
        );
        Lines::default()
            .line("acknowledged", &acknowledged)
            .latency("latency", &self.latency)
            .server(&self.common, each)
            .end(self)
    }
}

impl Summary for ReplayOutcome {
    fn summary(&self) -> String {
        let each =
            self.server_ns_for_each_delivery.map(|nanos| format!("{} ns of CPU for each delivery", rounded(nanos)));
        Lines::default()
            .deliveries(&self.deliveries, self.delivered_per_second)
            .latency("caught up", &self.caught_up)
            .server(&self.common, each)
            .end(self)
    }
}

impl Summary for ChurnOutcome {
    fn summary(&self) -> String {
        let each = self.server_us_for_each.map(|micros| format!("{micros:.0} µs of CPU for each round"));
        let done = format!(
            "{} of {} in {:.1} s, {}/s",
            grouped(self.done),
            grouped(self.expected),
            self.common.seconds,
            rounded(self.done_per_second)
        );
        let mut lines = Lines::default();
        lines.line("rounds", &done).latency("latency", &self.latency).server(&self.common, each);
        if let Some(growth) = self.resident_growth_kib {
            lines.line("memory", &format!("{growth:+} KiB in the last quarter against the second"));
        }
        lines.end(self)
    }
}

fn milliseconds(millis: f64) -> String {
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

/// A number of at least 0, without what is behind its point where it is large.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is at least 100, and saturates")]
fn rounded(number: f64) -> String {
    if number < 100.0 { format!("{number:.1}") } else { grouped(number.round() as u64) }
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn small_rates_keep_a_digit() {
        assert_eq!([0.0, 0.53, 99.94, 1234.5].map(rounded), ["0.0", "0.5", "99.9", "1,235"]);
    }
}
