//! What all points say together.

use carillon_benches::machine::Description;

use crate::{
    curve::{Curve, Figure, May, Quantity},
    measure::Reading,
    shape::{Shape, shape},
};

/// One point.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) at: u64,
    /// What was measured, or why it does not count.
    pub(crate) read: Result<Reading, String>,
}

/// A curve with its points.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) curve: &'static Curve,
    pub(crate) points: Vec<Point>,
}

/// All curves, and where they were measured.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    pub(crate) machine: Description,
    pub(crate) date: String,
    pub(crate) version: String,
    pub(crate) seconds: f64,
    /// Broker and load had one processor together.
    pub(crate) shared: bool,
    pub(crate) curves: Vec<Measured>,
}

/// What a figure does along its curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Course {
    pub(crate) shape: Shape,
    /// The last value by the first.
    pub(crate) factor: f64,
    /// Whether it may do so.
    pub(crate) is_allowed: bool,
}

impl Measured {
    /// Those that count.
    pub(crate) fn readings(&self) -> impl Iterator<Item = (u64, &Reading)> {
        self.points.iter().filter_map(|point| Some((point.at, point.read.as_ref().ok()?)))
    }

    /// A figure where it was measured.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn values(&self, quantity: Quantity) -> Vec<(f64, f64)> {
        self.readings().filter_map(|(at, reading)| Some((at as f64, *reading.figures.get(&quantity)?))).collect()
    }

    /// What a figure does along the curve; none where there are fewer than two values.
    pub(crate) fn course(&self, figure: Figure) -> Option<Course> {
        let values = self.values(figure.quantity);
        let shape = shape(&values)?;
        let is_allowed = match shape {
            Shape::Flat | Shape::Falls => true,
            Shape::Linear | Shape::Slower(_) => figure.may != May::Flat,
            Shape::Bends(_) => figure.may == May::Anything,
        };
        Some(Course { shape, factor: values.last()?.1 / values.first()?.1, is_allowed })
    }

    /// Points that do not count, and why.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (u64, &str)> {
        self.points.iter().filter_map(|point| Some((point.at, point.read.as_ref().err()?.as_str())))
    }
}

impl Results {
    /// What others used of the machine beside points that count, in cores: the median, and the most.
    pub(crate) fn others(&self) -> (f64, f64) {
        let mut all: Vec<_> =
            self.curves.iter().flat_map(|curve| curve.readings().map(|(_, read)| read.others)).collect();
        all.sort_by(f64::total_cmp);
        (all.get(all.len() / 2).copied().unwrap_or_default(), all.last().copied().unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::curve::ALL;

    /// Subscribers, whose CPU for each delivery has these values.
    pub(crate) fn results(points: &[(u64, Result<f64, &str>)]) -> Results {
        let point = |&(at, value): &(u64, Result<f64, &str>)| {
            let read = value.map_err(str::to_owned).map(|value| Reading {
                figures: [(Quantity::CpuForDelivery, value), (Quantity::LatencyP99, 1.0)].into(),
                others: 0.1,
                warnings: vec!["late <&>".to_owned()],
            });
            Point { at, read }
        };
        let machine =
            Description { processor: "A".to_owned(), processors: 2, kernel: "6".to_owned(), memory_mib: 1024 };
        Results {
            machine,
            date: "2031-01-02".to_owned(),
            version: "carillon 1".to_owned(),
            seconds: 4.0,
            shared: false,
            curves: vec![Measured { curve: &ALL[0], points: points.iter().map(point).collect() }],
        }
    }

    fn course(points: &[(u64, Result<f64, &str>)]) -> Option<Course> {
        let results = results(points);
        results.curves[0].course(ALL[0].figures[0])
    }

    #[test]
    fn what_is_to_be_flat_may_fall_and_not_grow() {
        let flat = course(&[(1, Ok(4.0)), (10, Ok(4.0))]).unwrap();
        assert_eq!((flat.shape, flat.is_allowed), (Shape::Flat, true));
        let falls = course(&[(1, Ok(4.0)), (10, Ok(1.0))]).unwrap();
        assert_eq!((falls.shape, falls.factor, falls.is_allowed), (Shape::Falls, 0.25, true));
        let linear = course(&[(1, Ok(1.0)), (10, Ok(10.0))]).unwrap();
        assert_eq!((linear.shape, linear.is_allowed), (Shape::Linear, false));
    }

    #[test]
    fn points_with_loss_do_not_count() {
        let points = [(1, Ok(4.0)), (10, Err("lost")), (100, Ok(4.4))];
        assert_eq!(course(&points).map(|course| course.factor), Some(1.1));
        assert_eq!(course(&points[..2]), None);
        let results = results(&points);
        assert_eq!(results.curves[0].failures().collect::<Vec<_>>(), [(10, "lost")]);
        assert_eq!(results.others(), (0.1, 0.1));
    }
}
