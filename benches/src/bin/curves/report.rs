//! The results, for people at a terminal and for programs.

use std::fmt::Write;

use carillon_benches::numbers::{digits, short, thousands};
use serde_json::{Map, Value, json};

use crate::{
    curve::{Curve, Figure, May},
    results::{Course, Measured, Results},
    shape::Steepest,
};

/// A value with its digits.
pub(crate) fn value(value: f64) -> String {
    if value >= 1000.0 { thousands(value) } else { digits(value) }
}

/// What a figure does, in words.
pub(crate) fn course(curve: &Curve, course: Course) -> String {
    let mut text = format!("{}, × {}", course.shape, digits(course.factor));
    if let Some(Steepest { between: (from, to), slope }) = course.shape.steepest() {
        let _ = write!(text, ", most from {} to {} (slope {slope:.2})", place(curve, from), place(curve, to));
    }
    text
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places are whole numbers")]
fn place(curve: &Curve, at: f64) -> String {
    short(at as u64, curve.growing.is_bytes())
}

/// Whether it may do so.
pub(crate) fn verdict(figure: Figure, course: Course) -> &'static str {
    match (figure.may, course.is_allowed) {
        (May::Anything, _) => "",
        (_, true) => "as it may",
        (_, false) => "NOT AS IT MAY",
    }
}

/// What a curve's figure is called, with its unit.
pub(crate) fn heading(figure: Figure) -> String {
    format!("{}, {}", figure.quantity.name(), figure.quantity.unit())
}

/// All of it.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::new();
    for measured in &results.curves {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{}: {}", measured.curve.title, measured.curve.work);
        let _ = write!(text, "  {:<44}", "");
        for (at, _) in measured.readings() {
            let _ = write!(text, "{:>11}", short(at, measured.curve.growing.is_bytes()));
        }
        text.push('\n');
        for &figure in measured.curve.figures {
            row(measured, figure, &mut text);
        }
        for (at, why) in measured.failures() {
            let _ = writeln!(text, "  {} does not count: {why}", short(at, measured.curve.growing.is_bytes()));
        }
    }
    text
}

fn row(measured: &Measured, figure: Figure, text: &mut String) {
    let _ = write!(text, "  {:<44}", heading(figure));
    for (_, reading) in measured.readings() {
        let cell = reading.figures.get(&figure.quantity).map_or_else(|| "–".to_owned(), |&found| value(found));
        let _ = write!(text, "{cell:>11}");
    }
    if let Some(found) = measured.course(figure) {
        let _ = write!(text, "  {}  {}", course(measured.curve, found), verdict(figure, found));
    }
    text.push('\n');
}

/// All of it.
pub(crate) fn json(results: &Results) -> Value {
    json!({
        "date": results.date,
        "machine": results.machine,
        "version": results.version,
        "seconds": results.seconds,
        "one_processor_for_all": results.shared,
        "curves": results.curves.iter().map(json_curve).collect::<Vec<_>>(),
    })
}

fn json_curve(measured: &Measured) -> Value {
    let points = measured.points.iter().map(|point| match &point.read {
        Ok(reading) => {
            let figures: Map<_, _> =
                reading.figures.iter().map(|(quantity, value)| (quantity.key().to_owned(), json!(value))).collect();
            json!({
                "at": point.at, "figures": figures, "others_cores": reading.others, "warnings": reading.warnings,
            })
        }
        Err(why) => json!({ "at": point.at, "does_not_count": why }),
    });
    let courses = measured.curve.figures.iter().filter_map(|&figure| {
        let course = measured.course(figure)?;
        let steepest = course.shape.steepest();
        Some(json!({
            "figure": figure.quantity.key(), "shape": course.shape.to_string(), "last_by_first": course.factor,
            "steepest_between": steepest.map(|steepest| [steepest.between.0, steepest.between.1]),
            "slope": steepest.map(|steepest| steepest.slope), "is_allowed": course.is_allowed,
        }))
    });
    json!({
        "name": measured.curve.name,
        "work": measured.curve.work,
        "points": points.collect::<Vec<_>>(),
        "courses": courses.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn the_table_tells_shape_factor_and_where_it_bends() {
        let results = results(&[(1, Ok(1000.0)), (100, Ok(1000.0)), (10_000, Ok(100_000.0)), (20_000, Err("lost"))]);
        let table = table(&results);
        assert!(
            table.contains("1,000      1,000    100,000  less than linear, × 100, most from 100 to 10k (slope 1.00)"),
            "{table}"
        );
        assert!(table.contains("NOT AS IT MAY") && table.contains("20k does not count: lost"), "{table}");
    }

    #[test]
    fn every_point_is_in_the_json() {
        let json = json(&results(&[(1, Ok(2.0)), (10, Ok(2.5)), (100, Err("lost"))]));
        let curve = &json["curves"][0];
        assert_eq!(curve["points"][1]["figures"]["cpu_ns_for_each_delivery"], 2.5);
        assert_eq!(curve["points"][2]["does_not_count"], "lost");
        assert_eq!(curve["courses"][0]["shape"], "flat");
    }
}
