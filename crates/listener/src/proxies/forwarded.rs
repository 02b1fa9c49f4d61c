//! The client's address out of `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! Both are lists to which each proxy appends the address that it was connected from. Whatever the client itself wrote
//! stands to the left of what the first proxy appended. So the list is read from the right, for as long as those who
//! wrote it are trusted: from the first address that is not, everything further left is that client's word. The list is
//! not even taken apart there, so nothing that a client writes, such as a quote that is not closed, changes how the rest
//! is read.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{GetAll, HeaderValue};

/// Proxies behind one another. Nobody has as many; a longer list is one that goes round in circles.
const MAX_HOPS: usize = 32;

/// The client's address: the first that is not trusted, of `peer` and then of `entries`, which are from right to left.
///
/// An entry that tells no address (malformed, `unknown`, obfuscated) ends the walk, and so does the list's end. Then it
/// is the proxy that wrote this entry or none: the last address that a trusted proxy vouched for, and nothing that
/// somebody else could have chosen.
pub(super) fn client(
    peer: IpAddr,
    is_trusted: impl Fn(IpAddr) -> bool,
    entries: impl Iterator<Item = Option<IpAddr>>,
) -> IpAddr {
    let mut hop = peer;
    for entry in entries.take(MAX_HOPS) {
        if !is_trusted(hop) {
            break;
        }
        match entry {
            Some(address) => hop = address,
            None => break,
        }
    }
    hop
}

/// What `X-Forwarded-For` tells, from right to left. Several headers are one list.
pub(super) fn x_forwarded_for(values: GetAll<'_, HeaderValue>) -> impl Iterator<Item = Option<IpAddr>> {
    values.into_iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')).map(|entry| {
        let entry = std::str::from_utf8(entry).ok()?.trim_matches(BLANKS);
        // Here IPv6 comes without brackets, unless it has a port.
        entry.parse::<Ipv6Addr>().ok().map(|address| address.to_canonical()).or_else(|| node(entry))
    })
}

/// What `for` says in each element of `Forwarded`, from right to left. Several headers are one list.
pub(super) fn forwarded(values: GetAll<'_, HeaderValue>) -> impl Iterator<Item = Option<IpAddr>> {
    values.into_iter().rev().flat_map(|value| Elements { rest: Some(value.as_bytes()) }).map(|element| {
        let element = element?;
        for_parameter(std::str::from_utf8(element).ok()?).and_then(|value| node(&value))
    })
}

/// HTTP's white space (RFC 9110, section 5.6.3).
const BLANKS: [char; 2] = [' ', '\t'];

/// The elements of a list whose values may be quoted, from right to left. `None` is one that cannot be told from what
/// stands left of it.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let mut is_quoted = false;
        let mut before = rest;
        while let Some((byte, left)) = before.split_last() {
            match byte {
                b'"' if !is_quoted => is_quoted = true,
                b'"' => is_quoted = is_escaped(left),
                b',' if !is_quoted => {
                    self.rest = Some(left);
                    return Some(rest.get(before.len()..));
                }
                _ => {}
            }
            before = left;
        }
        Some((!is_quoted).then_some(rest))
    }
}

/// Whether what follows in a quoted string is escaped: by an odd number of backslashes.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The value of the one parameter `for` of an element (RFC 7239, section 4), without its quotes.
fn for_parameter(element: &str) -> Option<String> {
    let mut found = None;
    let mut rest = element.trim_matches(BLANKS);
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = parameter_value(behind)?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
        rest = match behind.strip_prefix(';') {
            Some(next) => next.trim_start_matches(BLANKS),
            None if behind.is_empty() => behind,
            None => return None,
        };
    }
    found
}

/// Takes a token or a quoted string apart from what follows it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        let (value, behind) = text.split_at_checked(end)?;
        return (!value.contains(['"', '='])).then(|| (value.trim_end_matches(BLANKS).to_owned(), behind));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str().trim_start_matches(BLANKS))),
            '\\' => value.push(chars.next()?),
            char => value.push(char),
        }
    }
}

/// The address of a node (RFC 7239, section 6), with or without a port. `unknown` and obfuscated names have none, and
/// neither has IPv6 without brackets: its port could be taken for its end.
fn node(text: &str) -> Option<IpAddr> {
    let (address, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        (IpAddr::V6(address.parse().ok()?), port)
    } else {
        let (address, port) = text.split_at_checked(text.find(':').unwrap_or(text.len()))?;
        (IpAddr::V4(address.parse().ok()?), port)
    };
    let has_port = || port.strip_prefix(':').is_some_and(is_port);
    (port.is_empty() || has_port()).then(|| address.to_canonical())
}

/// A number, or an obfuscated name (RFC 7239, section 6).
fn is_port(text: &str) -> bool {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    is_number || text.strip_prefix('_').is_some_and(is_name)
}

#[cfg(test)]
mod tests;
