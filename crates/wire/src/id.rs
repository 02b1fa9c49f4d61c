//! Request and subscription ids.

use std::fmt;

/// A number that names a request, or the subscription that a request made: an integer from 0 to 2^53 - 1, so that it
/// is exact in every client language, JavaScript's numbers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

impl Id {
    /// The largest id.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The id with this number, or `None` above [`Id::MAX`].
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u32> for Id {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
