//! What an operator may ask for while the broker runs. The committers do it, between two groups.

use std::sync::{Arc, mpsc};

use carillon_wire::PatternBuf;

use super::open::Finding;
use super::shared::Shared;
use crate::stream::{Definition, DefinitionError, Durability, Epoch, StreamName};

/// How much of a stream an operator takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// All that is committed.
    All,
    /// All before this sequence.
    Before(u64),
}

/// What a purge came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// The stream's first sequence now.
    pub first: u64,
    /// Messages that went.
    pub messages: u64,
}

/// Why an operator's request was not done. The texts are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Nothing has this name.
    #[error("no stream has the name `{name}`; `carillon stream ls` lists those that are defined")]
    NoStream {
        /// The name.
        name: StreamName,
    },
    /// The store could not do it.
    #[error("{reason}; what was asked for may be done once the store is opened again")]
    Store {
        /// What failed.
        reason: String,
    },
    /// No stream is kept on disk.
    #[error("no stream is kept on disk, so there is no store to open")]
    NoStore,
    /// The broker stops.
    #[error("the broker is stopping; ask again once it runs")]
    Stopping,
}

/// Why streams cannot be defined so while the broker runs. The texts are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedefineError {
    /// A definition is wrong in itself.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// A stream more.
    #[error("stream `{name}` is new; streams are made when the broker starts, so restart it")]
    New {
        /// Which.
        name: StreamName,
    },
    /// A stream less.
    #[error("stream `{name}` is no longer defined; streams are taken away when the broker starts, so restart it")]
    Missing {
        /// Which.
        name: StreamName,
    },
    /// Other topics.
    #[error("stream `{name}` has other topics than before; that takes a restart of the broker")]
    Patterns {
        /// Which.
        name: StreamName,
    },
    /// Another durability.
    #[error("stream `{name}` is kept in {from} and would be in {to}; that takes a restart of the broker")]
    Durability {
        /// Which.
        name: StreamName,
        /// As it is.
        from: Durability,
        /// As it was asked for.
        to: Durability,
    },
}

/// A request to a committer. Where the answer is dropped unsent, the committer is gone.
pub(super) enum AdminRequest {
    Purge {
        stream: u32,
        purge: Purge,
        answer: mpsc::Sender<Result<Purged, AdminError>>,
    },
    Remove {
        stream: u32,
        answer: mpsc::Sender<Result<Epoch, AdminError>>,
    },
    RenewEpoch {
        stream: u32,
        answer: mpsc::Sender<Result<Epoch, AdminError>>,
    },
    /// Those of the committer's streams, with their indexes.
    Redefine(Vec<(u32, Arc<Definition>)>),
    Reopen {
        answer: mpsc::Sender<Result<Vec<Finding>, AdminError>>,
    },
}

pub(super) fn check_redefine(shared: &Shared, definitions: &[Definition]) -> Result<(), RedefineError> {
    for definition in definitions {
        definition.check()?;
        let name = &definition.name;
        let Some(known) = shared.streams.iter().find(|stream| stream.name == *name) else {
            return Err(RedefineError::New { name: name.clone() });
        };
        if known.durability != definition.durability {
            let (from, to) = (known.durability, definition.durability);
            return Err(RedefineError::Durability { name: name.clone(), from, to });
        }
        let mut patterns: Vec<_> = definition.patterns.iter().map(PatternBuf::as_str).collect();
        let was = Arc::clone(known.read().stream().definition());
        let mut were: Vec<_> = was.patterns.iter().map(PatternBuf::as_str).collect();
        patterns.sort_unstable();
        were.sort_unstable();
        if patterns != were {
            return Err(RedefineError::Patterns { name: name.clone() });
        }
    }
    let is_missing = |name: &StreamName| !definitions.iter().any(|definition| definition.name == *name);
    match shared.streams.iter().find(|stream| is_missing(&stream.name)) {
        Some(stream) => Err(RedefineError::Missing { name: stream.name.clone() }),
        None => Ok(()),
    }
}

/// The definitions with their streams' indexes.
pub(super) fn with_indexes(
    shared: &Shared,
    definitions: Vec<Definition>,
) -> impl Iterator<Item = (u32, Arc<Definition>)> {
    definitions.into_iter().filter_map(|definition| {
        let named = shared.streams.iter().find(|stream| stream.name == definition.name);
        Some((named?.index, Arc::new(definition)))
    })
}
