//! The part of docs/curves.md that changes with every run.

use std::{fmt::Write, io, path::Path};

use carillon_benches::{numbers::short, page};

use crate::{
    curve::May,
    plots, report,
    results::{Measured, Results},
};

const PAGE: &str = "curves.md";
const PLOT_DIRECTORY: &str = "curves";
/// What of `make` writes the page.
const TARGET: &str = "bench-curves";

/// Draws the plots, and puts the results between the marks of the page.
pub(crate) fn write(results: &Results, docs: &Path) -> io::Result<()> {
    let mut text = machine(results);
    text += &courses(results);
    for measured in &results.curves {
        text += &section(measured);
        if plots::draw(results, measured, &docs.join(PLOT_DIRECTORY))? {
            let (title, file) = (measured.curve.title, plots::file(measured.curve));
            let _ = writeln!(text, "![{title}]({PLOT_DIRECTORY}/{file})\n");
        }
    }
    page::write(&docs.join(PAGE), TARGET, &text)
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let place = if results.shared {
        "The broker and the load shared one core, so latencies say little."
    } else {
        "The broker had one core, the load another, where shards are not the matter."
    };
    let (median, most) = results.others();
    format!(
        "Measured on {}: {}, {} cores, {} MiB, Linux {}; {}; {} s for each point. {place} What else ran on the machine used \
         {median:.2} cores beside a point (the median; {most:.2} at most).\n\n",
        results.date,
        machine.processor,
        machine.processors,
        machine.memory_mib,
        machine.kernel,
        results.version,
        results.seconds,
    )
}

/// What each figure does, in one table.
fn courses(results: &Results) -> String {
    let mut text = "| what grows | figure | may be | is, last by first | |\n|---|---|---|---|---|\n".to_owned();
    for measured in &results.curves {
        for &figure in measured.curve.figures {
            let may = match figure.may {
                May::Flat => "flat",
                May::Linear => "linear",
                May::Anything => continue,
            };
            let (told, verdict) = measured.course(figure).map_or(("–".to_owned(), "not measured"), |course| {
                (report::course(measured.curve, course), report::verdict(figure, course))
            });
            let verdict = if verdict == "NOT AS IT MAY" { "**not as it may**" } else { verdict };
            let (title, name) = (measured.curve.title, figure.quantity.name());
            let _ = writeln!(text, "| {title} | {name} | {may} | {told} | {verdict} |");
        }
    }
    text.push('\n');
    text
}

fn section(measured: &Measured) -> String {
    let curve = measured.curve;
    let mut text = format!("### {}\n\n{}.\n\n| |", curve.title, capital(curve.work));
    for (at, _) in measured.readings() {
        let _ = write!(text, " {} |", short(at, curve.growing.is_bytes()));
    }
    text += "\n|---|";
    text += &"---:|".repeat(measured.readings().count());
    text.push('\n');
    for &figure in curve.figures {
        let _ = write!(text, "| {} |", report::heading(figure));
        for (_, reading) in measured.readings() {
            let found = reading.figures.get(&figure.quantity);
            let _ = write!(text, " {} |", found.map_or_else(|| "–".to_owned(), |&found| report::value(found)));
        }
        text.push('\n');
    }
    text.push('\n');
    let escaped = |said: &str| said.replace(['<', '\n'], " ");
    for (at, reading) in measured.readings() {
        for warning in &reading.warnings {
            let _ = writeln!(text, "- {}: {}", short(at, curve.growing.is_bytes()), escaped(warning));
        }
    }
    for (at, why) in measured.failures() {
        let _ = writeln!(text, "- {} does not count: {}", short(at, curve.growing.is_bytes()), escaped(why));
    }
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::results::tests::results;

    #[test]
    fn the_page_has_courses_figures_and_what_does_not_count() {
        let docs = tempfile::tempdir().unwrap();
        let marks = "<!-- from here to the end mark, `make bench-curves` writes -->\n<!-- end mark -->";
        fs::write(docs.path().join(PAGE), format!("# Curves\n{marks}\n")).unwrap();
        let points = [(1, Ok(400.0)), (10, Ok(9000.0)), (100, Err("3 did not come"))];
        write(&results(&points), docs.path()).unwrap();
        let page = fs::read_to_string(docs.path().join(PAGE)).unwrap();
        for text in [
            "bends, × 22.5, most from 1 to 10 (slope 1.35) | **not as it may** |",
            "| CPU for each delivery, ns | 400 | 9,000 |",
            "- 1: late  &>",
            "- 100 does not count: 3 did not come",
            "curves/subscribers.svg",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
    }
}
