//! Printing what is in a token.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carillon_access::identity::{Credential, TokenError, limits::MAX_TOKEN_BYTES};
use carillon_listener::gate::Refused;
use serde_json::{Map, Value};

use crate::{
    access::{NotAdmitted, now_s},
    commands::{
        EXIT_FAILURE, EXIT_USAGE,
        check_access::{EXIT_DENIED, describe, load_access, presented},
        fail,
    },
    config::Secret,
};

/// Which token, and whether it is to be verified.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The token [default: standard input, where other users cannot see it]
    #[arg(default_value = "-", hide_default_value = true, value_parser = crate::commands::secret())]
    token: Secret,
    /// Also tell whether the broker with this configuration takes it; if not, the exit status is 3. Keys that are at a URL
    /// are fetched; if they cannot be, it is 1
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let token = match presented(&args.token) {
        Ok(token) => token,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    match shown(token.expose()) {
        Ok(text) => println!("{text}"),
        Err(error) if args.config.is_none() => return fail(EXIT_USAGE, &error),
        Err(error) => println!("{error}"),
    }
    let Some(config) = &args.config else {
        println!("not verified: anybody could have written this; --config FILE verifies it");
        return ExitCode::SUCCESS;
    };
    let mut access = match load_access(config) {
        Ok(access) => access,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    if let Err(error) = access.fetch_keys_for(Some(token.expose()), now_s()) {
        return fail(EXIT_FAILURE, &error);
    }
    let admitted = access.identify(Some(token.expose()), now_s()).and_then(|identity| {
        access.admit(&identity)?;
        Ok(identity)
    });
    match admitted {
        Ok(identity) => {
            println!("verified: {}", describe(&identity));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("refused: {error}");
            if let NotAdmitted::Refused(Refused::Token(TokenError::UnknownIssuer { known, .. })) = &error {
                println!("the access file has: {known}");
            }
            ExitCode::from(EXIT_DENIED)
        }
    }
}

/// Header and claims, as JSON that is safe to look at.
fn shown(token: &str) -> Result<String, &'static str> {
    if let Credential::ApiKey(_) = Credential::of(token) {
        return Err("this is an API key; there is nothing in it to read");
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("this is longer than any token that a broker reads");
    }
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else {
        return Err("this is not a signed JWT: it does not have three parts with dots between them");
    };
    let header = pretty(header).ok_or("this is not a signed JWT: its header is not a JSON object in base64url")?;
    let claims = pretty(claims).ok_or("this is not a signed JWT: its payload is not a JSON object in base64url")?;
    Ok(format!("header: {header}\nclaims: {claims}"))
}

fn pretty(part: &str) -> Option<String> {
    let object: Map<String, Value> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    let text = serde_json::to_string_pretty(&object).ok()?;
    Some(text.chars().fold(String::new(), |mut safe, char| {
        if char != '\n' && moves_the_terminal(char) {
            // Writing to a text cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(char));
        } else {
            safe.push(char);
        }
        safe
    }))
}

/// Control characters, and those that hide text or turn its direction. All are below 0x10000.
fn moves_the_terminal(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        format!("{}.{}.c2lnbmF0dXJl", part(r#"{"alg":"ES256"}"#), part(claims))
    }

    #[test]
    fn header_and_claims_are_shown_and_the_signature_is_not() {
        let text = shown(&token(r#"{"sub":"alice"}"#)).unwrap();
        assert!(text.contains("\"alg\": \"ES256\"") && text.contains("\"sub\": \"alice\""), "{text}");
        assert!(!text.contains("c2lnbmF0dXJl") && !text.contains("signature"), "{text}");
    }

    #[test]
    fn what_moves_the_terminal_is_escaped() {
        let text = shown(&token("{\"sub\":\"a\u{9b}31m\u{202e}b\\u001b\"}")).unwrap();
        assert!(text.contains(r#""a\u009b31m\u202eb\u001b""#), "{text}");
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        for (wrong, told) in [
            ("ck_id_secret", "an API key"),
            ("secret", "three parts"),
            ("a.b.c.secret", "three parts"),
            ("secret.e30.c", "its header"),
            ("e30.secret.c", "its payload"),
        ] {
            let error = shown(wrong).unwrap_err();
            assert!(error.contains(told) && !error.contains("secret"), "{error}");
        }
        assert!(shown(&token(&format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_TOKEN_BYTES)))).is_err());
    }
}
