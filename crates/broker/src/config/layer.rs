//! One source of values, and its check against the keys there are.
//!
//! Serde stops at the first error. So each value is tried alone, over the defaults: then every unknown key and every
//! value of a wrong type is found, and serde's types stay the only schema.

use std::path::Path;

use carillon_streams::stream::{StreamName, StreamNameError};
use figment::{
    Error, Figment, Metadata, Profile, Provider,
    error::{Actual, Kind},
    util::nest,
    value::{Dict, Map, Value},
};

use super::{Config, ConfigError, Problem, StreamKeys, VARIABLE_PREFIX, read_toml};

/// The section that has one for each stream, and what stands for a stream's name where any is meant.
const STREAMS: &str = "streams";
const ANY_NAME: &str = "NAME";

/// Values from one place, which is named in every error about them.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    origin: String,
    keys: Dict,
}

impl Layer {
    pub(super) fn new(origin: String, keys: Dict) -> Self {
        Self { origin, keys }
    }

    /// A layer that sets one key, such as `limits.max_payload_bytes`.
    pub(super) fn of_key(origin: String, key: &str, value: Value) -> Self {
        Self::new(origin, nest(key, value).into_dict().unwrap_or_default())
    }

    pub(super) fn of_file(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self::new(format!("file {}", path.display()), read_toml(path)?))
    }

    /// What a variable says. Its text is read as a number, a list and so on, unless only the text itself fits the key: a
    /// token of digits stays a token.
    pub(super) fn of_variable(name: &str, text: &str, schema: &Schema) -> Result<Self, Problem> {
        let (key, origin) = (key_of_variable(name), variable_origin(name));
        if key.split('.').any(str::is_empty) {
            let message = format!("a variable is named {VARIABLE_PREFIX}SECTION__KEY, such as CARILLON__LOG__LEVEL");
            return Err(Problem::new(key, origin, message));
        }
        let Ok(parsed) = text.parse::<Value>();
        let parsed = Self::of_key(origin.clone(), &key, parsed);
        let plain = Self::of_key(origin, &key, Value::from(text));
        let fits = |layer: &Self| schema.try_alone(layer.keys.clone()).is_ok();
        Ok(if !fits(&parsed) && fits(&plain) { plain } else { parsed })
    }

    /// Takes out the streams whose names are none. In a key, where dots part sections, they would mean something else.
    fn take_misnamed_streams(&mut self) -> Vec<StreamNameError> {
        let Some(Value::Dict(_, streams)) = self.keys.get_mut(STREAMS) else { return Vec::new() };
        let mut errors = Vec::new();
        streams.retain(|name, _| StreamName::new(name).map_err(|error| errors.push(error)).is_ok());
        errors
    }

    /// Each value that is not a section, with its key.
    pub(super) fn leaves(&self) -> Vec<(String, Value)> {
        let mut leaves = Vec::new();
        collect_leaves("", &self.keys, &mut leaves);
        leaves
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.keys.clone())]))
    }
}

/// `CARILLON__LIMITS__MAX_PAYLOAD_BYTES` sets `limits.max_payload_bytes`.
pub(super) fn key_of_variable(name: &str) -> String {
    name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name).to_lowercase().replace("__", ".")
}

pub(super) fn variable_origin(name: &str) -> String {
    format!("variable {name}")
}

fn collect_leaves(prefix: &str, keys: &Dict, leaves: &mut Vec<(String, Value)>) {
    for (name, value) in keys {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, section) if !section.is_empty() => collect_leaves(&key, section, leaves),
            value => leaves.push((key, value.clone())),
        }
    }
}

/// The keys there are, and what their values may be.
#[derive(Debug)]
pub(super) struct Schema {
    defaults: Figment,
    keys: Vec<String>,
}

impl Schema {
    pub(super) fn new() -> Result<Self, ConfigError> {
        let defaults =
            Value::serialize(Config::default()).map_err(ConfigError::internal)?.into_dict().unwrap_or_default();
        let defaults = Layer::new("default".to_owned(), defaults);
        let mut keys: Vec<_> = defaults.leaves().into_iter().map(|(key, _)| key).filter(|key| key != STREAMS).collect();
        let of_a_stream = StreamKeys::default().leaves().into_iter();
        keys.extend(of_a_stream.map(|(key, _)| format!("{STREAMS}.{ANY_NAME}.{key}")));
        Ok(Self { defaults: Figment::from(defaults), keys })
    }

    /// Every key there is, such as `limits.max_payload_bytes` and `streams.NAME.topics`.
    #[cfg(test)]
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The defaults, ready to be merged over.
    pub(super) fn defaults(&self) -> Figment {
        self.defaults.clone()
    }

    /// Tells what is wrong with the keys and values of a layer.
    pub(super) fn check(&self, layer: &Layer, problems: &mut Vec<Problem>) {
        let mut layer = layer.clone();
        let misnamed = layer.take_misnamed_streams().into_iter();
        problems.extend(misnamed.map(|e| Problem::new(STREAMS.to_owned(), layer.origin.clone(), e.to_string())));
        for (key, value) in layer.leaves() {
            let alone = nest(&key, value).into_dict().unwrap_or_default();
            if let Err(error) = self.try_alone(alone) {
                let key = match &error.kind {
                    Kind::UnknownField(name, _) => up_to(&key, name),
                    _ => key,
                };
                let message = self.describe(&key, error.kind);
                problems.push(Problem::new(key, layer.origin.clone(), message));
            }
        }
    }

    fn try_alone(&self, keys: Dict) -> Result<(), Box<Error>> {
        let alone = Layer::new(String::new(), keys);
        self.defaults().merge(alone).extract::<Config>().map(|_| ()).map_err(Box::new)
    }

    fn describe(&self, key: &str, kind: Kind) -> String {
        match kind {
            Kind::UnknownField(_, allowed) => {
                let hint = self.nearest(key).map_or_else(String::new, |near| format!("did you mean {near}? "));
                format!("there is no such key; {hint}allowed here: {}", allowed.join(", "))
            }
            Kind::UnknownVariant(found, allowed) => format!("found {found:?}, allowed: {}", allowed.join(", ")),
            Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
                format!("found {}, expected {}", found(key, &actual), plain_words(&expected))
            }
            Kind::ISizeOutOfRange(number) => format!("found {number}, which is too large"),
            Kind::USizeOutOfRange(number) => format!("found {number}, which is too large"),
            other => other.to_string(),
        }
    }

    /// The key that was perhaps meant: the same name in another section, or one that differs by a few letters.
    fn nearest(&self, key: &str) -> Option<String> {
        let mut segments = key.split('.');
        let stream = segments.next().filter(|section| *section == STREAMS).and_then(|_| segments.next());
        let keys: Vec<_> = self.keys.iter().map(|known| known.replace(ANY_NAME, stream.unwrap_or(ANY_NAME))).collect();
        let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
        let elsewhere = keys.iter().find(|known| last(known) == last(key));
        let similar = || {
            let distance = |known: &&String| strsim::damerau_levenshtein(known, key);
            keys.iter().min_by_key(distance).filter(|known| distance(known) <= 3)
        };
        elsewhere.or_else(similar).cloned()
    }
}

/// The part of `key` that ends with the segment `name`.
fn up_to(key: &str, name: &str) -> String {
    let mut taken = Vec::new();
    for segment in key.split('.') {
        taken.push(segment);
        if segment == name {
            break;
        }
    }
    taken.join(".")
}

/// What was found, in a reader's words, and nothing of a secret.
fn found(key: &str, actual: &Actual) -> String {
    let secret = key == "admin.token";
    match actual {
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a section".to_owned(),
        _ if secret => "something else".to_owned(),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        Actual::Str(text) => format!("the text {text:?}"),
        other => other.to_string(),
    }
}

/// Serde's names of Rust's types, in a reader's words.
fn plain_words(expected: &str) -> &str {
    match expected {
        "usize" | "u64" => "a whole number, 0 or more",
        "u32" => "a whole number, 0 to 4294967295",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string" => "text",
        "path string" => "a path",
        "a sequence" => "a list of texts",
        "a map" => "a section for each",
        other => other,
    }
}
