//! Patterns with places that each identity fills with values of its own.

use std::sync::Arc;

use carillon_wire::{Pattern, PatternBuf, Topic};

use super::{
    error::{ClaimFault, PermissionsError, RuleFault},
    matcher::Matcher,
};
use crate::Identity;

/// A rule as the configuration writes it: a pattern in which `{sub}` stands for the subject and any other `{name}` for
/// the string claim of that name. Such a place may be a token or a part of one.
///
/// Filling never changes how many tokens a pattern has or where its wildcards are, whatever the values say: a value is
/// a part of one token, or it is refused.
#[derive(Debug)]
pub(super) struct Template {
    written: Arc<str>,
    parts: Box<[Part]>,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Claim(Box<str>),
}

/// A rule, read: ready as it is, or to be filled.
pub(super) enum Parsed {
    Fixed(PatternBuf),
    Template(Template),
}

impl Template {
    /// Reads a rule.
    pub(super) fn parse(rule: &str) -> Result<Parsed, RuleFault> {
        let parts = split(rule)?;
        if !parts.iter().any(|part| matches!(part, Part::Claim(_))) {
            return Ok(Parsed::Fixed(PatternBuf::new(rule)?));
        }
        // With a harmless value in each place it must be a pattern, so that no place touches a wildcard.
        Pattern::new(&join(&parts, |_| "x"))?;
        Ok(Parsed::Template(Self { written: rule.into(), parts: parts.into() }))
    }

    /// Puts an identity's values in.
    pub(super) fn fill(&self, identity: &Identity) -> Result<Matcher, PermissionsError> {
        for claim in self.claims() {
            check_value(value(identity, claim)).map_err(|fault| unusable(claim, fault))?;
        }
        let filled = join(&self.parts, |claim| value(identity, claim).unwrap_or_default());
        let claim = self.claims().next().unwrap_or_default();
        let pattern = PatternBuf::new(&filled).map_err(|_| unusable(claim, ClaimFault::TooLong))?;
        Ok(Matcher::from_template(pattern, self.written.clone()))
    }

    fn claims(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Claim(claim) => Some(&**claim),
            Part::Text(_) => None,
        })
    }
}

fn unusable(claim: &str, fault: ClaimFault) -> PermissionsError {
    PermissionsError::UnusableClaim { claim: claim.to_owned(), fault }
}

/// `sub` is the subject itself, so that no other claim can pass for it.
fn value<'i>(identity: &'i Identity, claim: &str) -> Option<&'i str> {
    if claim == "sub" { Some(&identity.subject) } else { identity.claims.get(claim).map(String::as_str) }
}

/// A value that may stand in a token is a token itself, and not one of the broker's own.
fn check_value(value: Option<&str>) -> Result<(), ClaimFault> {
    let value = value.ok_or(ClaimFault::Missing)?;
    match Topic::new(value) {
        _ if value.is_empty() => Err(ClaimFault::Empty),
        Ok(topic) if topic.tokens().count() == 1 && !topic.is_reserved() => Ok(()),
        _ if value.len() > carillon_wire::topic::MAX_BYTES => Err(ClaimFault::TooLong),
        _ => Err(ClaimFault::NotOneToken),
    }
}

fn split(rule: &str) -> Result<Vec<Part>, RuleFault> {
    let mut parts = Vec::new();
    let mut left = rule;
    while let Some((text, after)) = left.split_once('{') {
        let (claim, after) = after.split_once('}').ok_or(RuleFault::UnbalancedBrace)?;
        if text.contains('}') || claim.contains('{') {
            return Err(RuleFault::UnbalancedBrace);
        }
        if claim.is_empty() {
            return Err(RuleFault::UnnamedClaim);
        }
        parts.push(Part::Text(text.into()));
        parts.push(Part::Claim(claim.into()));
        left = after;
    }
    if left.contains('}') {
        return Err(RuleFault::UnbalancedBrace);
    }
    parts.push(Part::Text(left.into()));
    Ok(parts)
}

fn join<'a>(parts: &'a [Part], fill: impl Fn(&'a str) -> &'a str) -> String {
    parts.iter().map(|part| if let Part::Claim(claim) = part { fill(claim) } else { part.text() }).collect()
}

impl Part {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Claim(text) => text,
        }
    }
}
