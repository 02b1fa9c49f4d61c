//! What stands behind the `?` of a URL: `name=value`, joined by `&`, with other bytes than letters, digits and `-._~` as `%`
//! and two hexadecimal digits. The admin listener reads it, and the commands that ask it write it.

use std::fmt::Write as _;

/// The pairs of a query. What nobody takes is refused, so that a slip of the pen never asks for something else.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Takes a query apart.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not NAME=VALUE"))?;
            let value = decode(value).ok_or_else(|| format!("the value of {name:?} is not percent-encoded UTF-8"))?;
            if pairs.iter().any(|(known, _)| known == name) {
                return Err(format!("{name:?} is given twice"));
            }
            pairs.push((name.to_owned(), value));
        }
        Ok(Self { pairs })
    }

    /// Takes a value out.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(known, _)| known == name)?;
        Some(self.pairs.swap_remove(index).1)
    }

    /// Takes a number out, at least `least`.
    pub(crate) fn take_number(&mut self, name: &str, least: u64) -> Result<Option<u64>, String> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number >= least);
        number.map(Some).ok_or_else(|| format!("{name}={text:?}: a whole number is needed, {least} or more"))
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self, known: &str) -> Result<(), String> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("{name:?} means nothing here; known: {known}")),
        }
    }
}

/// A value as it stands in a query.
pub(crate) fn encode(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    decoded.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = str::from_utf8(digits).ok().filter(|_| is_hex)?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend(rest);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_to_the_same() {
        for text in ["", "orders.>", "a b&c=d%20", "grün\u{0}", "*", "%"] {
            let encoded = encode(text);
            assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#>\"".contains(&byte)), "{encoded}");
            let mut query = Query::parse(&format!("value={encoded}")).unwrap();
            assert_eq!(query.take("value").as_deref(), Some(text));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["a", "a=%", "a=%4", "a=%+1", "a=%ff", "a=%g0", "a=1&a=2"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
        let mut query = Query::parse("from=0&befor=1&limit=-1&last=many").unwrap();
        for name in ["from", "limit", "last"] {
            assert!(query.take_number(name, 1).unwrap_err().contains(name));
        }
        assert!(query.finish("before").unwrap_err().contains("befor"));
    }

    #[test]
    fn nothing_is_asked_for_by_nothing() {
        for text in ["", "&", "&&"] {
            let mut query = Query::parse(text).unwrap();
            assert_eq!(query.take_number("from", 1), Ok(None));
            assert_eq!(query.finish("from"), Ok(()));
        }
    }
}
