//! Issuers whose keys come from a JWKS URL: fetched over https at the start, before they grow old, and when a token names
//! a key that is not there.
//!
//! When to fetch is for [`JwksCache`](carillon_access::identity::JwksCache) to say, and what a document means for
//! [`Jwks`](carillon_access::identity::Jwks); here is what does it. Old keys are kept for as long as the source is down:
//! an issuer that cannot be reached must not lock out everybody who has a good token. How old they are is a metric.
//!
//! It follows no redirect, uses no proxy, and shows no certificate. It never waits for an issuer before something else
//! happens: a broker starts without the keys, and lets the tokens in question in as soon as they have come.
//!
//! Start with [`Fetchers`], which has one task for each issuer and knows what a reload means; then `keeper`, which is
//! such a task, and `fetch`, which is one request.

mod error;
mod fetch;
mod fetchers;
mod in_force;
mod keeper;
mod source;
mod url;

pub(super) use self::{fetch::fetch, source::read};
pub use self::{fetchers::Fetchers, source::JwksSource};

#[cfg(test)]
mod tests;
