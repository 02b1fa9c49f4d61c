//! Files with keys: public ones in PEM, shared secrets as they are.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use carillon_access::identity::{Algorithm, Jwks, Key, KeyKind, Secret, limits::MAX_DOCUMENT_BYTES};

use super::report::{OTHERS_READ, Report, has_mode};

/// No key needs more.
const MAX_KEY_FILE_BYTES: usize = 64 << 10;

/// Reads a public key, or a shared secret where the issuer signs with one.
pub(super) fn read(path: &Path, algorithms: &[Algorithm], report: &mut Report) -> Result<Key, String> {
    let content = read_at_most(path, MAX_KEY_FILE_BYTES).map_err(|error| unreadable(path, &error))?;
    report.warn_if_others_may_write(path);
    let has_secrets = algorithms.contains(&Algorithm::Hs256);
    let only_secrets = algorithms.iter().all(|algorithm| algorithm.key_kind() == KeyKind::Secret);
    let is_secret = has_secrets && (only_secrets || !is_pem(content.expose()));
    let key = if is_secret {
        warn_if_others_may_read(path, report);
        Key::from_secret(None, &as_secret(&content))
    } else {
        Key::from_pem(None, content.expose())
    };
    key.map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads the keys of a JWKS document, and warns of those that cannot be used.
pub(super) fn read_jwks(path: &Path, report: &mut Report) -> Result<Vec<Key>, String> {
    let content = read_at_most(path, MAX_DOCUMENT_BYTES).map_err(|error| unreadable(path, &error))?;
    report.warn_if_others_may_write(path);
    let jwks = Jwks::parse(content.expose()).map_err(|error| format!("{}: {error}", path.display()))?;
    for skipped in &jwks.skipped {
        report.warn(format!("{} holds what is not used: {skipped}", path.display()));
    }
    Ok(jwks.keys)
}

/// Reads what signs tokens.
pub(super) fn read_signing(path: &Path, algorithm: Algorithm) -> Result<Secret, String> {
    let content = read_at_most(path, MAX_KEY_FILE_BYTES).map_err(|error| unreadable(path, &error))?;
    if algorithm.key_kind() != KeyKind::Secret {
        return Ok(content);
    }
    let secret = as_secret(&content);
    // Refuses what no broker would take.
    Key::from_secret(None, &secret).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(secret)
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

/// The buffer does not grow while it is read, so that no copy of a secret stays behind.
fn read_at_most(path: &Path, max_bytes: usize) -> io::Result<Secret> {
    let file = File::open(path)?;
    let mut content = Vec::with_capacity(max_bytes + 1);
    file.take(max_bytes as u64 + 1).read_to_end(&mut content)?;
    let content = Secret::new(content);
    if content.expose().len() > max_bytes {
        return Err(io::Error::other(format!("it has more than {max_bytes} bytes, and so is no key")));
    }
    Ok(content)
}

/// A text editor ends the last line, which is no part of a secret that is text. Random bytes may end in a line break of
/// their own.
fn as_secret(content: &Secret) -> Secret {
    let bytes = content.expose();
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    match line {
        Some(line) if line.iter().all(|byte| matches!(byte, b' '..=b'~')) => Secret::new(line),
        _ => content.clone(),
    }
}

fn is_pem(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    bytes.windows(BEGIN.len()).any(|window| window == BEGIN)
}

/// Whoever can read a shared secret can sign tokens. A public key is for everybody.
fn warn_if_others_may_read(path: &Path, report: &mut Report) {
    if has_mode(path, OTHERS_READ) {
        report.warn(format!(
            "the secret in {} can be read by every user of this machine, who could sign tokens with it; chmod o-r it, \
             and replace it if that was so for long",
            path.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_line_break_is_no_part_of_a_secret_that_is_text() {
        let of = |bytes: &[u8]| as_secret(&Secret::new(bytes)).expose().to_owned();
        assert_eq!(of(b"secret"), b"secret");
        assert_eq!(of(b"secret\n"), b"secret");
        assert_eq!(of(b"secret\r\n"), b"secret");
        assert_eq!(of(b"two\nlines\n"), b"two\nlines\n");
        assert_eq!(of(b"\x80\x01random\n"), b"\x80\x01random\n");
    }
}
