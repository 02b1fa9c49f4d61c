//! API keys: credentials of services, made by Carillon, of which the configuration holds only a hash.
//!
//! A key is printed as `ck_<id>_<secret>`: the id names it in configuration and logs, the secret is 32 random bytes in
//! base64url. The configuration holds the SHA-256 of the whole printed key. A fast hash is the right one here: slow
//! hashes (Argon2, bcrypt) make up for passwords that people choose and others can guess, and 256 random bits cannot
//! be guessed at any speed; a slow hash would only let strangers keep the broker busy.
//!
//! Each service has one or two keys, so that a new one can be handed out before the old one goes: add the new one's
//! hash, move the service to it, take the old one away or let it expire.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use super::secret::Secret;

/// What every API key starts with, and no token does.
pub const PREFIX: &str = "ck_";
/// How many keys a service may have at once.
pub const MAX_KEYS_OF_A_SERVICE: usize = 2;
/// The random bytes in a key.
pub const SECRET_BYTES: usize = 32;
/// The most characters of a key's id.
pub const MAX_ID_CHARS: usize = 32;

