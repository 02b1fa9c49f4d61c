//! What shape a curve has: flat, falling, linear, less than linear, or bent.

use std::fmt;

/// A figure is flat where none of its values is more times as large as one before it than this. Noise is below that, and the
/// step where a table no longer fits into the processor's caches; what grows with each step of a curve is far above.
const FLAT_RISE: f64 = 2.0;
/// It falls where its last value is less than this share of its first.
const FALLEN: f64 = 0.5;
/// A straight line passes each value of a linear figure within this share of the value.
const LINE_TOLERANCE: f64 = 0.25;
/// Between two neighbours, nothing that is linear is steeper on a logarithmic scale, but for noise.
const LINE_SLOPE: f64 = 1.3;

/// A curve's shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// The same everywhere, as far as can be told.
    Flat,
    /// Less and less, as where a fixed cost is shared by more.
    Falls,
    /// A fixed part and one in proportion.
    Linear,
    /// It grows, by no straight line, and nowhere faster than in proportion.
    Slower(Steepest),
    /// It grows faster than in proportion.
    Bends(Steepest),
}

/// Where a curve is steepest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Steepest {
    /// The neighbours.
    pub(crate) between: (f64, f64),
    /// How steep, on a logarithmic scale: 1 is in proportion, 2 is by the square.
    pub(crate) slope: f64,
}

impl Shape {
    /// Where it is steepest, where that is worth telling.
    pub(crate) fn steepest(self) -> Option<Steepest> {
        match self {
            Self::Flat | Self::Falls | Self::Linear => None,
            Self::Slower(steepest) | Self::Bends(steepest) => Some(steepest),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::Falls => "falls",
            Self::Linear => "linear",
            Self::Slower(_) => "less than linear",
            Self::Bends(_) => "bends",
        })
    }
}

/// The shape of values at their places, which rise; none where fewer than two are above 0.
pub(crate) fn shape(points: &[(f64, f64)]) -> Option<Shape> {
    let points: Vec<_> = points.iter().copied().filter(|(_, value)| *value > 0.0).collect();
    let (&(_, first), &(_, last)) = (points.first()?, points.get(1..)?.last()?);
    if rise(&points) <= FLAT_RISE {
        return Some(if last < first * FALLEN { Shape::Falls } else { Shape::Flat });
    }
    let steepest = steepest(&points)?;
    Some(match steepest.slope {
        slope if slope > LINE_SLOPE => Shape::Bends(steepest),
        _ if line_passes(&points) => Shape::Linear,
        _ => Shape::Slower(steepest),
    })
}

/// How many times as large a value is as one before it, at most.
fn rise(points: &[(f64, f64)]) -> f64 {
    let (mut least, mut rise) = (f64::INFINITY, 1.0_f64);
    for &(_, value) in points {
        least = least.min(value);
        rise = rise.max(value / least);
    }
    rise
}

/// The largest slope between neighbours on a logarithmic scale, and where it is. Nothing is in proportion to 0, so what is
/// there takes no part, unless there is nothing else.
fn steepest(points: &[(f64, f64)]) -> Option<Steepest> {
    let neighbours = points.iter().zip(points.iter().skip(1));
    let slopes = neighbours.filter(|((from, _), _)| *from > 0.0).map(|(&(from, before), &(to, after))| {
        let slope = (after / before).ln() / (to / from).ln();
        Steepest { between: (from, to), slope }
    });
    let steepest = slopes.max_by(|one, other| one.slope.total_cmp(&other.slope));
    steepest.or_else(|| Some(Steepest { between: (points.first()?.0, points.last()?.0), slope: 1.0 }))
}

/// Whether a straight line that rises is close to all values, each by its own size: the line for which the squares of the
/// relative distances are least.
fn line_passes(points: &[(f64, f64)]) -> bool {
    let (mut weights, mut places, mut squares, mut values, mut products) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(place, value) in points {
        let weight = 1.0 / (value * value);
        weights += weight;
        places += weight * place;
        squares += weight * place * place;
        values += weight * value;
        products += weight * place * value;
    }
    let determinant = weights * squares - places * places;
    let incline = (weights * products - places * values) / determinant;
    let fixed = (values - incline * places) / weights;
    let is_close = |&(place, value): &(f64, f64)| (fixed + incline * place - value).abs() <= value * LINE_TOLERANCE;
    incline > 0.0 && points.iter().all(is_close)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_decades(value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..7).map(|decade| 10_f64.powi(decade)).map(|place| (place, value(place))).collect()
    }

    proptest! {
        #[test]
        fn shapes_survive_noise(noise in prop::collection::vec(0.9..1.1_f64, 7), fixed in 1.0..1e4_f64, each in 0.1..10.0_f64) {
            let noisy = |value: &dyn Fn(f64) -> f64| {
                let points = at_decades(value).into_iter().zip(&noise);
                points.map(|((place, value), noise)| (place, value * noise)).collect::<Vec<_>>()
            };
            prop_assert_eq!(shape(&noisy(&|_| fixed)), Some(Shape::Flat));
            prop_assert_eq!(shape(&noisy(&|place| each + fixed * 100.0 / place)), Some(Shape::Falls));
            prop_assert_eq!(shape(&noisy(&|place| fixed + each * place)), Some(Shape::Linear));
            let by_the_square = shape(&noisy(&|place| each * place * place));
            prop_assert!(matches!(by_the_square, Some(Shape::Bends(found)) if found.slope > 1.8), "{by_the_square:?}");
        }
    }

    #[test]
    fn what_grows_from_some_size_on_bends_there() {
        let points = at_decades(|place| if place < 5000.0 { 100.0 } else { 100.0 * (place / 5000.0).powi(2) });
        let Some(Shape::Bends(Steepest { between, slope })) = shape(&points) else { panic!("{:?}", shape(&points)) };
        assert!(between.0 >= 10_000.0 && (slope - 2.0).abs() < 0.01, "{between:?} {slope}");
    }

    #[test]
    fn what_grows_with_the_logarithm_is_less_than_linear() {
        let points = at_decades(|place| 100.0 * (1.0 + place.log10()));
        assert!(matches!(shape(&points), Some(Shape::Slower(found)) if found.between == (1.0, 10.0)));
    }

    #[test]
    fn a_place_of_0_has_a_value_and_no_slope() {
        assert_eq!(shape(&[(0.0, 1.0), (1000.0, 11.0), (2000.0, 21.0)]), Some(Shape::Linear));
        assert_eq!(shape(&[(0.0, 1.0), (1000.0, 3.0)]), Some(Shape::Linear));
    }

    #[test]
    fn values_that_are_not_there_have_no_shape() {
        assert_eq!(shape(&[]), None);
        assert_eq!(shape(&[(1.0, 2.0)]), None);
        assert_eq!(shape(&[(1.0, 0.0), (2.0, 3.0)]), None);
        assert_eq!(shape(&[(1.0, 2.0), (2.0, 2.1)]), Some(Shape::Flat));
        assert!(matches!(shape(&[(1.0, 2.0), (2.0, 8.0)]), Some(Shape::Bends(_))));
    }
}
