//! Who is connected: what every way to prove an identity comes down to.

use std::{collections::BTreeMap, fmt, sync::Arc};

use carillon_wire::PatternBuf;

/// Who is connected, however that was proved.
///
/// A plain value: whoever makes one has proved what it says. Times are whole seconds since 1970-01-01 UTC, as tokens
/// and certificates write them.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The one name that permissions, quotas and revocations know it by.
    pub subject: String,
    /// How it was proved.
    pub source: Source,
    /// The names of its roles. What they allow is added up; what one of them denies is denied.
    pub roles: Vec<String>,
    /// The string claims that a permission's templates may name, by claim. `sub` is never looked up here: `{sub}` is
    /// [`Identity::subject`].
    pub claims: BTreeMap<String, String>,
    /// The patterns that a token carries itself. They only take away from what its roles allow.
    pub own: Option<OwnPatterns>,
    /// What a revocation may name a token by: its `jti`.
    pub token_id: Option<String>,
    /// When the token was issued.
    pub issued_at_s: Option<u64>,
    /// When the identity ends, and with it the connection.
    pub expires_at_s: Option<u64>,
}

impl Identity {
    /// What its quotas are kept under, and what a refresh must not change. Two issuers may give the same subject to
    /// different people, so the subject alone would not do; both keys of a service are one service.
    pub fn key(&self) -> IdentityKey {
        let source = match &self.source {
            Source::Anonymous => KeySource::Anonymous,
            Source::Token { issuer } => KeySource::Token { issuer: issuer.as_str().into() },
            Source::ApiKey { .. } => KeySource::Service,
            Source::Certificate => KeySource::Certificate,
        };
        IdentityKey { source, subject: self.subject.as_str().into() }
    }
}

/// Tells identities apart, through a new token as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    source: KeySource,
    subject: Arc<str>,
}

/// As much of a [`Source`] as tells identities apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum KeySource {
    Anonymous,
    Token { issuer: Arc<str> },
    Service,
    Certificate,
}

/// Shows who and how, and leaves out claims and the token's id, because either may say more than a log should keep.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.subject)
            .field("source", &self.source)
            .field("roles", &self.roles)
            .field("issued_at_s", &self.issued_at_s)
            .field("expires_at_s", &self.expires_at_s)
            .finish_non_exhaustive()
    }
}

/// How an identity was proved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Not at all.
    Anonymous,
    /// By a signed token.
    Token {
        /// The `iss` of the token, one of the configured issuers.
        issuer: String,
    },
    /// By a service's key.
    ApiKey {
        /// The key's name in the configuration; not the key.
        name: String,
    },
    /// By a client certificate.
    Certificate,
}

/// The patterns that a token carries itself, for each operation. `None` leaves what the roles allow as it is, an empty
/// list leaves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnPatterns {
    /// What it may publish to.
    pub publish: Option<Vec<PatternBuf>>,
    /// What it may subscribe to.
    pub subscribe: Option<Vec<PatternBuf>>,
    /// Whose stored messages it may read.
    pub history: Option<Vec<PatternBuf>>,
    /// Whose presence it may see.
    pub presence: Option<Vec<PatternBuf>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(subject: &str, source: Source) -> IdentityKey {
        let identity = Identity {
            subject: subject.to_owned(),
            source,
            roles: Vec::new(),
            claims: BTreeMap::new(),
            own: None,
            token_id: None,
            issued_at_s: None,
            expires_at_s: None,
        };
        identity.key()
    }

    #[test]
    fn identities_are_told_apart_by_who_says_so_and_a_services_keys_are_not() {
        let token = |issuer: &str| Source::Token { issuer: issuer.to_owned() };
        let api_key = |name: &str| Source::ApiKey { name: name.to_owned() };
        assert_eq!(key("a", api_key("old")), key("a", api_key("new")));
        assert_eq!(key("a", token("x")), key("a", token("x")));
        let all = [
            key("a", token("x")),
            key("a", token("y")),
            key("b", token("x")),
            key("a", api_key("x")),
            key("a", Source::Certificate),
            key("a", Source::Anonymous),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other != one), "{one:?}");
        }
    }
}
