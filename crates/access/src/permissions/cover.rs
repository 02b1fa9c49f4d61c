//! How patterns relate as sets of topics: whether a union contains one, and whether two meet.
//!
//! Both questions are decided length by length. See [the module above](super) for why one rule must then contain all
//! topics of a length, which makes this exact without a search.

use std::iter;

use carillon_wire::{Pattern, topic::MAX_TOKENS};

/// A set of topic lengths, 1 to [`MAX_TOKENS`] tokens: bit `n` stands for `n` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths(u32);

impl Lengths {
    pub(super) const NONE: Self = Self(0);

    fn exactly(tokens: usize) -> Self {
        Self(1 << tokens)
    }

    fn at_least(tokens: usize) -> Self {
        let up_to_longest = (1_u32 << (MAX_TOKENS + 1)) - 1;
        Self(up_to_longest & (u32::MAX << tokens))
    }

    /// How many tokens the topics that a pattern matches can have.
    pub(super) fn of(pattern: Pattern<'_>) -> Self {
        let tokens = pattern.tokens().count();
        // `>` stands for one token or more, so it counts as one.
        if has_rest(pattern) { Self::at_least(tokens) } else { Self::exactly(tokens) }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The least of them.
    pub(super) const fn shortest(self) -> Option<usize> {
        if self.is_empty() { None } else { Some(self.0.trailing_zeros() as usize) }
    }
}

/// The lengths at which `rule` matches every topic that `asked` matches.
pub(super) fn contained_lengths(rule: Pattern<'_>, asked: Pattern<'_>) -> Lengths {
    if starts_with_wildcard(rule) && is_reserved(asked) {
        return Lengths::NONE;
    }
    let mut places = places(asked);
    let mut tokens = 0;
    for expected in rule.tokens() {
        tokens += 1;
        match (expected, places.next()) {
            (">", Some(_)) => return Lengths::at_least(tokens).and(Lengths::of(asked)),
            ("*", Some(_)) => {}
            (literal, Some(Place::Literal(token))) if literal == token => {}
            _ => return Lengths::NONE,
        }
    }
    Lengths::exactly(tokens).and(Lengths::of(asked))
}

/// Whether some topic is matched by both.
pub(super) fn intersect(one: Pattern<'_>, other: Pattern<'_>) -> bool {
    if starts_with_wildcard(one) && is_reserved(other) || starts_with_wildcard(other) && is_reserved(one) {
        return false;
    }
    // A longer topic has to satisfy all that a shorter one has, so the shortest length in common decides.
    let Some(tokens) = Lengths::of(one).and(Lengths::of(other)).shortest() else { return false };
    iter::zip(places(one), places(other)).take(tokens).all(|places| match places {
        (Place::Literal(one), Place::Literal(other)) => one == other,
        _ => true,
    })
}

/// A topic of that many tokens that the pattern matches, with `free` wherever the pattern leaves a token open.
pub(super) fn generic_topic(pattern: Pattern<'_>, tokens: usize, free: &str) -> String {
    let tokens: Vec<_> = places(pattern)
        .take(tokens)
        .map(|place| match place {
            Place::Literal(token) => token,
            Place::Any => free,
        })
        .collect();
    tokens.join(".")
}

/// What a pattern asks of one token of a topic.
enum Place<'a> {
    Literal(&'a str),
    Any,
}

/// What a pattern asks of each token, in order; without end if the pattern has a `>`.
fn places(pattern: Pattern<'_>) -> impl Iterator<Item = Place<'_>> {
    let rest = has_rest(pattern).then(|| iter::repeat_with(|| Place::Any));
    let places =
        pattern.tokens().map(|token| if matches!(token, "*" | ">") { Place::Any } else { Place::Literal(token) });
    places.chain(rest.into_iter().flatten())
}

/// A valid pattern has `>` only as its last token.
fn has_rest(pattern: Pattern<'_>) -> bool {
    pattern.as_str().ends_with('>')
}

fn starts_with_wildcard(pattern: Pattern<'_>) -> bool {
    pattern.as_str().starts_with(['*', '>'])
}

/// Whether all that the pattern matches is the broker's own.
fn is_reserved(pattern: Pattern<'_>) -> bool {
    pattern.as_str().starts_with('$')
}
