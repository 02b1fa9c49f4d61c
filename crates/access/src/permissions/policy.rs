//! The configured roles, compiled, and what they come to for one identity.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use carillon_wire::PatternBuf;
use serde::Deserialize;

use super::{
    error::{PermissionsError, PolicyError},
    granted::{Grant, OwnRules, Permissions, RuleSet},
    matcher::Matcher,
    operation::{Operation, PerOperation},
    template::{Parsed, Template},
    verdict::Effect,
};
use crate::{Identity, OwnPatterns};

/// The most patterns that all roles of one identity have together, over all operations. With
/// [`MAX_OWN_PATTERNS`] it bounds the work of a check.
pub const MAX_PATTERNS: usize = 1_024;
/// The most patterns that a token carries itself for one operation.
pub const MAX_OWN_PATTERNS: usize = 64;

/// What a role may do, as the configuration writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Role {
    /// Where it may publish.
    pub publish: Rules,
    /// Where it may subscribe.
    pub subscribe: Rules,
    /// Whose stored messages it may read.
    pub history: Rules,
    /// Whose presence it may see.
    pub presence: Rules,
}

/// Patterns of one operation. In them `{sub}` stands for the identity's subject and any other `{name}` for its string
/// claim of that name, as a token or a part of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// What is allowed, unless it is denied as well.
    pub allow: Vec<String>,
    /// What is denied, whatever allows it.
    pub deny: Vec<String>,
}

impl Role {
    const fn rules(&self, operation: Operation) -> &Rules {
        match operation {
            Operation::Publish => &self.publish,
            Operation::Subscribe => &self.subscribe,
            Operation::History => &self.history,
            Operation::Presence => &self.presence,
        }
    }

    fn patterns(&self) -> usize {
        Operation::ALL.into_iter().map(|it| self.rules(it).allow.len() + self.rules(it).deny.len()).sum()
    }
}

/// All configured roles, compiled. It does not change: a new configuration makes a new one. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    roles: Arc<BTreeMap<Arc<str>, CompiledRole>>,
}

#[derive(Debug)]
struct CompiledRole {
    patterns: usize,
    /// What is the same for everybody, and so shared.
    fixed: Arc<Grant>,
    /// What each identity fills in; `None` if the role names no claim.
    templates: Option<PerOperation<Templates>>,
}

#[derive(Debug, Default)]
struct Templates {
    allow: Vec<Template>,
    deny: Vec<Template>,
}

impl Policy {
    /// Compiles roles, each with its name.
    pub fn new(roles: impl IntoIterator<Item = (String, Role)>) -> Result<Self, PolicyError> {
        let mut compiled = BTreeMap::new();
        for (name, role) in roles {
            if name.is_empty() {
                return Err(PolicyError::UnnamedRole);
            }
            let patterns = role.patterns();
            if patterns > MAX_PATTERNS {
                return Err(PolicyError::TooManyPatterns { role: name, patterns });
            }
            let key = Arc::from(name.as_str());
            if compiled.insert(Arc::clone(&key), CompiledRole::new(key, &role)?).is_some() {
                return Err(PolicyError::DuplicateRole(name));
            }
        }
        Ok(Self { roles: Arc::new(compiled) })
    }

    /// Whether there is a role of that name. [`permissions_of`](Self::permissions_of) refuses an identity with one that
    /// there is not; a caller that wants to pass over such roles takes them out first.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    /// What an identity may do: what its roles allow together, less what any of them denies, inside its token's own
    /// patterns. The compiled rules are shared with other identities, save those that have its claims in them.
    pub fn permissions_of(&self, identity: &Identity) -> Result<Permissions, PermissionsError> {
        let mut grants = Vec::new();
        let mut patterns = 0;
        for name in identity.roles.iter().collect::<BTreeSet<_>>() {
            let role = self.roles.get(name.as_str()).ok_or_else(|| PermissionsError::UnknownRole(name.to_owned()))?;
            patterns += role.patterns;
            grants.push(Arc::clone(&role.fixed));
            if let Some(templates) = &role.templates {
                grants.push(Arc::new(fill(&role.fixed, templates, identity)?));
            }
        }
        if patterns > MAX_PATTERNS {
            return Err(PermissionsError::TooManyPatterns(patterns));
        }
        let own = identity.own.as_ref().map(compile_own).transpose()?;
        Ok(Permissions::new(grants, own))
    }
}

impl CompiledRole {
    fn new(name: Arc<str>, role: &Role) -> Result<Self, PolicyError> {
        let mut has_templates = false;
        let mut templates = PerOperation::<Templates>::default();
        let rules = PerOperation::try_from_fn(|operation| {
            let rules = role.rules(operation);
            let (allow, allow_templates) = compile(&name, operation, Effect::Allow, &rules.allow)?;
            let (deny, deny_templates) = compile(&name, operation, Effect::Deny, &rules.deny)?;
            has_templates |= !allow_templates.is_empty() || !deny_templates.is_empty();
            *templates.get_mut(operation) = Templates { allow: allow_templates, deny: deny_templates };
            Ok(RuleSet { allow, deny })
        })?;
        let fixed = Arc::new(Grant { role: name, rules });
        Ok(Self { patterns: role.patterns(), fixed, templates: has_templates.then_some(templates) })
    }
}

/// Takes the rules that are the same for everybody apart from those to be filled in.
fn compile(
    role: &str,
    operation: Operation,
    effect: Effect,
    rules: &[String],
) -> Result<(Box<[Matcher]>, Vec<Template>), PolicyError> {
    let mut fixed = Vec::new();
    let mut templates = Vec::new();
    for rule in rules {
        match Template::parse(rule) {
            Ok(Parsed::Fixed(pattern)) => fixed.push(Matcher::new(pattern)),
            Ok(Parsed::Template(template)) => templates.push(template),
            Err(fault) => {
                let (role, rule) = (role.to_owned(), rule.clone());
                return Err(PolicyError::Rule { role, operation, effect, rule, fault });
            }
        }
    }
    Ok((fixed.into(), templates))
}

fn fill(fixed: &Grant, templates: &PerOperation<Templates>, identity: &Identity) -> Result<Grant, PermissionsError> {
    let fill_all = |templates: &[Template]| -> Result<Box<[Matcher]>, _> {
        templates.iter().map(|template| template.fill(identity)).collect()
    };
    let rules = PerOperation::try_from_fn(|operation| {
        let templates = templates.get(operation);
        Ok(RuleSet { allow: fill_all(&templates.allow)?, deny: fill_all(&templates.deny)? })
    })?;
    Ok(Grant { role: Arc::clone(&fixed.role), rules })
}

fn compile_own(own: &OwnPatterns) -> Result<OwnRules, PermissionsError> {
    PerOperation::try_from_fn(|operation| {
        let patterns: &Option<Vec<PatternBuf>> = match operation {
            Operation::Publish => &own.publish,
            Operation::Subscribe => &own.subscribe,
            Operation::History => &own.history,
            Operation::Presence => &own.presence,
        };
        match patterns {
            Some(patterns) if patterns.len() > MAX_OWN_PATTERNS => {
                Err(PermissionsError::TooManyOwnPatterns { operation, patterns: patterns.len() })
            }
            Some(patterns) => Ok(Some(patterns.iter().cloned().map(Matcher::new).collect())),
            None => Ok(None),
        }
    })
}
