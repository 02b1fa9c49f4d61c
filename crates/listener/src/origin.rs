//! Origins of web pages (RFC 6454), and the patterns by which an operator lists them.
//!
//! An origin is compared by its scheme, host and port, not as text: upper case and a port that is the scheme's own make
//! no difference. Start with [`OriginPattern`].

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Origins that may connect: one, the subdomains of a host, every page, or pages without an origin.
///
/// | pattern | lets in |
/// |---|---|
/// | `https://app.example.com` | this scheme, host and port; without a port, the scheme's own |
/// | `https://*.example.com` | one label in place of `*`: `https://app.example.com`, and neither `https://example.com` nor `https://a.b.example.com` |
/// | `*` | every page that has an origin |
/// | `null` | pages without one: sandboxed frames, local files, some redirects; anybody can make such a page |
///
/// ```
/// use carillon_listener::origin::{Origin, OriginPattern};
///
/// let pattern: OriginPattern = "https://*.example.com".parse()?;
/// let allows = |origin: &str| Origin::parse(origin).is_some_and(|origin| pattern.matches(&origin));
/// assert!(allows("https://app.example.com"));
/// assert!(!allows("https://example.com") && !allows("https://evil-example.com"));
/// # Ok::<(), carillon_listener::origin::OriginPatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern(Pattern);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(Origin),
    /// Hosts of one label more than this origin's.
    Subdomains(Origin),
}

/// What a browser sends as `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `null`: a page of which the browser tells no origin.
    Null,
    /// Where a page comes from.
    Page {
        /// In lower case.
        scheme: String,
        /// Who serves it.
        host: Host,
        /// `None` where it is the scheme's own.
        port: Option<u16>,
    },
}

/// The host of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, or an IPv4 address, in lower case.
    Name(String),
    /// An IPv6 address, without its brackets.
    Ipv6(Ipv6Addr),
}

/// Why a text is no pattern for origins. It is shown to whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginPatternError {
    /// No origin at all.
    #[error(
        "found {0:?}, expected an origin as browsers send it: scheme://host or scheme://host:port with nothing behind it, such as \"https://app.example.com\"; \"https://*.example.com\" for hosts of one label more; or \"*\" for every page"
    )]
    Malformed(String),
    /// Letters that no origin has.
    #[error(
        "found {0:?}, and browsers send names with letters beyond ASCII in their other form, which starts with xn--; a browser's console shows it as `location.origin`"
    )]
    NotAscii(String),
    /// A path behind it.
    #[error("found {found:?}, and an origin ends with its host or port: write {instead:?}")]
    Path {
        /// What was written.
        found: String,
        /// What was meant, perhaps.
        instead: String,
    },
    /// A dot behind the host.
    #[error("found {found:?}, and its host ends with a dot, which pages seldom have: write {instead:?}")]
    TrailingDot {
        /// What was written.
        found: String,
        /// What was meant, perhaps.
        instead: String,
    },
    /// `*` where it means nothing, or too much.
    #[error(
        "found {0:?}; `*` stands for one whole label at the start of a host that has two or more behind it, as in \"https://*.example.com\", or alone for every page"
    )]
    Wildcard(String),
}

impl OriginPattern {
    /// Whether pages of this origin may connect.
    pub fn matches(&self, origin: &Origin) -> bool {
        match &self.0 {
            Pattern::Any => *origin != Origin::Null,
            Pattern::Exact(listed) => listed == origin,
            Pattern::Subdomains(listed) => origin.without_first_label().is_some_and(|parent| parent == *listed),
        }
    }
}

impl Origin {
    /// Reads an `Origin` header. `None` is what no browser sends: a user name, a path, a host that is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let (scheme, authority) = text.split_once("://")?;
        let scheme_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|char: char| char.is_ascii_alphabetic()) || !scheme.bytes().all(scheme_allowed) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_port(authority)?;
        let own_port = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some(Self::Page { scheme, host: Host::parse(host)?, port: port.filter(|port| Some(*port) != own_port) })
    }

    /// Whether it is a web page that this machine serves.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Page { scheme, host, .. } => matches!(scheme.as_str(), "http" | "https") && host.is_loopback(),
            Self::Null => false,
        }
    }

    fn without_first_label(&self) -> Option<Self> {
        match self {
            Self::Page { scheme, host: Host::Name(name), port } => {
                let (_, parent) = name.split_once('.')?;
                Some(Self::Page { scheme: scheme.clone(), host: Host::Name(parent.to_owned()), port: *port })
            }
            _ => None,
        }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(bracketed) = text.strip_prefix('[') {
            return bracketed.strip_suffix(']')?.parse().ok().map(Self::Ipv6);
        }
        let label_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        // A name that is written with its final dot is another host than the one without.
        let labels = text.strip_suffix('.').unwrap_or(text).split('.');
        let is_name = labels.clone().all(|label| !label.is_empty() && label.bytes().all(label_allowed));
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) if name == "localhost" => true,
            Self::Name(name) => name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
            Self::Ipv6(address) => address.is_loopback(),
        }
    }
}

/// Host and port. `None` where the port is no number.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an IPv6 address are inside its brackets.
    let port_at = authority.rfind(':').filter(|colon| !authority.get(*colon..).is_some_and(|rest| rest.contains(']')));
    let Some((host, port)) = port_at.and_then(|colon| authority.split_at_checked(colon)) else {
        return Some((authority, None));
    };
    let port = port.get(1..)?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    Some((host, Some(port.parse().ok().filter(|_| is_number)?)))
}

impl FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<Self, OriginPatternError> {
        if text == "*" {
            return Ok(Self(Pattern::Any));
        }
        let found = || text.to_owned();
        if !text.is_ascii() {
            return Err(OriginPatternError::NotAscii(found()));
        }
        if text.contains('*') {
            let parent = text.split_once("://*.").and_then(|(scheme, parent)| {
                let listed = Origin::parse(&format!("{scheme}://{parent}"))?;
                listed.may_have_subdomains().then_some(listed)
            });
            return parent
                .map(|parent| Self(Pattern::Subdomains(parent)))
                .ok_or_else(|| OriginPatternError::Wildcard(found()));
        }
        match Origin::parse(text) {
            Some(Origin::Page { scheme, host: Host::Name(name), port }) if name.ends_with('.') => {
                let host = Host::Name(name.trim_end_matches('.').to_owned());
                let instead = Origin::Page { scheme, host, port }.to_string();
                Err(OriginPatternError::TrailingDot { found: found(), instead })
            }
            Some(origin) => Ok(Self(Pattern::Exact(origin))),
            None => Err(malformed(text)),
        }
    }
}

fn malformed(text: &str) -> OriginPatternError {
    let without_path = text.split_once("://").and_then(|(scheme, behind)| {
        let (authority, _) = behind.split_once(['/', '?', '#'])?;
        Origin::parse(&format!("{scheme}://{authority}"))
    });
    match without_path {
        Some(origin) => OriginPatternError::Path { found: text.to_owned(), instead: origin.to_string() },
        None => OriginPatternError::Malformed(text.to_owned()),
    }
}

impl Origin {
    /// Two labels or more, and no address: `*.com` would be a pattern for strangers.
    fn may_have_subdomains(&self) -> bool {
        let Self::Page { host: Host::Name(name), .. } = self else { return false };
        let (_, last) = name.rsplit_once('.').unwrap_or_default();
        !last.is_empty() && !last.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Page { scheme, host, port } = self else { return f.write_str("null") };
        match host {
            Host::Name(name) => write!(f, "{scheme}://{name}")?,
            Host::Ipv6(address) => write!(f, "{scheme}://[{address}]")?,
        }
        match port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Any => f.write_str("*"),
            Pattern::Exact(origin) => origin.fmt(f),
            Pattern::Subdomains(parent) => f.write_str(&parent.to_string().replacen("://", "://*.", 1)),
        }
    }
}

#[cfg(test)]
mod tests;
