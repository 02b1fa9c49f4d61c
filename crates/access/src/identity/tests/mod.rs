//! Each file tests one way to prove an identity, or one way to break it.

mod api_keys;
mod attacks;
mod certificates;
mod claims;
mod issuers;
mod jwks;
mod jwks_cache;
mod keys;
mod revocations;
mod signer;
mod tokens;
