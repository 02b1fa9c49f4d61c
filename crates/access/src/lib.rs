//! Who may do what, and how much.
//!
//! Three questions, one module each:
//! - [`identity`]: who is connected? It proves tokens, API keys and client certificates, and knows what was revoked.
//!   The answer is an [`Identity`].
//! - [`permissions`]: what may it do? A [`Policy`], compiled from roles, makes [`Permissions`] for an identity; these
//!   decide on topics and patterns. All that publishes or delivers asks them.
//! - [`quota`]: how much of it? Token buckets and counts, alone or in a bounded table with one entry for each identity
//!   or network.
//!
//! It decides and does nothing: no I/O, no clock, no thread. Keys, lists and configured roles come in as values, the
//! time as an argument: for quotas nanoseconds of a clock that only measures, for credentials seconds since 1970. Who
//! reads files and fetches keys, who closes a connection, and who counts what was refused, is elsewhere.
//!
//! Where it cannot decide it refuses. What a peer is told names what the peer sent, never a rule, a secret or the
//! value of a claim.
//!
//! # Where to start
//! [`Identity`] is what the parts share. From there [`Policy::permissions_of`] and [`Permissions::check`]; their page
//! says what is allowed and why that can be decided exactly. [`quota::Table`] is where the limits come together.

pub mod identity;
pub mod permissions;
pub mod quota;
pub mod subject;

pub use permissions::{Operation, Permissions, Policy};
pub use subject::{Identity, IdentityKey, OwnPatterns, Source};
