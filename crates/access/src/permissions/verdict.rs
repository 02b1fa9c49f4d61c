//! What was decided, and by which rules: for the operator, never for the client.

use std::fmt;

use carillon_wire::{Pattern, TopicBuf};

use super::operation::Operation;

/// What [`Permissions::explain`](super::Permissions::explain) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'p> {
    /// It is allowed.
    Allowed {
        /// The rules that cover it together, those of roles first, then the token's own.
        rules: Vec<Rule<'p>>,
    },
    /// A topic that it can match is denied.
    Denied {
        /// The first rule that does so.
        rule: Rule<'p>,
    },
    /// A topic that it can match is allowed by nothing.
    Uncovered {
        /// Where an allow is missing.
        layer: Layer,
        /// What was asked for.
        operation: Operation,
        /// Such a topic; `None` if the one found is longer than a topic may be.
        example: Option<TopicBuf>,
    },
}

impl Verdict<'_> {
    /// Whether it is allowed.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// A rule that took part in a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule<'p> {
    /// The role that it stands in; `None` if the token carries it.
    pub role: Option<&'p str>,
    /// What it is about.
    pub operation: Operation,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The pattern, with the identity's claims in it.
    pub pattern: Pattern<'p>,
    /// How the configuration writes it, if it names a claim.
    pub template: Option<&'p str>,
}

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It allows it, unless another rule denies it.
    Allow,
    /// It denies it, whatever allows it.
    Deny,
}

/// Whose allow is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The roles of the identity.
    Roles,
    /// The token's own patterns, which narrow its roles.
    Token,
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { rules } => {
                f.write_str("allowed: ")?;
                for (index, rule) in rules.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", and " })?;
                    rule.fmt(f)?;
                }
                Ok(())
            }
            Self::Denied { rule } => write!(f, "denied: {rule}"),
            Self::Uncovered { layer, operation, example } => {
                let whose = match layer {
                    Layer::Roles => "no role allows",
                    Layer::Token => "the token's own patterns do not have",
                };
                write!(f, "not allowed: {whose} {operation} ")?;
                match example {
                    Some(topic) => write!(f, "`{topic}`, for example"),
                    None => f.write_str("all that the pattern can match"),
                }
            }
        }
    }
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.effect {
            Effect::Allow => "allows",
            Effect::Deny => "denies",
        };
        match self.role {
            Some(role) => write!(f, "role `{role}` {verb} ")?,
            None => write!(f, "the token itself {verb} ")?,
        }
        match self.template {
            Some(template) => write!(f, "{} `{template}`, here `{}`", self.operation, self.pattern),
            None => write!(f, "{} `{}`", self.operation, self.pattern),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}
