//! What the router says about streams, and takes from those who read them.

use bytes::Bytes;
use carillon_wire::Id;

use crate::{connections::ConnectionKey, memory::CountedAside};

/// A message's place: which stream, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamSequence {
    /// The stream's index. It means nothing to the router but that others are other streams.
    pub stream: u32,
    /// In the stream; the first is 1. Those that are given to one router grow.
    pub sequence: u64,
}

/// A subscription that gets nothing of a stream any more until [`Router::release`](crate::Router::release): what waited
/// for it took room that was needed, or the stream was held for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fallen {
    /// Whose subscription.
    pub connection: ConnectionKey,
    /// Which one.
    pub subscription: Id,
    /// Of which stream.
    pub stream: u32,
    /// What matches was handed on, or waits as an [`Aside`], up to and with this sequence, and nothing behind it.
    pub position: u64,
}

/// Something for one subscription alone, which nobody else of the connection is to take for its own: a page of a
/// stream's history with what introduces it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aside {
    /// What is sent first, made for this connection.
    pub head: Box<[u8]>,
    /// What is sent behind it, shared with others who read the same; may be empty.
    pub body: Bytes,
    /// Deliveries in the body.
    pub messages: u32,
}

impl Aside {
    /// Bytes on the wire.
    pub fn size_bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// An aside that leaves. Its memory counts as long as this is held.
#[derive(Debug)]
pub struct TakenAside {
    /// It.
    pub aside: Aside,
    pub(crate) _counted: CountedAside,
}
