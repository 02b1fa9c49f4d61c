//! Who may do what: roles, their patterns, and the one check that everything asks.
//!
//! A [`Policy`] is compiled once from the configured roles. For each connection it makes [`Permissions`], which answer
//! [`check_publish`](Permissions::check_publish) for a topic, on the hot path and without allocating, and
//! [`check`](Permissions::check) for a pattern. [`explain`](Permissions::explain) decides the same, and says why.
//!
//! # The rule
//! A topic is allowed when
//! 1. no deny pattern of any of the identity's roles matches it,
//! 2. an allow pattern of one of its roles matches it, and
//! 3. one of the token's own patterns matches it, if the token carries any for the operation.
//!
//! A pattern is allowed when every topic that it can match is. So `orders.>` is refused where `orders.secret` is
//! denied: a wildcard does not reach around a deny, it is refused as a whole. What is allowed need not come from one
//! rule: `>` is inside `*` and `*.>` together.
//!
//! As everywhere, a leading wildcard never matches a topic that starts with `$`. That holds for a deny too: `>` denies
//! nothing of the broker's own, which no leading wildcard allows either.
//!
//! # How a pattern is decided
//! Exactly, and in time linear in the tokens of the rules, though unions of patterns suggest worse. Tokens come from an
//! endless alphabet, so among the topics of one length that a pattern can match there is one whose free tokens no
//! rule names. A rule that matches this topic has a wildcard wherever the pattern has one, so it matches all others of
//! that length as well. A pattern is therefore inside a union exactly if for each length, 1 to 16 tokens, a single rule
//! contains its topics of that length; see `cover`.
//!
//! A topic's bytes are bounded as well (255), and that is left out here: a pattern so long that its wildcards have room
//! for a byte or two may be refused although nothing that really fits would be forbidden, never the other way.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use carillon_access::{Identity, Operation, Policy, Source, permissions::{Role, Rules}};
//! use carillon_wire::{Pattern, Topic};
//!
//! let rules = |allow: &[&str], deny: &[&str]| Rules {
//!     allow: allow.iter().map(ToString::to_string).collect(),
//!     deny: deny.iter().map(ToString::to_string).collect(),
//! };
//! let web = Role {
//!     publish: rules(&["user.{sub}.>"], &[]),
//!     subscribe: rules(&["user.{sub}.>", "news.>"], &["news.drafts.>"]),
//!     ..Role::default()
//! };
//! let policy = Policy::new([("web".to_owned(), web)])?;
//!
//! let alice = Identity {
//!     subject: "alice".to_owned(),
//!     source: Source::Token { issuer: "https://login.example.com".to_owned() },
//!     roles: vec!["web".to_owned()],
//!     claims: BTreeMap::new(),
//!     own: None,
//!     token_id: None,
//!     issued_at_s: None,
//!     expires_at_s: None,
//! };
//! let permissions = policy.permissions_of(&alice)?;
//!
//! assert!(permissions.check_publish(Topic::new("user.alice.mood")?).is_ok());
//! assert!(permissions.check_publish(Topic::new("user.bob.mood")?).is_err());
//! assert!(permissions.check(Operation::Subscribe, Pattern::new("news.*")?).is_ok());
//! let refused = permissions.explain(Operation::Subscribe, Pattern::new("news.>")?);
//! assert_eq!(refused.to_string(), "denied: role `web` denies subscribe `news.drafts.>`");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cover;
mod error;
mod granted;
mod matcher;
mod operation;
mod policy;
mod template;
mod verdict;

pub use error::{ClaimFault, Forbidden, PermissionsError, PolicyError, RuleFault};
pub use granted::Permissions;
pub use operation::Operation;
pub use policy::{MAX_OWN_PATTERNS, MAX_PATTERNS, Policy, Role, Rules};
pub use verdict::{Effect, Layer, Rule, Verdict};
