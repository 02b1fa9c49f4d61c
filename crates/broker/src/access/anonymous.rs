//! Who one is without credentials.

use std::collections::BTreeMap;

use carillon_access::{
    Identity, Source,
    permissions::{Role, Rules},
};

use super::{report::Report, roles::Roles};
use crate::config::{Access, DEV_ROLE};

/// The subject of everybody who connects without credentials.
const SUBJECT: &str = "anonymous";

/// The role that may do everything, where `--dev` asks for it. Elsewhere there is no such role, whoever claims it.
pub(super) fn built_in_role(access: &Access) -> Option<(String, Role)> {
    let is_wanted = access.anonymous && access.anonymous_roles.iter().any(|role| role == DEV_ROLE);
    let all = Rules { allow: vec![">".to_owned()], deny: Vec::new() };
    let role = Role { publish: all.clone(), subscribe: all.clone(), history: all.clone(), presence: all };
    is_wanted.then(|| (DEV_ROLE.to_owned(), role))
}

/// The identity of those without credentials, if they are let in.
pub(super) fn identity(access: &Access, roles: &Roles, report: &mut Report) -> Option<Identity> {
    if !access.anonymous {
        return None;
    }
    let identity = Identity {
        subject: SUBJECT.to_owned(),
        source: Source::Anonymous,
        roles: access.anonymous_roles.clone(),
        claims: BTreeMap::new(),
        own: None,
        token_id: None,
        issued_at_s: None,
        expires_at_s: None,
    };
    report.now_about_configuration();
    roles.check(&identity, "access.anonymous_roles", report);
    Some(identity)
}
