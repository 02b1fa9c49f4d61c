//! Bytes that nobody may read by accident.

use std::fmt;

use zeroize::Zeroizing;

/// Secret bytes: the shared secret of an issuer, an API key as its holder presents it. Its `Debug` prints nothing of
/// it, it has no `Display`, and its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes as they are: what reads them from a file also takes a final line break off.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for those who must have them. Whoever calls it keeps them out of logs, errors and metrics.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_a_secret() {
        let secret = Secret::new(b"0123456789".to_vec());

        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret Secret");
        assert_eq!(secret.expose(), b"0123456789");
    }
}
