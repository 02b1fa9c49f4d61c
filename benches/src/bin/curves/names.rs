//! What topics and patterns are called.

/// What is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Topics,
    Patterns,
}

impl Kind {
    /// The pattern, or the topic, with this number.
    pub(crate) fn pattern(self, number: u64) -> String {
        match (self, number % 3) {
            (Self::Topics, _) => self.topic(number),
            (Self::Patterns, 0) => format!("bench.a{number}.*"),
            (Self::Patterns, 1) => format!("bench.w.*.b{number}.x"),
            (Self::Patterns, _) => format!("bench.c{number}.>"),
        }
    }

    /// One that the pattern with the same number matches, and no other does.
    pub(crate) fn topic(self, number: u64) -> String {
        match (self, number % 3) {
            (Self::Topics, _) => format!("bench.site{}.room{number}", number % 1000),
            (Self::Patterns, 0) => format!("bench.a{number}.x"),
            (Self::Patterns, 1) => format!("bench.w.z{}.b{number}.x", number % 100),
            (Self::Patterns, _) => format!("bench.c{number}.x.y"),
        }
    }
}

#[cfg(test)]
mod tests {
    use carillon_wire::{Pattern, Topic};

    use super::*;

    #[test]
    fn each_topic_is_matched_by_the_pattern_of_its_number_alone() {
        for kind in [Kind::Topics, Kind::Patterns] {
            let patterns: Vec<_> = (0..30).map(|number| kind.pattern(number)).collect();
            for number in 0..30 {
                let topic = kind.topic(number);
                let topic = Topic::new(&topic).unwrap();
                let matching =
                    (0..).zip(&patterns).filter(|(_, pattern)| Pattern::new(pattern).unwrap().matches(topic));
                assert_eq!(matching.map(|(place, _)| place).collect::<Vec<u64>>(), [number]);
            }
        }
    }
}
