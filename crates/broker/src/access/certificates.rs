//! `[[certificates]]`: whose client certificates say who they are.

use std::collections::BTreeMap;

use carillon_access::{
    Identity, Source,
    identity::{CertificateRules, NameKind, Rule},
};

use super::{
    file::{CertificateEntry, Entry},
    report::Report,
    roles::Roles,
};

/// What `*` stands for where a role is tried.
const ANY: &str = "x";

/// The rules, in the order of the file.
pub(super) fn rules(entries: Vec<Entry<CertificateEntry>>, roles: &Roles, report: &mut Report) -> CertificateRules {
    let before = report.problems();
    let rules = entries.into_iter().filter_map(|Entry { label, value }| rule(&label, value, roles, report)).collect();
    CertificateRules::new(rules).unwrap_or_else(|error| {
        // A rule that is missing above would make this one count wrongly.
        if report.problems() == before {
            report.problem("certificates", error);
        }
        CertificateRules::default()
    })
}

fn rule(label: &str, entry: CertificateEntry, roles: &Roles, report: &mut Report) -> Option<Rule> {
    let CertificateEntry { uri, dns, email, common_name, roles: names } = entry;
    if names.is_empty() {
        report.problem(format!("{label}.roles"), "without a role it could do nothing; name one");
    }
    let written =
        [(NameKind::Uri, uri), (NameKind::Dns, dns), (NameKind::Email, email), (NameKind::CommonName, common_name)];
    let mut written = written.into_iter().filter_map(|(kind, pattern)| Some((kind, pattern?)));
    let (Some((name, pattern)), None) = (written.next(), written.next()) else {
        report
            .problem(label, "expected one of uri, dns, email and common_name: the name that the certificate must have");
        return None;
    };
    roles.check(&sample(name, &pattern, &names), &format!("{label}.roles"), report);
    Some(Rule { name, pattern, roles: names })
}

/// Somebody whom the rule lets in, to see whether the roles can be had: a role may ask for a claim, which no certificate
/// has, or put `{sub}` where names with dots do not fit.
fn sample(kind: NameKind, pattern: &str, roles: &[String]) -> Identity {
    let subject = if kind == NameKind::Dns { pattern.to_ascii_lowercase() } else { pattern.to_owned() };
    Identity {
        subject: subject.replace('*', ANY),
        source: Source::Certificate,
        roles: roles.to_vec(),
        claims: BTreeMap::new(),
        own: None,
        token_id: None,
        issued_at_s: None,
        expires_at_s: None,
    }
}
