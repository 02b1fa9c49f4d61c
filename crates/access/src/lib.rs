//! Who may do what, and how much: identities, permissions, quotas.

pub mod identity;
pub mod subject;

pub use subject::{Identity, OwnPatterns, Source};
