//! The configuration: what can be set, where values come from, and whether they make sense together.
//!
//! Values come from, each over the one before: the defaults, what `--dev` implies, the file that `--config` names, the
//! environment (`CARILLON__SECTION__KEY`), the flags. All problems are found before anything is bound or started, and
//! each is told with its key and the file, variable or flag it came from.
//!
//! [`load`] is the way in; [`Config`] is what comes out.

mod check;
mod check_streams;
mod document;
mod layer;
mod lists;
mod problem;
mod quotas;
mod sections;
mod streams;

use std::{collections::HashMap, path::PathBuf};

use carillon_listener::settings::Settings;
use figment::{
    Figment,
    value::{Dict, Value},
};

use self::layer::{Layer, Schema};
pub(crate) use self::{check::check_token, document::read_toml};
pub use self::{
    problem::{ConfigError, Problem},
    quotas::{PaceKeys, QuotasSection, RoleQuotas},
    sections::{Access, Admin, ClientCertificates, Config, DEV_ROLE, Listen, Log, LogFormat, Secret, Shards, Tls},
    streams::{StoreSection, StreamKeys, StreamSections, StreamSettings},
};

/// Ahead of each environment variable's section and key.
pub const VARIABLE_PREFIX: &str = "CARILLON__";
/// How errors name what `--dev` implies.
const DEV_ORIGIN: &str = "flag --dev";

/// Where values come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file that `--config` names.
    pub file: Option<PathBuf>,
    /// Development certificates, where `--dev` was given.
    pub dev: Option<DevFiles>,
    /// Environment variables whose names begin with [`VARIABLE_PREFIX`], with their values. Others are passed over.
    pub variables: Vec<(String, String)>,
    /// What flags set.
    pub flags: Vec<Flag>,
}

/// The certificate and the key that `--dev` serves with, unless others are configured.
#[derive(Debug, Clone)]
pub struct DevFiles {
    /// PEM file with the certificate.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// A flag of the command line that sets a key of the configuration.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As it is typed: `--listen`.
    pub name: &'static str,
    /// The key that it sets: `listen.address`.
    pub key: &'static str,
    /// What it sets the key to.
    pub value: Value,
}

impl Config {
    /// What the listener is to be told.
    pub fn settings(&self) -> Settings {
        Settings {
            listen: self.listen.address,
            backlog: self.listen.backlog,
            proxies: self.proxies.clone(),
            origins: self.origins.clone(),
            limits: self.limits.clone(),
            deadlines: self.deadlines.clone(),
        }
    }

    /// What is taken from a configuration that was read while the broker runs: who may do what, how much, and how much of
    /// it streams keep.
    #[must_use]
    fn with_reloadable_of(&self, read: Self) -> Self {
        let streams = streams::with_reloadable_of(&self.streams, &read.streams);
        Self { access: read.access, quotas: read.quotas, streams, ..self.clone() }
    }

    /// The keys that have another value in `other`, and the streams that only one of the two has. That a secret has changed is
    /// not seen.
    fn keys_that_differ(&self, other: &Self) -> Vec<String> {
        let leaves = |config: &Self| {
            let config = Self { streams: StreamSections::new(), ..config.clone() };
            let keys = Value::serialize(config).ok().and_then(Value::into_dict).unwrap_or_default();
            Layer::new(String::new(), keys).leaves()
        };
        let values: HashMap<_, _> = leaves(other).into_iter().collect();
        let differs = |(key, value): &(String, Value)| values.get(key) != Some(value);
        let mut keys: Vec<_> = leaves(self).into_iter().filter(differs).map(|(key, _)| key).collect();
        keys.extend(streams::keys_that_differ(&self.streams, &other.streams));
        keys
    }

    /// The bounds that the metrics show, by key.
    pub fn limits_by_name(&self) -> Vec<(&'static str, u64)> {
        let limits = &self.limits;
        let named = [
            ("limits.max_payload_bytes", limits.max_payload_bytes),
            ("limits.max_message_bytes", limits.max_message_bytes),
            ("limits.max_subscriptions", limits.max_subscriptions),
            ("limits.max_wildcards", limits.max_wildcards),
            ("limits.outbox_bytes", limits.outbox_bytes),
            ("limits.outbox_messages", limits.outbox_messages),
            ("limits.reply_bytes", limits.reply_bytes),
            ("limits.shard_queue_bytes", limits.shard_queue_bytes),
            ("limits.max_http_head_bytes", limits.max_http_head_bytes),
            ("limits.quota_entries", limits.quota_entries as usize),
            ("store.queue_bytes", self.store.queue_bytes),
            ("store.cache_bytes", self.store.cache_bytes),
        ];
        let limits = named.into_iter().map(|(name, value)| (name, value as u64));
        limits.chain(self.quotas.by_name()).collect()
    }
}

/// The environment variables of this process that are meant for the configuration.
pub fn process_variables() -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        if name.starts_with(VARIABLE_PREFIX) {
            let Ok(value) = value.into_string() else {
                return Err(ConfigError::Problems(vec![Problem::new(
                    layer::key_of_variable(&name),
                    layer::variable_origin(&name),
                    "the value is not UTF-8".to_owned(),
                )]));
            };
            variables.push((name, value));
        }
    }
    Ok(variables)
}

/// Reads and checks the configuration.
///
/// Fails with every problem there is, except that a file which cannot be read or is no TOML is told alone. The files that
/// the configuration names are read by those who need them.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let (config, figment) = read(sources)?;
    let problems = check::check(&config, &figment, sources.dev.is_some());
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
}

/// Reads and checks the configuration for a broker that runs with `current`. Gives what it is to go on with, and the keys
/// that have changed and need a restart.
///
/// What is taken has to make sense by what stands in the sources, and by what stays in force until a restart.
pub fn load_again(sources: &Sources, current: &Config) -> Result<(Config, Vec<String>), ConfigError> {
    let (read, figment) = read(sources)?;
    let mut problems = check::check(&read, &figment, sources.dev.is_some());
    let merged = current.with_reloadable_of(read.clone());
    let unheeded = merged.keys_that_differ(&read);
    if problems.is_empty() {
        problems = check::check(&merged, &figment, sources.dev.is_some());
        if !problems.is_empty() {
            let waits = |key: &String| {
                let message =
                    "the new value holds after a restart only, and the others must fit the old one until then";
                // A stream that is defined no more is in no source.
                let origin =
                    figment.find_metadata(key).map_or_else(|| "not set".to_owned(), |found| found.name.to_string());
                Problem::new(key.clone(), origin, message.to_owned())
            };
            problems.extend(unheeded.iter().map(waits));
        }
    }
    if problems.is_empty() { Ok((merged, unheeded)) } else { Err(ConfigError::Problems(problems)) }
}

/// Reads the configuration for its `[access]`, and checks the values of that section alone: for commands that answer
/// questions about access, also where the rest is not complete yet.
pub fn load_access(sources: &Sources) -> Result<Access, ConfigError> {
    let (config, figment) = read(sources)?;
    let problems = check::check_access_alone(&config.access, &figment);
    if problems.is_empty() { Ok(config.access) } else { Err(ConfigError::Problems(problems)) }
}

/// Puts all sources together. Keys and types are right then; whether values make sense is another question.
fn read(sources: &Sources) -> Result<(Config, Figment), ConfigError> {
    let schema = Schema::new()?;
    let mut problems = Vec::new();
    let mut figment = schema.defaults();
    for layer in layers(sources, &schema, &mut problems)? {
        schema.check(&layer, &mut problems);
        figment = figment.merge(layer);
    }
    if !problems.is_empty() {
        problems.dedup();
        return Err(ConfigError::Problems(problems));
    }
    let config = figment.extract().map_err(ConfigError::internal)?;
    Ok((config, figment))
}

fn layers(sources: &Sources, schema: &Schema, problems: &mut Vec<Problem>) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    if let Some(files) = &sources.dev {
        layers.push(dev_layer(files)?);
    }
    if let Some(path) = &sources.file {
        layers.push(Layer::of_file(path)?);
    }
    for (name, text) in &sources.variables {
        if name.starts_with(VARIABLE_PREFIX) {
            match Layer::of_variable(name, text, schema) {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            }
        }
    }
    for flag in &sources.flags {
        layers.push(Layer::of_key(format!("flag {}", flag.name), flag.key, flag.value.clone()));
    }
    Ok(layers)
}

/// What `--dev` implies, as a layer of its own, so that a problem with it names `--dev`.
fn dev_layer(files: &DevFiles) -> Result<Layer, ConfigError> {
    let section = |keys: Vec<(&str, Value)>| -> Value {
        keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Dict>().into()
    };
    let path = |path: &PathBuf| Value::serialize(path).map_err(ConfigError::internal);
    let keys = Dict::from([
        ("access".to_owned(), section(vec![("anonymous", true.into()), ("anonymous_roles", vec![DEV_ROLE].into())])),
        ("origins".to_owned(), section(vec![("allow_loopback", true.into())])),
        ("tls".to_owned(), section(vec![("certificate", path(&files.certificate)?), ("key", path(&files.key)?)])),
    ]);
    Ok(Layer::new(DEV_ORIGIN.to_owned(), keys))
}

#[cfg(test)]
mod tests;
