//! What can be wrong with a policy, with an identity under it, and with what it asks for.

use carillon_wire::topic::NameError;

use super::{
    operation::Operation,
    policy::{MAX_OWN_PATTERNS, MAX_PATTERNS},
    verdict::Effect,
};

/// Why a policy cannot be compiled; for the operator who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A role without a name.
    #[error("a role has an empty name; identities name their roles, so each needs one")]
    UnnamedRole,
    /// Two roles of one name.
    #[error("role `{0}` is defined twice; join the two, or rename one")]
    DuplicateRole(String),
    /// A role that would make each check slow.
    #[error(
        "role `{role}` has {patterns} patterns; the most is {MAX_PATTERNS} for all roles of an identity together. \
         Wildcards or a claim in braces may say the same in fewer"
    )]
    TooManyPatterns {
        /// Its name.
        role: String,
        /// How many patterns it has.
        patterns: usize,
    },
    /// A text that is no pattern.
    #[error("role `{role}`: `{operation}.{effect}` has `{rule}`: {fault}")]
    Rule {
        /// The role's name.
        role: String,
        /// What the rule is about.
        operation: Operation,
        /// Which list it stands in.
        effect: Effect,
        /// The text.
        rule: String,
        /// What is wrong with it.
        fault: RuleFault,
    },
}

/// What is wrong with the text of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFault {
    /// It is no pattern, or would be none with its claims filled in.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `{` without `}`, the reverse, or one inside the other.
    #[error("it has a brace without its counterpart; braces stand around the name of a claim, as in `user.{{sub}}.>`")]
    UnbalancedBrace,
    /// `{}`.
    #[error("it has braces with nothing between; write the name of a claim, as in `user.{{sub}}.>`")]
    UnnamedClaim,
}

/// Why an identity cannot get permissions. Whoever connects may be told: it names what came with the identity, never a
/// rule, and never a claim's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermissionsError {
    /// A role that the configuration does not have. It is no empty role: it may have been one that denied.
    #[error("role {0:?} does not exist here; ask for credentials without it, or for the role to be configured")]
    UnknownRole(String),
    /// A claim that a role's pattern needs cannot stand in a topic.
    #[error("claim `{claim}` cannot be used in topics: {fault}")]
    UnusableClaim {
        /// Its name.
        claim: String,
        /// What is wrong with the value.
        fault: ClaimFault,
    },
    /// More patterns of its own than a token may carry.
    #[error("the token carries {patterns} patterns for {operation}; the most is {MAX_OWN_PATTERNS}")]
    TooManyOwnPatterns {
        /// For which operation.
        operation: Operation,
        /// How many there are.
        patterns: usize,
    },
    /// Roles that are small enough one by one, and too large together.
    #[error("the identity's roles have {0} patterns together; the most is {MAX_PATTERNS}")]
    TooManyPatterns(usize),
}

/// Why a claim's value cannot stand in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimFault {
    /// Not there, or not a string.
    #[error("it is missing or not a string")]
    Missing,
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// It would be more than one token, match more than itself, or reach the broker's own topics.
    #[error("it has a dot, `*`, `>`, white space or a control character, or starts with `$`")]
    NotOneToken,
    /// The topic would be too long with it.
    #[error("it is too long")]
    TooLong,
}

/// What a client asked for and may not do. It says what the client said, and nothing of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not allowed to {} `{name}`{}", verb(*operation), hint(name))]
pub struct Forbidden<'a> {
    /// What it asked to do.
    pub operation: Operation,
    /// The topic or pattern.
    pub name: &'a str,
}

const fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Publish => "publish to",
        Operation::Subscribe => "subscribe to",
        Operation::History => "read the history of",
        Operation::Presence => "see the presence of",
    }
}

fn hint(name: &str) -> &'static str {
    if name.contains(['*', '>']) {
        "; each topic that a pattern can match must be allowed, so a narrower one may be"
    } else {
        ""
    }
}
