//! A picture for each curve: a panel for each kind of figure, with a line for each figure.

use std::{io, path::Path};

use carillon_benches::{
    drawing::{self, Area, BLUE, Drawn, HPos, INK, LINES, ORANGE, PALE, write, write_beside},
    numbers::{round, short},
};
use plotters::{
    element::{Circle, PathElement},
    style::{Color, RGBColor},
};

use crate::{
    axis::Axis,
    curve::{Curve, Figure, Quantity},
    results::{Measured, Results},
};

const COLUMNS: i32 = 2;
const PANEL: (i32, i32) = (480, 280);
const TOP: i32 = 70;
/// Around the lines of a panel.
const LEFT: i32 = 76;
const RIGHT: i32 = 28;
const ABOVE: i32 = 46;
const BELOW: i32 = 56;
const COLOURS: [RGBColor; 2] = [BLUE, ORANGE];

/// What is drawn together.
fn panel(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::CpuForDelivery | Quantity::CpuForDeliverySaturated => "CPU for each delivery",
        Quantity::LatencyP50 | Quantity::LatencyP99 => "latency",
        Quantity::DeliveriesPerSecond | Quantity::DeliveriesPossible => "deliveries, saturated",
        other => other.name(),
    }
}

/// The figures of a curve that were measured, by panels.
fn panels(measured: &Measured) -> Vec<Vec<Figure>> {
    let mut panels: Vec<Vec<Figure>> = Vec::new();
    for &figure in measured.curve.figures {
        if measured.values(figure.quantity).is_empty() {
            continue;
        }
        let is_same = |other: &Figure| panel(other.quantity) == panel(figure.quantity);
        match panels.iter_mut().find(|figures| figures.iter().any(is_same)) {
            Some(figures) => figures.push(figure),
            None => panels.push(vec![figure]),
        }
    }
    panels
}

/// What its picture is called.
pub(crate) fn file(curve: &Curve) -> String {
    format!("{}.svg", curve.name)
}

/// Draws a curve into a directory. False: there is nothing to draw.
pub(crate) fn draw(results: &Results, measured: &Measured, directory: &Path) -> io::Result<bool> {
    let panels = panels(measured);
    if panels.is_empty() {
        return Ok(false);
    }
    let rows = i32::try_from(panels.len()).map_err(io::Error::other)?.div_euclid(COLUMNS)
        + i32::from(!panels.len().is_multiple_of(2));
    let size = (COLUMNS * PANEL.0, TOP + rows * PANEL.1);
    drawing::draw(&directory.join(file(measured.curve)), size, |area| {
        let machine = &results.machine;
        write(area, measured.curve.title, (24, 16), 20, INK)?;
        let place = format!(
            "{}, {} cores, Linux {}, {}, {}",
            machine.processor, machine.processors, machine.kernel, results.version, results.date
        );
        write(area, &place, (24, 44), 13, PALE)?;
        for (place, figures) in (0..).zip(&panels) {
            let corner = (place % COLUMNS * PANEL.0, TOP + place / COLUMNS * PANEL.1);
            Panel::new(measured, figures, corner).draw(area)?;
        }
        Ok(())
    })?;
    Ok(true)
}

/// Some lines and their axes.
struct Panel<'a> {
    measured: &'a Measured,
    figures: &'a [Figure],
    corner: (i32, i32),
    across: Axis,
    up: Axis,
}

impl<'a> Panel<'a> {
    fn new(measured: &'a Measured, figures: &'a [Figure], corner: (i32, i32)) -> Self {
        let is_logarithmic = measured.curve.growing.is_logarithmic();
        let places = figures.iter().flat_map(|figure| measured.values(figure.quantity)).map(|(at, _)| at);
        let mut places: Vec<_> = places.collect();
        places.sort_by(f64::total_cmp);
        let values: Vec<_> = figures.iter().flat_map(|figure| measured.values(figure.quantity)).collect();
        Self {
            measured,
            figures,
            corner,
            across: Axis::between(&places, is_logarithmic),
            up: Axis::around(values.iter().map(|(_, value)| *value), is_logarithmic),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
    fn x(&self, at: f64) -> i32 {
        let room = f64::from(PANEL.0 - LEFT - RIGHT);
        self.corner.0 + LEFT + (room * self.across.position(at)).round() as i32
    }

    #[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
    fn y(&self, value: f64) -> i32 {
        let room = f64::from(PANEL.1 - ABOVE - BELOW);
        self.corner.1 + PANEL.1 - BELOW - (room * self.up.position(value)).round() as i32
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        self.heading(area)?;
        let (left, right) = (self.corner.0 + LEFT, self.corner.0 + PANEL.0 - RIGHT);
        for mark in self.up.marks() {
            let y = self.y(mark);
            area.draw(&PathElement::new(vec![(left, y), (right, y)], LINES))?;
            write_beside(area, &round(mark), (left - 8, y - 7), 12, PALE, HPos::Right)?;
        }
        let bottom = self.corner.1 + PANEL.1 - BELOW;
        let mut free_until = i32::MAX;
        let places: Vec<_> = self.measured.readings().map(|(at, _)| at).collect();
        // The last one first: it says how far the curve goes.
        for at in places.into_iter().rev() {
            let label = short(at, self.measured.curve.growing.is_bytes());
            let x = self.x(float(at));
            // Where they are close, one is left out.
            let half = i32::try_from(label.len()).unwrap_or(0) * 4;
            if x + half <= free_until {
                write_beside(area, &label, (x, bottom + 8), 12, PALE, HPos::Center)?;
                free_until = x - half - 2;
            }
            area.draw(&PathElement::new(vec![(x, bottom), (x, bottom + 4)], PALE))?;
        }
        let middle = i32::midpoint(left, right);
        write_beside(area, self.measured.curve.axis(), (middle, bottom + 26), 12, PALE, HPos::Center)?;
        for (figure, colour) in self.figures.iter().zip(COLOURS) {
            let values = self.measured.values(figure.quantity);
            let line: Vec<_> = values.iter().map(|&(at, value)| (self.x(at), self.y(value))).collect();
            for &point in &line {
                area.draw(&Circle::new(point, 3, colour.filled()))?;
            }
            area.draw(&PathElement::new(line, colour.stroke_width(2)))?;
        }
        Ok(())
    }

    /// What it shows: which line is which, and what each of them does.
    fn heading(&self, area: &Area<'_>) -> Drawn {
        let (x, y) = (self.corner.0 + 24, self.corner.1 + 2);
        let unit = self.figures.first().map_or("", |figure| figure.quantity.unit());
        let name = self.figures.first().map_or("", |figure| panel(figure.quantity));
        write(area, &format!("{name}, {unit}"), (x, y), 14, INK)?;
        let mut legend = x;
        for (figure, colour) in self.figures.iter().zip(COLOURS) {
            let course = self.measured.course(*figure).map_or_else(String::new, |course| course.shape.to_string());
            let name = if self.figures.len() > 1 { figure.quantity.line() } else { "" };
            let told = [name, &course].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
            write(area, &told, (legend, y + 19), 12, colour)?;
            legend += i32::try_from(told.len()).unwrap_or(0) * 7 + 20;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn a_picture_has_its_panels_with_points_and_shapes() {
        let directory = tempfile::tempdir().unwrap();
        let measured = results(&[(1, Ok(400.0)), (100, Ok(410.0)), (10_000, Err("lost"))]);
        assert!(draw(&measured, &measured.curves[0], directory.path()).unwrap());
        let svg = std::fs::read_to_string(directory.path().join("subscribers.svg")).unwrap();
        for text in ["Subscribers of one topic", "CPU for each delivery, ns", "latency, ms", "flat", "<circle"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("10k"), "what does not count is not drawn");
    }

    #[test]
    fn nothing_measured_is_nothing_drawn() {
        let directory = tempfile::tempdir().unwrap();
        let measured = results(&[(1, Err("lost"))]);
        assert!(!draw(&measured, &measured.curves[0], directory.path()).unwrap());
    }
}
