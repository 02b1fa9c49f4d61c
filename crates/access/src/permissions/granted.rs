//! What one connection may do.

use std::{iter, sync::Arc};

use carillon_wire::{Pattern, Topic, TopicBuf};

use super::{
    cover::{self, Lengths},
    error::Forbidden,
    matcher::Matcher,
    operation::{Operation, PerOperation},
    verdict::{Effect, Layer, Rule, Verdict},
};

/// What one identity may do. Cheap to clone; equal roles share their rules.
///
/// By [`Default`] it allows nothing.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    grants: Arc<[Arc<Grant>]>,
    own: Option<Arc<OwnRules>>,
}

/// The token's own patterns. `None` narrows nothing, an empty list leaves nothing.
pub(super) type OwnRules = PerOperation<Option<Box<[Matcher]>>>;

/// What a role gives, or that part of it that is the same for everybody.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) role: Arc<str>,
    pub(super) rules: PerOperation<RuleSet>,
}

/// Rules of one role and operation.
#[derive(Debug, Default)]
pub(super) struct RuleSet {
    pub(super) allow: Box<[Matcher]>,
    pub(super) deny: Box<[Matcher]>,
}

impl Permissions {
    pub(super) fn new(grants: Vec<Arc<Grant>>, own: Option<OwnRules>) -> Self {
        Self { grants: grants.into(), own: own.map(Arc::new) }
    }

    /// Whether one may publish to a topic. Allocates nothing; costs one comparison for most rules.
    pub fn check_publish<'a>(&self, topic: Topic<'a>) -> Result<(), Forbidden<'a>> {
        self.check_topic(Operation::Publish, topic)
    }

    /// The same answer as [`check`](Self::check), faster, for what is a topic.
    pub fn check_topic<'a>(&self, operation: Operation, topic: Topic<'a>) -> Result<(), Forbidden<'a>> {
        let is_denied = self.denies(operation).any(|(_, rule)| rule.matches(topic));
        let is_allowed = !is_denied
            && self.allows(operation).any(|(_, rule)| rule.matches(topic))
            && self.own(operation).is_none_or(|own| own.iter().any(|rule| rule.matches(topic)));
        if is_allowed { Ok(()) } else { Err(Forbidden { operation, name: topic.as_str() }) }
    }

    /// Whether the operation is allowed on every topic that the pattern can match. Allocates nothing.
    pub fn check<'a>(&self, operation: Operation, pattern: Pattern<'a>) -> Result<(), Forbidden<'a>> {
        let is_allowed = self.first_deny(operation, pattern).is_none()
            && uncovered(pattern, self.allows(operation).map(|(_, rule)| rule)).is_empty()
            && self.own(operation).is_none_or(|own| uncovered(pattern, own).is_empty());
        if is_allowed { Ok(()) } else { Err(Forbidden { operation, name: pattern.as_str() }) }
    }

    /// What [`check`](Self::check) decides, with the rules that make it so: for operators, because it shows them.
    pub fn explain(&self, operation: Operation, pattern: Pattern<'_>) -> Verdict<'_> {
        if let Some((role, rule)) = self.first_deny(operation, pattern) {
            return Verdict::Denied { rule: show(Some(role), operation, Effect::Deny, rule) };
        }
        let of_roles = self.allows(operation).map(|(role, rule)| (Some(role), rule));
        let mut rules = match covering(operation, pattern, of_roles) {
            Ok(rules) => rules,
            Err(example) => return Verdict::Uncovered { layer: Layer::Roles, operation, example },
        };
        if let Some(own) = self.own(operation) {
            match covering(operation, pattern, own.iter().map(|rule| (None, rule))) {
                Ok(own) => rules.extend(own),
                Err(example) => return Verdict::Uncovered { layer: Layer::Token, operation, example },
            }
        }
        Verdict::Allowed { rules }
    }

    fn first_deny(&self, operation: Operation, pattern: Pattern<'_>) -> Option<(&str, &Matcher)> {
        self.denies(operation).find(|(_, rule)| cover::intersect(rule.pattern(), pattern))
    }

    fn allows(&self, operation: Operation) -> impl Iterator<Item = (&str, &Matcher)> + Clone {
        self.grants.iter().flat_map(move |it| iter::zip(iter::repeat(&*it.role), &it.rules.get(operation).allow))
    }

    fn denies(&self, operation: Operation) -> impl Iterator<Item = (&str, &Matcher)> {
        self.grants.iter().flat_map(move |it| iter::zip(iter::repeat(&*it.role), &it.rules.get(operation).deny))
    }

    fn own(&self, operation: Operation) -> Option<&[Matcher]> {
        self.own.as_ref()?.get(operation).as_deref()
    }
}

/// The lengths of topics that the pattern can match and the rules do not cover.
fn uncovered<'r>(pattern: Pattern<'_>, rules: impl IntoIterator<Item = &'r Matcher>) -> Lengths {
    let mut left = Lengths::of(pattern);
    for rule in rules {
        left = left.without(cover::contained_lengths(rule.pattern(), pattern));
        if left.is_empty() {
            break;
        }
    }
    left
}

/// The rules that cover the pattern together, or a topic that none of them covers.
fn covering<'r>(
    operation: Operation,
    pattern: Pattern<'_>,
    rules: impl Iterator<Item = (Option<&'r str>, &'r Matcher)> + Clone,
) -> Result<Vec<Rule<'r>>, Option<TopicBuf>> {
    let mut left = Lengths::of(pattern);
    let mut used = Vec::new();
    for (role, rule) in rules.clone() {
        let still_left = left.without(cover::contained_lengths(rule.pattern(), pattern));
        if still_left != left {
            used.push(show(role, operation, Effect::Allow, rule));
            left = still_left;
        }
    }
    match left.shortest() {
        None => Ok(used),
        Some(tokens) => Err(example(pattern, tokens, &rules.map(|(_, rule)| rule))),
    }
}

/// A topic that the pattern matches and no rule does, with a token that nobody uses. `None` if it would be too long.
fn example<'r>(
    pattern: Pattern<'_>,
    tokens: usize,
    rules: &(impl Iterator<Item = &'r Matcher> + Clone),
) -> Option<TopicBuf> {
    // A rule that does not contain the pattern matches for one choice of the free token at most, so one choice more
    // than there are rules is enough.
    (0..=rules.clone().count()).find_map(|attempt| {
        let free = if attempt == 0 { "any".to_owned() } else { format!("any{attempt}") };
        let topic = TopicBuf::new(&cover::generic_topic(pattern, tokens, &free)).ok()?;
        (!rules.clone().any(|rule| rule.matches(topic.as_topic()))).then_some(topic)
    })
}

fn show<'r>(role: Option<&'r str>, operation: Operation, effect: Effect, rule: &'r Matcher) -> Rule<'r> {
    Rule { role, operation, effect, pattern: rule.pattern(), template: rule.template() }
}
