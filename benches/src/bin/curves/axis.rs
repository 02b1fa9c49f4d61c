//! Axes of a picture: where on them a value is, and which values are written at them.

/// From one end to the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Axis {
    /// Each doubling takes as much room. From above 0.
    Logarithmic { from: f64, to: f64 },
    /// From 0.
    Linear { to: f64 },
}

/// Of each power of ten, what is written at an axis.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];
/// A logarithmic axis has at least so much between its ends, so that noise is not drawn as a mountain.
const LEAST_RANGE: f64 = 10.0;
/// Values that are written at a linear axis, about.
const LINES: f64 = 5.0;
/// Decades, from which on only whole ones are written.
const MANY_DECADES: f64 = 2.5;

impl Axis {
    /// One on which all values have their place, with round numbers at its ends.
    pub(crate) fn around(values: impl Iterator<Item = f64> + Clone, is_logarithmic: bool) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        if !is_logarithmic {
            let step = step(most);
            return Self::Linear { to: (most / step).ceil().max(1.0) * step };
        }
        let least = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if !least.is_finite() {
            return Self::Logarithmic { from: 1.0, to: LEAST_RANGE };
        }
        let (mut from, mut to) = (round_below(least), round_above(most));
        while to / from < LEAST_RANGE {
            // Downwards first, in turn: the line is near the middle then.
            from = round_below(from * 0.99);
            if to / from < LEAST_RANGE {
                to = round_above(to * 1.01);
            }
        }
        Self::Logarithmic { from, to }
    }

    /// One for places that are the measured ones.
    pub(crate) fn between(places: &[f64], is_logarithmic: bool) -> Self {
        let (first, last) = (places.first().copied().unwrap_or(1.0), places.last().copied().unwrap_or(1.0));
        if is_logarithmic { Self::Logarithmic { from: first, to: last } } else { Self::Linear { to: last } }
    }

    /// Where a value is: 0 is the beginning, 1 the end. What is beyond is at the end that it is beyond.
    pub(crate) fn position(self, value: f64) -> f64 {
        let share = match self {
            Self::Logarithmic { from, to } if value > 0.0 => (value / from).ln() / (to / from).ln(),
            Self::Logarithmic { .. } => 0.0,
            Self::Linear { to } => value / to,
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Values that are written at it.
    pub(crate) fn marks(self) -> Vec<f64> {
        let mut marks = Vec::new();
        match self {
            Self::Linear { to } => {
                let step = step(to);
                let mut mark = 0.0;
                while mark <= to * 1.001 {
                    marks.push(mark);
                    mark += step;
                }
            }
            Self::Logarithmic { from, to } => {
                let is_long = (to / from).log10() > MANY_DECADES;
                let mut mark = round_below(from);
                while mark <= to * 1.001 {
                    if mark >= from * 0.999 && (!is_long || is_power(mark)) {
                        marks.push(mark);
                    }
                    mark = round_above(mark * 1.01);
                }
            }
        }
        marks
    }
}

/// A round number so that a few of them make this one.
fn step(most: f64) -> f64 {
    if most > 0.0 { round_above(most / LINES * 0.99) } else { 1.0 }
}

/// The least round number that is not less.
fn round_above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let candidates = STEPS.map(|step| step * power);
    candidates.into_iter().find(|candidate| *candidate >= value * 0.999_999).unwrap_or(power * 10.0)
}

/// The largest round number that is not more.
fn round_below(value: f64) -> f64 {
    let power = 10_f64.powf((value * 1.000_001).log10().floor());
    let candidates = STEPS.map(|step| step * power);
    candidates.into_iter().rfind(|candidate| *candidate <= value * 1.000_001).unwrap_or(power)
}

fn is_power(mark: f64) -> bool {
    let decades = mark.log10();
    (decades - decades.round()).abs() < 1e-3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn are(found: &[f64], expected: &[f64]) -> bool {
        found.len() == expected.len()
            && found.iter().zip(expected).all(|(one, other)| (one - other).abs() <= other.abs() * 1e-6)
    }

    proptest! {
        #[test]
        fn every_value_is_within(values in prop::collection::vec(1e-3..1e9_f64, 1..10), is_logarithmic: bool) {
            let axis = Axis::around(values.iter().copied(), is_logarithmic);
            let (from, to) = match axis {
                Axis::Logarithmic { from, to } => (from, to),
                Axis::Linear { to } => (0.0, to),
            };
            for value in values {
                prop_assert!(from <= value * 1.001 && value <= to * 1.001, "{value} in {axis:?}");
            }
            let marks = axis.marks();
            prop_assert!((2..=14).contains(&marks.len()), "{axis:?}: {marks:?}");
            prop_assert!(marks.is_sorted());
        }

        #[test]
        fn larger_is_further(one in 1.0..1e6_f64, other in 1.0..1e6_f64, is_logarithmic: bool) {
            let axis = Axis::between(&[1.0, 1e6], is_logarithmic);
            prop_assert!((one <= other) == (axis.position(one) <= axis.position(other)));
        }
    }

    #[test]
    fn marks_are_round() {
        assert!(are(&Axis::around([3.0, 47.0].into_iter(), false).marks(), &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]));
        assert!(are(&Axis::around([300.0, 310.0].into_iter(), true).marks(), &[100.0, 200.0, 500.0, 1000.0]));
        assert!(are(&Axis::around([0.5, 3e3].into_iter(), true).marks(), &[1.0, 10.0, 100.0, 1000.0]));
    }

    #[test]
    fn nothing_has_an_axis_too() {
        assert!(are(&Axis::around([].into_iter(), false).marks(), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]));
        assert!(are(&Axis::around([0.0].into_iter(), true).marks(), &[1.0, 2.0, 5.0, 10.0]));
        assert!(Axis::between(&[0.0], false).position(0.0).abs() < f64::EPSILON);
    }
}
