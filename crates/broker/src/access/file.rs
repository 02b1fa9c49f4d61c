//! What can be written in an access file, and whether it has the right form.
//!
//! Serde stops at the first error, so each key is tried alone; whether what is written makes sense is for others to say.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use carillon_access::{Operation, permissions::Role};
use figment::{
    error::{Actual, Kind},
    value::{Dict, Tag, Value},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::report::Report;
use crate::config::{self, ConfigError, RoleQuotas};

/// An access file. What had the wrong form is left out, and stands in the report.
#[derive(Debug, Default)]
pub(super) struct AccessFile {
    pub(super) roles: Vec<(String, Role)>,
    /// Of roles that have some, by their names.
    pub(super) quotas: HashMap<String, RoleQuotas>,
    pub(super) issuers: Vec<Entry<IssuerEntry>>,
    pub(super) services: Vec<Entry<ServiceEntry>>,
    pub(super) certificates: Vec<Entry<CertificateEntry>>,
}

/// One `[[issuers]]`, `[[services]]` or `[[certificates]]`.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// How errors name it: `services["billing"]`.
    pub(super) label: String,
    pub(super) value: T,
}

/// `[[issuers]]`: whose tokens are believed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IssuerEntry {
    pub(super) issuer: String,
    pub(super) algorithms: Vec<String>,
    pub(super) audiences: Vec<String>,
    pub(super) key_files: Vec<String>,
    pub(super) jwks_file: Option<String>,
    pub(super) jwks_url: Option<String>,
    pub(super) jwks_ca_file: Option<String>,
    pub(super) jwks_max_age_seconds: Option<u64>,
    pub(super) jwks_floor_seconds: Option<u64>,
    pub(super) leeway_seconds: Option<u64>,
    pub(super) roles_claim: Option<String>,
    pub(super) required_claims: Vec<String>,
}

/// `[[services]]`: who has API keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServiceEntry {
    pub(super) name: String,
    pub(super) roles: Vec<String>,
    pub(super) claims: BTreeMap<String, String>,
    pub(super) keys: Vec<KeyEntry>,
}

/// One of a service's `keys`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "{ id = \"...\", hash = \"...\" }")]
pub(super) struct KeyEntry {
    pub(super) id: String,
    pub(super) hash: String,
    /// A text, a number, or a date of TOML's own.
    pub(super) expires: Option<Value>,
}

/// `[[certificates]]`: whose client certificates say who they are. One name of the four.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CertificateEntry {
    pub(super) uri: Option<String>,
    pub(super) dns: Option<String>,
    pub(super) email: Option<String>,
    pub(super) common_name: Option<String>,
    pub(super) roles: Vec<String>,
}

const SECTIONS: [&str; 4] = ["roles", "issuers", "services", "certificates"];
/// The keys of `[[certificates]]` that name one.
const CERTIFICATE_NAMES: [&str; 4] = ["uri", "dns", "email", "common_name"];

impl AccessFile {
    /// Reads the file; fails if it cannot be read or is no TOML.
    pub(super) fn read(path: &Path, report: &mut Report) -> Result<Self, ConfigError> {
        let mut file = Self::default();
        for (section, value) in config::read_toml(path)? {
            match section.as_str() {
                "roles" => (file.roles, file.quotas) = roles(value, report),
                "issuers" => file.issuers = entries("issuers", &["issuer"], value, report),
                "services" => file.services = entries("services", &["name"], value, report),
                "certificates" => file.certificates = entries("certificates", &CERTIFICATE_NAMES, value, report),
                unknown => {
                    let near = SECTIONS.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
                    let near = near.filter(|known| strsim::damerau_levenshtein(known, unknown) <= 3);
                    let hint = near.map_or_else(String::new, |known| format!("did you mean {known}? "));
                    let allowed = SECTIONS.join(", ");
                    report.problem(section, format!("there is no such section; {hint}allowed here: {allowed}"));
                }
            }
        }
        Ok(file)
    }
}

fn roles(value: Value, report: &mut Report) -> (Vec<(String, Role)>, HashMap<String, RoleQuotas>) {
    let Some(roles) = value.into_dict() else {
        report.problem("roles", "expected sections, as in [roles.web.publish]");
        return Default::default();
    };
    let mut read = Vec::new();
    let mut all_quotas = HashMap::new();
    for (name, mut role) in roles {
        let label = format!("roles.{name}");
        if name.starts_with('$') {
            report.problem(&label, "names of roles do not start with `$`, which is for built-in ones");
        }
        if let Some(quotas) = take_quotas(&format!("{label}.quotas"), &mut role, report) {
            all_quotas.insert(name.clone(), quotas);
        }
        // One that could not be read is still a role that others may name.
        let role = if are_sections(&label, &role, report) { form(&label, role, report) } else { None };
        read.push((name, role.unwrap_or_default()));
    }
    (read, all_quotas)
}

/// The quotas of a role. They stand beside what it may do, and are no part of that.
fn take_quotas(label: &str, role: &mut Value, report: &mut Report) -> Option<RoleQuotas> {
    let Value::Dict(_, keys) = role else { return None };
    let quotas: RoleQuotas = form(label, keys.remove("quotas")?, report)?;
    for (key, pace) in quotas.paces() {
        if let Err(error) = pace.check() {
            report.problem(format!("{label}.{key}"), error);
        }
    }
    (!quotas.is_empty()).then_some(quotas)
}

/// Whether no operation has a list where its `allow` and `deny` belong. Serde would take it for the two in order.
fn are_sections(label: &str, role: &Value, report: &mut Report) -> bool {
    let lists = Operation::ALL
        .into_iter()
        .filter(|operation| matches!(role.find_ref(operation.name()), Some(Value::Array(..))));
    let before = report.problems();
    for operation in lists {
        let message = format!("expected allow and deny, as in {operation}.allow = [\"news.>\"]");
        report.problem(format!("{label}.{operation}"), message);
    }
    report.problems() == before
}

fn entries<T: DeserializeOwned>(section: &str, name_keys: &[&str], value: Value, report: &mut Report) -> Vec<Entry<T>> {
    let Value::Array(_, tables) = value else {
        report.problem(section, format!("expected a list of sections; write its name in two brackets, [[{section}]]"));
        return Vec::new();
    };
    let label = |(index, table): (usize, &Value)| {
        let mut names = name_keys.iter().filter_map(|key| table.find_ref(key).and_then(Value::as_str));
        match names.next() {
            Some(name) if !name.is_empty() => format!("{section}[{name:?}]"),
            _ => format!("{section}[number {}]", index + 1),
        }
    };
    let labels: Vec<_> = tables.iter().enumerate().map(label).collect();
    let entries = labels.into_iter().zip(tables);
    entries.filter_map(|(label, table)| Some(Entry { value: form(&label, table, report)?, label })).collect()
}

/// Reads a section key by key, so that each key's problem is found.
fn form<T: DeserializeOwned>(label: &str, section: Value, report: &mut Report) -> Option<T> {
    let before = report.problems();
    match section.into_dict() {
        None => report.problem(label, "expected a section with keys"),
        Some(keys) => {
            for (key, value) in &keys {
                let alone = Value::Dict(Tag::Default, Dict::from([(key.clone(), value.clone())]));
                if let Err(error) = alone.deserialize::<T>() {
                    let path = if error.path.is_empty() { key.clone() } else { error.path.join(".") };
                    report.problem(format!("{label}.{path}"), describe(&error.kind));
                }
            }
            if report.problems() == before {
                match Value::Dict(Tag::Default, keys).deserialize() {
                    Ok(read) => return Some(read),
                    Err(error) => report.problem(label, describe(&error.kind)),
                }
            }
        }
    }
    None
}

/// What is wrong with a key, without the value that was found: it may be a secret in the wrong place.
fn describe(kind: &Kind) -> String {
    match kind {
        Kind::UnknownField(name, allowed) => format!("there is no key `{name}`; allowed here: {}", allowed.join(", ")),
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!("found {}, expected {}", kind_of(found), words(expected))
        }
        _ => "it does not have the form that is expected here".to_owned(),
    }
}

fn kind_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Str(_) | Actual::Char(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a section",
        _ => "something else",
    }
}

/// Serde's names of Rust's types, in a reader's words.
fn words(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "a text",
        "a sequence" => "a list",
        "a map" => "texts by their names, as in { tenant = \"north\" }",
        "u64" => "a whole number, 0 or more",
        "struct Role" => "sections publish, subscribe, history, presence",
        "struct PaceKeys" => "{ per_second = 10, burst = 20 }",
        "struct Rules" => "lists allow and deny",
        other => other,
    }
}
