//! Which tokens an issuer's keys were found to have signed, so that one that is shown again costs no signature again.

use std::{
    collections::HashSet,
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// So many are remembered before the ones before them are forgotten, so at most twice as many: what a table of 2^14 places
/// takes, half a megabyte.
const TOKENS_OF_A_GENERATION: usize = (1 << 14) / 8 * 7;

/// SHA-256 of a whole token. Nobody can make another token that has the same one.
type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// The tokens that one set of keys was found to have signed. It belongs to that set and goes with it, so what it answers is
/// what the keys would answer.
///
/// Nothing else is remembered: neither claims, nor who came in, nor the token. What tokens say is judged each time, by the
/// clock and the rules of that time. Those whose signature is bad leave no trace, so nobody makes it forget without tokens
/// that are good.
#[derive(Default)]
pub(super) struct VerifiedTokens(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    recent: HashSet<Fingerprint>,
    older: HashSet<Fingerprint>,
}

impl VerifiedTokens {
    /// Whether `token` is signed, which `verify` finds out where it is not known.
    pub(super) fn is_signed(&self, token: &str, verify: impl FnOnce() -> bool) -> bool {
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if self.lock().knows(&fingerprint) {
            return true;
        }
        // Nobody waits for a signature of somebody else's.
        let is_signed = verify();
        if is_signed {
            self.lock().remember(fingerprint);
        }
        is_signed
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn knows(&mut self, fingerprint: &Fingerprint) -> bool {
        if self.recent.contains(fingerprint) {
            return true;
        }
        let is_older = self.older.contains(fingerprint);
        if is_older {
            // Whoever comes again and again is not forgotten.
            self.remember(*fingerprint);
        }
        is_older
    }

    fn remember(&mut self, fingerprint: Fingerprint) {
        if self.recent.len() >= TOKENS_OF_A_GENERATION {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(fingerprint);
    }
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedTokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the signature of a good token was looked at.
    fn is_verified(tokens: &VerifiedTokens, token: &str) -> bool {
        let mut is_verified = false;
        assert!(tokens.is_signed(token, || {
            is_verified = true;
            true
        }));
        is_verified
    }

    #[test]
    fn signature_of_a_token_is_verified_once() {
        let tokens = VerifiedTokens::default();
        assert!(is_verified(&tokens, "a"));
        assert!(!is_verified(&tokens, "a"));
        assert!(is_verified(&tokens, "A"));
    }

    #[test]
    fn bad_signature_is_verified_each_time_and_leaves_no_trace() {
        let tokens = VerifiedTokens::default();
        assert!(!tokens.is_signed("a", || false));
        assert!(!tokens.is_signed("a", || false));
        assert!(is_verified(&tokens, "a"));
        assert!(tokens.is_signed("a", || false), "what keys have signed they have signed");
    }

    #[test]
    fn memory_is_bounded_and_keeps_who_comes_again() {
        let tokens = VerifiedTokens::default();
        is_verified(&tokens, "again");
        is_verified(&tokens, "once");
        for number in 0..5 * TOKENS_OF_A_GENERATION {
            is_verified(&tokens, &number.to_string());
            if number % (TOKENS_OF_A_GENERATION / 2) == 0 {
                assert!(!is_verified(&tokens, "again"));
            }
        }
        let sizes = |generations: &Generations| [generations.recent.len(), generations.older.len()];
        assert!(sizes(&tokens.lock()).into_iter().all(|tokens| tokens <= TOKENS_OF_A_GENERATION));
        assert!(is_verified(&tokens, "once"));
    }
}
