//! What is kept: the messages of streams, in the order of their sequence numbers, until retention takes them.
//!
//! [`store`] is the log on disk: it appends, commits, reads, recovers after a crash, and names what is damaged. It is
//! plain code, but for a short-lived thread that writes the index of a segment that was full, and the only part that
//! touches files.
//!
//! [`stream`] is the logic, without any I/O: which stream keeps a topic, what becomes of a publication, what retention
//! takes, and how a subscription goes from history to what is live without a hole.
//!
//! [`keeper`] is the threads that put both together: committers, which answer publications once they are kept, and
//! readers of history. A broker uses it and, of the others, what its types show.
//!
//! It knows no sockets, no sessions and no subscriptions. Only the keeper's threads read a clock, once for each group;
//! everywhere else times are handed in.
//!
//! # Where to start
//! [`keeper::Keeper`]. For what is promised of the disk: [`store::Log`], and there [`store::Log::commit`]; then
//! [`store::Reader`]. For the logic: [`stream::Stream`] and [`stream::Cursor`].

pub mod keeper;
#[cfg(test)]
mod long_runs;
pub mod store;
pub mod stream;
