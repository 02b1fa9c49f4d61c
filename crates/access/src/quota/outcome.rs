//! What a limit says.

use std::time::Duration;

/// What happens at a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Mode {
    /// What goes over it is refused.
    #[default]
    Enforce,
    /// What goes over it is let through, and reported.
    ReportOnly,
}

impl Mode {
    /// Whether anything is refused.
    pub const fn is_enforced(self) -> bool {
        matches!(self, Self::Enforce)
    }
}

/// What a limit says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a limit that is not asked limits nothing"]
pub enum Outcome {
    /// It is within the limit.
    Within,
    /// It goes over a limit that is only reported: count it, and let it through.
    Reported(Excess),
    /// It goes over the limit.
    Refused(Excess),
}

/// How a request goes over its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Too much in too little time.
    Rate {
        /// When the same request would be within the limit, if nothing else is taken until then.
        retry_after: Duration,
    },
    /// More at once than the limit ever lets through. Coming back does not help.
    TooLarge,
    /// Too many at the same time. It may come back when one of them is gone; nobody knows when.
    Count,
}

impl Outcome {
    pub(super) const fn over(mode: Mode, excess: Excess) -> Self {
        match mode {
            Mode::Enforce => Self::Refused(excess),
            Mode::ReportOnly => Self::Reported(excess),
        }
    }

    /// Whether the request goes on.
    pub const fn is_let_through(self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// How it went over its limit, refused or only reported.
    pub const fn excess(self) -> Option<Excess> {
        match self {
            Self::Within => None,
            Self::Reported(excess) | Self::Refused(excess) => Some(excess),
        }
    }
}
