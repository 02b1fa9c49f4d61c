//! The part of docs/benchmarks.md that changes with every run.

use std::{fmt::Write, io, path::Path};

use carillon_benches::page;

use crate::{
    plots::PLOTS,
    report,
    results::Results,
    servers::Server,
    works::{Figure, Work},
};

const PAGE: &str = "benchmarks.md";
const PLOT_DIRECTORY: &str = "benchmarks";
/// What of `make` writes the page.
const TARGET: &str = "bench-compare";

/// Draws the plots, and puts the results between the marks of the page.
pub(crate) fn write(results: &Results, docs: &Path) -> io::Result<()> {
    let path = docs.join(PAGE);
    let mut plots = Vec::new();
    for plot in &PLOTS {
        if plot.draw(results, &docs.join(PLOT_DIRECTORY))? {
            plots.push(plot);
        }
    }
    let mut text = machine(results);
    text += &goals(results);
    text += &figures(results);
    text += &failures(results);
    for plot in plots {
        let _ = writeln!(text, "![{}]({PLOT_DIRECTORY}/{})\n", plot.title, plot.file);
    }
    page::write(&path, TARGET, &text)
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let place = if results.shared {
        "Servers and load shared one core, so rates and latencies say little."
    } else {
        "Each server had one core to itself, the load another."
    };
    let (median, most) = results.others();
    let mut text = format!(
        "Measured on {}: {}, {} cores, {} MiB, Linux {}. {}, {} s for each run. {place} What else ran on the machine used \
         {median:.2} cores beside a run that counts (the median; {most:.2} at most).\n\n| server | version |\n|---|---|\n",
        results.date,
        machine.processor,
        machine.processors,
        machine.memory_mib,
        machine.kernel,
        results.rounds_text(),
        results.seconds,
    );
    for (server, version) in &results.versions {
        let _ = writeln!(text, "| {} | {} |", server.name(), version.replace('|', "\\|"));
    }
    text.push('\n');
    text
}

/// What Carillon must and is to reach, and what it does.
fn goals(results: &Results) -> String {
    let mut text = "### Goals\n\n| work | what | bound | against | found | |\n|---|---|---|---|---|---|\n".to_owned();
    for work in &results.works {
        for &goal in work.goals {
            let found = results.held_against(work, goal).map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
            let verdict = match report::verdict(results, work, goal) {
                "NOT HELD" => "**NOT HELD**",
                other => other,
            };
            let (figure, kind, bound, named) = (work.figure.name(), goal.kind_name(), goal.bound, goal.named());
            let _ = writeln!(text, "| {} | {figure} | {kind} {bound} | {named} | {found} | {verdict} |", work.what);
        }
    }
    text.push('\n');
    text
}

/// A row for each work, a column for each server.
fn figures(results: &Results) -> String {
    let mut text = "### Figures\n\nIn parentheses: against nats-server in the same round, and the spread of the rounds as a share of \
                    their median. Below a rate stands its p99.\n\n| work | what |"
        .to_owned();
    for server in &results.servers {
        let _ = write!(text, " {} |", server.name());
    }
    text += "\n|---|---|";
    text += &"---|".repeat(results.servers.len());
    text.push('\n');
    for work in &results.works {
        let _ = write!(text, "| {} | {} |", work.what, work.figure.name());
        for &server in &results.servers {
            let _ = write!(text, " {} |", cell(results, work, server));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn cell(results: &Results, work: &Work, server: Server) -> String {
    let mut text = results.text(work, server);
    let ratio = results.ratio(work, server, Server::Nats).filter(|_| server != Server::Nats);
    let notes = [
        ratio.map(|ratio| format!("{ratio:.2}")),
        results.spread(work, server).map(|spread| format!("±{:.0} %", spread * 50.0)),
    ];
    let notes: Vec<_> = notes.into_iter().flatten().collect();
    if !notes.is_empty() {
        let _ = write!(text, " ({})", notes.join(", "));
    }
    if work.figure == Figure::CpuForDelivery
        && let Some(p99) = results.detail(work, server, "p99_ms")
    {
        let _ = write!(text, "<br>p99 {}", Figure::LatencyP99.text(p99));
    }
    text
}

/// What does not count, and why.
fn failures(results: &Results) -> String {
    let mut text = String::new();
    for work in &results.works {
        for &server in &results.servers {
            for failure in results.failures(work, server) {
                let _ = writeln!(text, "- {}, {}: {}", work.what, server.name(), failure.replace(['<', '\n'], " "));
            }
        }
    }
    if text.is_empty() { text } else { format!("### Runs that do not count\n\n{text}\n") }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        measure::Ran,
        results::tests::{results, well},
    };

    #[test]
    fn the_page_has_goals_figures_and_what_failed() {
        let docs = tempfile::tempdir().unwrap();
        let marks = "<!-- from here to the end mark, `make bench-compare` writes -->\n<!-- end mark -->";
        fs::write(docs.path().join(PAGE), format!("# Benchmarks\n{marks}\n")).unwrap();
        let results = results(&[
            (Server::Carillon, vec![well(5.0), well(5.5)]),
            (Server::Nats, vec![well(10.0), well(10.0)]),
            (Server::Mosquitto, vec![Ran::Drowned("3 deliveries did not come".to_owned())]),
        ]);
        write(&results, docs.path()).unwrap();
        let page = fs::read_to_string(docs.path().join(PAGE)).unwrap();
        for text in
            ["must ≤ 0.55", "**NOT HELD**", "5.25 ns (0.53, ±5 %)", "Mosquitto: drowned: 3", "benchmarks/cpu.svg"]
        {
            assert!(page.contains(text), "{text}: {page}");
        }
    }
}
