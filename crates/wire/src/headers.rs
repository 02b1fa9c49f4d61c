//! Headers: what a publisher says about a payload, passed on unread.

use std::collections::BTreeMap;

use rmp::decode;

use crate::scan;

/// Headers of a message, borrowed in their MessagePack form: a map from strings to strings. The broker
/// passes the bytes on as they are.
///
/// ```
/// use carillon_wire::headers::{Headers, HeadersBuf};
///
/// let owned = HeadersBuf::from_iter([("content-type", "application/json")]);
/// assert_eq!(owned.as_headers().iter().next(), Some(("content-type", "application/json")));
/// assert!(Headers::EMPTY.is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// No headers.
    pub const EMPTY: Self = Self(&[]);

    /// Checks that the bytes are one MessagePack map from strings to strings.
    pub fn from_msgpack(map: &'a [u8]) -> Result<Self, HeadersError> {
        if !matches!(map.first(), Some(0x80..=0x8f | 0xde | 0xdf)) || scan::value_len(map) != Ok(map.len()) {
            return Err(HeadersError::NotAMap);
        }
        let mut rest = map;
        let count = decode::read_map_len(&mut rest).map_err(|_| HeadersError::NotAMap)?;
        for _ in 0..count {
            if read_str(&mut rest).is_none() || read_str(&mut rest).is_none() {
                return Err(HeadersError::NotStrings);
            }
        }
        Ok(if count == 0 { Self::EMPTY } else { Self(map) })
    }

    /// The MessagePack map; no bytes at all when there are no headers.
    pub const fn as_msgpack(self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The pairs in the order in which they were sent.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        let _ = decode::read_map_len(&mut rest);
        std::iter::from_fn(move || Some((read_str(&mut rest)?, read_str(&mut rest)?)))
    }

    /// The value of the first pair with this key.
    pub fn get(self, key: &str) -> Option<&'a str> {
        self.iter().find_map(|(name, value)| (name == key).then_some(value))
    }
}

fn read_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = decode::read_str_len(rest).ok()?;
    std::str::from_utf8(rest.split_off(..usize::try_from(length).ok()?)?).ok()
}

/// Headers, owned, for those who publish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeadersBuf(Vec<u8>);

impl HeadersBuf {
    /// The headers, borrowed.
    pub fn as_headers(&self) -> Headers<'_> {
        Headers(&self.0)
    }
}

impl From<Headers<'_>> for HeadersBuf {
    fn from(headers: Headers<'_>) -> Self {
        Self(headers.0.to_vec())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for HeadersBuf {
    /// Of pairs with the same key the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: BTreeMap<String, String> =
            pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        if pairs.is_empty() {
            return Self::default();
        }
        // A map of strings always has a MessagePack form, so this cannot fail.
        Self(rmp_serde::to_vec(&pairs).unwrap_or_default())
    }
}

/// Why bytes are not headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadersError {
    /// Not one MessagePack map.
    #[error("headers must be one MessagePack map")]
    NotAMap,
    /// A key or a value that is not a string in UTF-8.
    #[error("every key and every value must be a string in valid UTF-8")]
    NotStrings,
}
