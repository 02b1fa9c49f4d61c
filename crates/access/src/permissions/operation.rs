//! What one may ask to do.

use std::fmt;

/// What one may ask to do with a topic, or with every topic that a pattern matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Publish to it.
    Publish,
    /// Get what is published to it from now on.
    Subscribe,
    /// Read what a stream has kept of it.
    History,
    /// See who is subscribed to it.
    Presence,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Subscribe, Self::History, Self::Presence];

    /// The name, as the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::History => "history",
            Self::Presence => "presence",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value for each operation.
#[derive(Debug, Clone, Default)]
pub(super) struct PerOperation<T> {
    publish: T,
    subscribe: T,
    history: T,
    presence: T,
}

impl<T> PerOperation<T> {
    /// Makes the values, and stops at the first error.
    pub(super) fn try_from_fn<E>(mut make: impl FnMut(Operation) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            publish: make(Operation::Publish)?,
            subscribe: make(Operation::Subscribe)?,
            history: make(Operation::History)?,
            presence: make(Operation::Presence)?,
        })
    }

    pub(super) const fn get(&self, operation: Operation) -> &T {
        match operation {
            Operation::Publish => &self.publish,
            Operation::Subscribe => &self.subscribe,
            Operation::History => &self.history,
            Operation::Presence => &self.presence,
        }
    }

    pub(super) const fn get_mut(&mut self, operation: Operation) -> &mut T {
        match operation {
            Operation::Publish => &mut self.publish,
            Operation::Subscribe => &mut self.subscribe,
            Operation::History => &mut self.history,
            Operation::Presence => &mut self.presence,
        }
    }
}
