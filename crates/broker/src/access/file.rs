//! What can be written in an access file, and whether it has the right form.
//!
//! Serde stops at the first error, so each key is tried alone; whether what is written makes sense is for others to say.

use std::{collections::BTreeMap, path::Path};

use carillon_access::{Operation, permissions::Role};
use figment::{
    error::{Actual, Kind},
    value::{Dict, Tag, Value},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::report::Report;
use crate::config::{self, ConfigError};

/// An access file. What had the wrong form is left out, and stands in the report.
#[derive(Debug, Default)]
pub(super) struct AccessFile {
    pub(super) roles: Vec<(String, Role)>,
    pub(super) issuers: Vec<Entry<IssuerEntry>>,
    pub(super) services: Vec<Entry<ServiceEntry>>,
}

/// One `[[issuers]]` or `[[services]]`.
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
    /// Known so that whoever writes it is told what to do instead.
    pub(super) jwks_url: Option<String>,
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

const SECTIONS: [&str; 3] = ["roles", "issuers", "services"];

impl AccessFile {
    /// Reads the file; fails if it cannot be read or is no TOML.
    pub(super) fn read(path: &Path, report: &mut Report) -> Result<Self, ConfigError> {
        let mut file = Self::default();
        for (section, value) in config::read_toml(path)? {
            match section.as_str() {
                "roles" => file.roles = roles(value, report),
                "issuers" => file.issuers = entries("issuers", "issuer", value, report),
                "services" => file.services = entries("services", "name", value, report),
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

fn roles(value: Value, report: &mut Report) -> Vec<(String, Role)> {
    let Some(roles) = value.into_dict() else {
        report.problem("roles", "expected sections, as in [roles.web.publish]");
        return Vec::new();
    };
    let mut read = Vec::new();
    for (name, role) in roles {
        let label = format!("roles.{name}");
        if name.starts_with('$') {
            report.problem(&label, "names of roles do not start with `$`, which is for built-in ones");
        }
        // One that could not be read is still a role that others may name.
        let role = if are_sections(&label, &role, report) { form(&label, role, report) } else { None };
        read.push((name, role.unwrap_or_default()));
    }
    read
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

fn entries<T: DeserializeOwned>(section: &str, name_key: &str, value: Value, report: &mut Report) -> Vec<Entry<T>> {
    let Value::Array(_, tables) = value else {
        report.problem(section, format!("expected a list of sections; write its name in two brackets, [[{section}]]"));
        return Vec::new();
    };
    let label = |(index, table): (usize, &Value)| match table.find_ref(name_key).and_then(Value::as_str) {
        Some(name) if !name.is_empty() => format!("{section}[{name:?}]"),
        _ => format!("{section}[number {}]", index + 1),
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
        "struct Rules" => "lists allow and deny",
        other => other,
    }
}
