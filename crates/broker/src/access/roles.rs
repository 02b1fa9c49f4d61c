//! Roles: compiled, and with names that services and anonymous clients can be checked against.

use std::collections::{BTreeMap, BTreeSet};

use carillon_access::{
    Identity, Operation, Policy,
    permissions::{Role, Rules},
};

use super::report::Report;

/// The roles of the access file, and perhaps a built-in one.
#[derive(Debug)]
pub(super) struct Roles {
    names: BTreeSet<String>,
    claims: BTreeSet<String>,
    /// Whether the policy has them all; it has not where one was wrong.
    is_whole: bool,
    policy: Policy,
}

impl Roles {
    pub(super) fn compile(written: Vec<(String, Role)>, built_in: Option<(String, Role)>, report: &mut Report) -> Self {
        let before = report.problems();
        let roles: BTreeMap<String, Role> = written.into_iter().chain(built_in).collect();
        // One by one first, because compiling stops at the first problem.
        for (name, role) in &roles {
            if let Err(error) = Policy::new([(name.clone(), role.clone())]) {
                report.problem(format!("roles.{name}"), error);
            }
        }
        let names = roles.keys().cloned().collect();
        let claims = roles.values().flat_map(patterns).flat_map(|pattern| claims_in(pattern)).collect();
        let policy = Policy::new(roles);
        let is_whole = policy.is_ok() && report.problems() == before;
        Self { names, claims, is_whole, policy: policy.unwrap_or_default() }
    }

    /// The claims that patterns name, besides `sub`: what is to be read from tokens.
    pub(super) fn claims(&self) -> Vec<String> {
        self.claims.iter().filter(|claim| *claim != "sub").cloned().collect()
    }

    /// Tells what is wrong with the roles of an identity that the configuration itself makes.
    pub(super) fn check(&self, identity: &Identity, key: &str, report: &mut Report) {
        let unknown: Vec<_> = identity.roles.iter().filter(|role| !self.names.contains(*role)).collect();
        for role in &unknown {
            let known: Vec<_> = self.names.iter().map(|name| format!("{name:?}")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            report.problem(key, format!("there is no role {role:?}; the access file has: {known}"));
        }
        if self.is_whole
            && unknown.is_empty()
            && let Err(error) = self.policy.permissions_of(identity)
        {
            report.problem(key, error);
        }
    }

    pub(super) fn into_policy(self) -> Policy {
        self.policy
    }
}

fn patterns(role: &Role) -> impl Iterator<Item = &String> {
    Operation::ALL.into_iter().flat_map(move |operation| {
        let Rules { allow, deny } = match operation {
            Operation::Publish => &role.publish,
            Operation::Subscribe => &role.subscribe,
            Operation::History => &role.history,
            Operation::Presence => &role.presence,
        };
        allow.iter().chain(deny)
    })
}

/// The names between braces. Whether the braces are right is for the policy to say.
fn claims_in(pattern: &str) -> impl Iterator<Item = String> {
    pattern.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0.to_owned()))
}
