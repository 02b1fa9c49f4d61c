//! What was found, for people and as JSON.

use serde_json::{Value, json};

use crate::{measures::Measure, meter::Cost};

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
    /// It is told for whoever wants to know.
    None,
}

/// One figure.
pub(crate) struct Finding {
    /// Under which circumstances.
    pub(crate) what: String,
    /// The figure.
    pub(crate) value: f64,
    /// What it is in.
    pub(crate) unit: &'static str,
    /// What it has to be.
    pub(crate) bound: Bound,
    /// How many of what the broker did, to share out its processor time; 0 where that says nothing.
    pub(crate) messages: u64,
    /// What it cost.
    pub(crate) cost: Cost,
    /// What else there is to say.
    pub(crate) details: Vec<(&'static str, f64)>,
}

impl Bound {
    fn is_kept_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {}", number(bound)),
            Self::AtMost(bound) => format!("<= {}", number(bound)),
            Self::None => "-".to_owned(),
        }
    }
}

impl Finding {
    /// Processor time of the broker for each message, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn cpu_us(&self) -> Option<f64> {
        (self.messages > 0).then(|| self.cost.cpu.as_secs_f64() * 1e6 / self.messages as f64)
    }

    fn cpu_share(&self) -> f64 {
        self.cost.cpu.as_secs_f64() / self.cost.lasted.as_secs_f64().max(1e-9)
    }
}

/// The heading of the table. CPU is the broker's, load is this program's, others is what all other processes used meanwhile,
/// each of one processor.
pub(crate) fn heading() {
    println!(
        "{:<12} {:<44} {:>12} {:<8} {:>12}  {:<8} {:>6} {:>8} {:>8} {:>6} {:>7}",
        "measure", "with", "measured", "", "goal", "", "CPU", "µs each", "peak MiB", "load", "others"
    );
}

/// One figure, in a line of the table and one below it.
pub(crate) fn line(measure: &Measure, finding: &Finding) {
    let verdict = match finding.bound {
        Bound::None => "",
        bound if bound.is_kept_by(finding.value) => "held",
        _ => "NOT HELD",
    };
    println!(
        "{:<12} {:<44} {:>12} {:<8} {:>12}  {:<8} {:>4.0} % {:>8} {:>8} {:>4.0} % {:>5.0} %",
        measure.name,
        finding.what,
        number(finding.value),
        finding.unit,
        finding.bound.text(),
        verdict,
        finding.cpu_share() * 100.0,
        finding.cpu_us().map_or_else(|| "-".to_owned(), |us| format!("{us:.2}")),
        finding.cost.peak_kib >> 10,
        finding.cost.own * 100.0,
        finding.cost.others * 100.0,
    );
    let details: Vec<_> = finding.details.iter().map(|(name, value)| format!("{name} {}", number(*value))).collect();
    if !details.is_empty() {
        println!("    {}", details.join(", "));
    }
}

/// One figure as JSON.
pub(crate) fn to_json(measure: &Measure, finding: &Finding) -> Value {
    let details: serde_json::Map<_, _> =
        finding.details.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let (at_least, at_most) = match finding.bound {
        Bound::AtLeast(bound) => (Some(bound), None),
        Bound::AtMost(bound) => (None, Some(bound)),
        Bound::None => (None, None),
    };
    json!({
        "measure": measure.name,
        "goal": measure.goal,
        "with": finding.what,
        "value": finding.value,
        "unit": finding.unit,
        "at_least": at_least,
        "at_most": at_most,
        "held": finding.bound.is_kept_by(finding.value),
        "seconds": finding.cost.lasted.as_secs_f64(),
        "broker_cpu_share": finding.cpu_share(),
        "broker_cpu_us_each": finding.cpu_us(),
        "broker_peak_kib": finding.cost.peak_kib,
        "load_cpu_share": finding.cost.own,
        "others_cpu_share": finding.cost.others,
        "details": details,
    })
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
