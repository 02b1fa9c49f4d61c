//! Lists of texts that each mean something. All that mean nothing are told at once.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serializer, de};

pub(super) fn serialize<T: Display, S: Serializer>(items: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(T::to_string))
}

pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    for text in Vec::<String>::deserialize(deserializer)? {
        match text.parse() {
            Ok(item) => items.push(item),
            Err(error) => errors.push(T::Err::to_string(&error)),
        }
    }
    if errors.is_empty() { Ok(items) } else { Err(de::Error::custom(errors.join("; "))) }
}
