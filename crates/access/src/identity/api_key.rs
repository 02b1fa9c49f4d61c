//! API keys: credentials of services, made by Carillon, of which the configuration holds only a hash.
//!
//! A key is printed as `ck_<id>_<secret>`: the id names it in configuration and logs, the secret is 32 random bytes in
//! base64url. The configuration holds the SHA-256 of the whole printed key. A fast hash is the right one here: slow
//! hashes (Argon2, bcrypt) make up for passwords that people choose and others can guess, and 256 random bits cannot
//! be guessed at any speed; a slow hash would only let strangers keep the broker busy.
//!
//! Each service has one or two keys, so that a new one can be handed out before the old one goes: add the new one's
//! hash, move the service to it, take the old one away or let it expire.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use super::{
    name::{NAME_FORM, is_name},
    secret::Secret,
};
use crate::subject::{Identity, Source};

/// What every API key starts with, and no token does.
pub(super) const PREFIX: &str = "ck_";
/// How many keys a service may have at once.
pub const MAX_KEYS_OF_A_SERVICE: usize = 2;
/// The random bytes in a key.
pub const SECRET_BYTES: usize = 32;
/// The most characters of a key's id.
pub const MAX_ID_CHARS: usize = 32;

/// A service that identifies itself by API keys, as configured.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, which is the identity's subject.
    pub name: String,
    /// The names of its roles.
    pub roles: Vec<String>,
    /// Its claims, for the templates of permissions.
    pub claims: BTreeMap<String, String>,
    /// Its keys: one, or two while one takes over from the other.
    pub keys: Vec<ServiceKey>,
}

/// One key of a service, as configured.
#[derive(Debug, Clone)]
pub struct ServiceKey {
    /// What it is called; no two keys share an id.
    pub id: KeyId,
    /// What the configuration holds of it.
    pub hash: KeyHash,
    /// The unix second from which it is not good any more.
    pub expires_at_s: Option<u64>,
}

/// The id of an API key: 1 to [`MAX_ID_CHARS`] of `a-z`, `0-9` and `-`. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

/// The SHA-256 of a printed API key. Written as 64 hexadecimal digits; its `Debug` prints nothing of it.
#[derive(Clone)]
pub struct KeyHash([u8; 32]);

/// The API keys of all services.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys {
    by_id: HashMap<KeyId, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    service: Arc<Service>,
    hash: KeyHash,
    expires_at_s: Option<u64>,
}

/// Makes a key: what its holder gets, which is shown once and kept nowhere, and the hash for the configuration.
/// `random` comes from the operating system's generator and is used for nothing else.
pub fn generate(id: &KeyId, random: &[u8; SECRET_BYTES]) -> (Secret, KeyHash) {
    let printed = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(random));
    let hash = KeyHash::of(&printed);
    (Secret::new(printed), hash)
}

impl ApiKeys {
    /// Takes the services of the configuration.
    pub fn new(services: Vec<Service>) -> Result<Self, ServiceError> {
        let mut by_id = HashMap::new();
        let mut names = HashSet::new();
        for service in services {
            if !is_name(&service.name) {
                return Err(ServiceError::Name(service.name));
            }
            if !names.insert(service.name.clone()) {
                return Err(ServiceError::NameTwice(service.name));
            }
            if !(1..=MAX_KEYS_OF_A_SERVICE).contains(&service.keys.len()) {
                return Err(ServiceError::KeyCount { service: service.name, count: service.keys.len() });
            }
            let service = Arc::new(service);
            for ServiceKey { id, hash, expires_at_s } in &service.keys {
                let entry = Entry { service: service.clone(), hash: hash.clone(), expires_at_s: *expires_at_s };
                if by_id.insert(id.clone(), entry).is_some() {
                    return Err(ServiceError::IdTwice(id.clone()));
                }
            }
        }
        Ok(Self { by_id })
    }

    /// Whose key `presented` is. The hash is compared in constant time, and an unknown id answers as a wrong secret
    /// does.
    pub fn verify(&self, presented: &str, now_s: u64) -> Result<Identity, ApiKeyError> {
        let id = id_of(presented).ok_or(ApiKeyError::Malformed)?;
        // Before the look-up, so that a known id takes no longer than an unknown one by the time of a hash.
        let hash = KeyHash::of(presented);
        let (id, entry) = self.by_id.get_key_value(&id).ok_or(ApiKeyError::Unknown)?;
        if !bool::from(entry.hash.0.ct_eq(&hash.0)) {
            return Err(ApiKeyError::Unknown);
        }
        if let Some(expires_at_s) = entry.expires_at_s
            && now_s >= expires_at_s
        {
            return Err(ApiKeyError::Expired { id: id.clone(), ago_s: now_s - expires_at_s });
        }
        let service = &entry.service;
        Ok(Identity {
            subject: service.name.clone(),
            source: Source::ApiKey { name: id.0.clone() },
            roles: service.roles.clone(),
            claims: service.claims.clone(),
            own: None,
            token_id: None,
            issued_at_s: None,
            expires_at_s: entry.expires_at_s,
        })
    }
}

/// The id in a presented key, if the whole has the form of one.
fn id_of(presented: &str) -> Option<KeyId> {
    let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    // The length is looked at first: what is presented may be long.
    let right_length = secret.len() == (SECRET_BYTES * 8).div_ceil(6);
    (right_length && URL_SAFE_NO_PAD.decode(secret).is_ok()).then_some(())?;
    id.parse().ok()
}

impl KeyHash {
    fn of(printed: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, printed.as_bytes()).as_ref());
        Self(bytes)
    }

    /// As the configuration has it.
    pub fn to_hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let digits = [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default());
            hex.extend(digits);
            hex
        })
    }
}

impl FromStr for KeyHash {
    type Err = HashError;

    fn from_str(hex: &str) -> Result<Self, HashError> {
        let mut bytes = [0; 32];
        // A sign would pass for a digit in `from_str_radix`.
        if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(HashError);
        }
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| HashError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| HashError)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

impl FromStr for KeyId {
    type Err = IdError;

    fn from_str(id: &str) -> Result<Self, IdError> {
        let allowed = id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if allowed && (1..=MAX_ID_CHARS).contains(&id.len()) { Ok(Self(id.to_owned())) } else { Err(IdError) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is no id of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an API key's id has 1 to {MAX_ID_CHARS} of the characters a-z, 0-9 and `-`")]
pub struct IdError;

/// What is no hash of an API key. It does not repeat what it got, which might be the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an API key's hash is its SHA-256 as 64 hexadecimal digits")]
pub struct HashError;

/// What is wrong with the configured services.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// A name that can be no subject.
    #[error("a service is called {0:?}; its name is the subject that permissions know it by, {NAME_FORM}")]
    Name(String),
    /// Two services of one name.
    #[error("two services are called {0:?}; keys of one service belong into one entry")]
    NameTwice(String),
    /// No key, or too many.
    #[error("service {service:?} has {count} keys; 1 or {MAX_KEYS_OF_A_SERVICE} are allowed, the second for rotation")]
    KeyCount {
        /// Its name.
        service: String,
        /// How many it has.
        count: usize,
    },
    /// Two keys of one id.
    #[error("two API keys have the id {0}; each key needs its own")]
    IdTwice(KeyId),
}

/// Why a presented API key proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// Not of the form that keys have.
    #[error(
        "this is not an API key: it has the form {PREFIX}<id>_<43 characters of base64url>; look whether it was cut"
    )]
    Malformed,
    /// No such id, or not its secret; which of the two is not told.
    #[error("unknown API key: it was never configured, has been taken away, or is not quoted whole")]
    Unknown,
    /// It was good once.
    #[error("API key {id} expired {ago_s} s ago; ask the broker's operator for a new one")]
    Expired {
        /// The key's id.
        id: KeyId,
        /// For how long it has been.
        ago_s: u64,
    },
}
