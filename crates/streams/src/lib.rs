//! What is kept: the messages of streams, in the order of their sequence numbers, until retention takes them.
//!
//! [`store`] is the log on disk: it appends, commits, reads, recovers after a crash, and names what is damaged. It is
//! plain code without threads of its own, and the only part that touches files.
//!
//! [`stream`] is the logic, without any I/O: which stream keeps a topic, what becomes of a publication, what retention
//! takes, and how a subscription goes from history to what is live without a hole.
//!
//! It knows no sockets, no sessions and no subscriptions, and reads no clock: times are handed in.
//!
//! # Where to start
//! [`store::Log`], and there [`store::Log::commit`]; then [`store::Reader`]. For the logic:
//! [`stream::Stream`] and [`stream::Cursor`].

pub mod store;
pub mod stream;
