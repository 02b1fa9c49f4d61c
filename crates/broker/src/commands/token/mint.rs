//! Signing a token.

use std::{fmt::Write, path::PathBuf, process::ExitCode, time::Duration};

use carillon_access::identity::{Algorithm, KeyKind, limits::MAX_TOKEN_BYTES};
use carillon_wire::PatternBuf;
use jsonwebtoken::{EncodingKey, Header};
use rand::{TryRngCore, rngs::OsRng};
use serde_json::{Map, Value, json};

use crate::{
    access::{now_s, read_signing_key},
    commands::{EXIT_FAILURE, EXIT_USAGE, claim, complain, fail, pattern},
};

/// Claims that have a flag of their own, or that this command sets.
const SET_OTHERWISE: [&str; 8] = ["iss", "sub", "aud", "exp", "iat", "nbf", "roles", "carillon"];
const TOKEN_ID_BYTES: usize = 16;

/// What is to be in the token.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Who says that it signed: `issuer` in the access file
    #[arg(long, value_name = "ISSUER")]
    issuer: String,
    /// Who it is for: one of `audiences` in the access file
    #[arg(long, value_name = "AUDIENCE", required = true)]
    audience: Vec<String>,
    /// Who it is about
    #[arg(long, value_name = "SUBJECT")]
    sub: String,
    /// A role; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// How long it is good, such as 90s, 15m, 1h or 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    expires_in: Duration,
    /// File with what signs: a private key in PEM, or for HS256 the secret
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What it signs by
    #[arg(long, value_name = "HS256|RS256|PS256|ES256|EdDSA")]
    algorithm: Algorithm,
    /// The id of the key, where the issuer's keys have ids
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// A further claim; may be given several times. `jti`, which is random otherwise, is what a revocation names
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = further_claim)]
    claims: Vec<(String, String)>,
    /// Narrow what it may publish to; may be given several times, as the next three
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    publish: Vec<PatternBuf>,
    /// Narrow what it may subscribe to
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    subscribe: Vec<PatternBuf>,
    /// Narrow whose stored messages it may read
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    history: Vec<PatternBuf>,
    /// Narrow whose presence it may see
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    presence: Vec<PatternBuf>,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|unit: char| !unit.is_ascii_digit());
    let unit_s = match text.get(digits.len()..).unwrap_or_default() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("a number and its unit are needed: s, m, h or d, as in 15m".to_owned()),
    };
    let count: u32 = digits.parse().map_err(|_| "a whole number is needed before the unit, as in 15m".to_owned())?;
    if count == 0 {
        return Err("a token that is good for no time is of no use".to_owned());
    }
    Ok(Duration::from_secs(u64::from(count) * unit_s))
}

fn further_claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = claim(text)?;
    if SET_OTHERWISE.contains(&name.as_str()) {
        return Err(format!("`{name}` is set in another way; see the other flags"));
    }
    Ok((name, value))
}

pub(super) fn run(args: &Args) -> ExitCode {
    let mut random = [0; TOKEN_ID_BYTES];
    if let Err(error) = OsRng.try_fill_bytes(&mut random) {
        return fail(EXIT_FAILURE, &format_args!("the operating system gives no random bytes: {error}"));
    }
    match sign(args, &args.claims(now_s(), &random)) {
        Ok(token) => {
            if token.len() > MAX_TOKEN_BYTES {
                let length = token.len();
                complain(&format_args!(
                    "the token has {length} bytes, and no broker reads more than {MAX_TOKEN_BYTES}"
                ));
            }
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(EXIT_USAGE, &error),
    }
}

fn sign(args: &Args, claims: &Map<String, Value>) -> Result<String, String> {
    let algorithm = args.algorithm;
    let content = read_signing_key(&args.key, algorithm)?;
    let unusable = || {
        format!(
            "{} does not sign by {algorithm}: it needs {}",
            args.key.display(),
            match algorithm.key_kind() {
                KeyKind::Secret => "a secret",
                KeyKind::Rsa =>
                    "an RSA private key in PEM (`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072`)",
                KeyKind::P256 =>
                    "a P-256 private key in PKCS#8 PEM (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`)",
                KeyKind::Ed25519 => "an Ed25519 private key in PKCS#8 PEM (`openssl genpkey -algorithm ED25519`)",
            }
        )
    };
    let key = match algorithm.key_kind() {
        KeyKind::Secret => Ok(EncodingKey::from_secret(content.expose())),
        KeyKind::Rsa => EncodingKey::from_rsa_pem(content.expose()),
        KeyKind::P256 => EncodingKey::from_ec_pem(content.expose()),
        KeyKind::Ed25519 => EncodingKey::from_ed_pem(content.expose()),
    };
    let library_algorithm = algorithm.name().parse().map_err(|_| unusable())?;
    let header = Header { kid: args.kid.clone(), ..Header::new(library_algorithm) };
    jsonwebtoken::encode(&header, claims, &key.map_err(|_| unusable())?).map_err(|_| unusable())
}

impl Args {
    fn claims(&self, now_s: u64, random: &[u8]) -> Map<String, Value> {
        let audience = match self.audience.as_slice() {
            [only] => json!(only),
            several => json!(several),
        };
        let token_id = random.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a text cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let mut claims = Map::from_iter([
            ("iss".to_owned(), json!(self.issuer)),
            ("sub".to_owned(), json!(self.sub)),
            ("aud".to_owned(), audience),
            ("iat".to_owned(), json!(now_s)),
            ("exp".to_owned(), json!(now_s + self.expires_in.as_secs())),
            ("jti".to_owned(), json!(token_id)),
            ("roles".to_owned(), json!(self.roles)),
        ]);
        claims.extend(self.claims.iter().map(|(name, value)| (name.clone(), json!(value))));
        let own = [
            ("publish", &self.publish),
            ("subscribe", &self.subscribe),
            ("history", &self.history),
            ("presence", &self.presence),
        ];
        let own: Map<_, _> = own
            .into_iter()
            .filter(|(_, patterns)| !patterns.is_empty())
            .map(|(operation, patterns)| {
                let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.as_pattern().as_str()).collect();
                (operation.to_owned(), json!(patterns))
            })
            .collect();
        if !own.is_empty() {
            claims.insert("carillon".to_owned(), Value::Object(own));
        }
        claims
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(more: &[&str]) -> Result<Args, clap::Error> {
        let least =
            ["mint", "--issuer", "i", "--audience", "a", "--sub", "s", "--key", "k.pem", "--algorithm", "ES256"];
        Line::try_parse_from([&least, more].concat()).map(|line| line.args)
    }

    #[test]
    fn claims_are_what_the_flags_say() {
        let args = ["--role", "web", "--role", "ops", "--claim", "tenant=n=1", "--publish", "a.>", "--publish", "b"];
        let claims = parsed(&[&args[..], &["--expires-in", "2m"]].concat()).unwrap().claims(1_000, &[0, 255]);
        let expected = json!({
            "iss": "i", "sub": "s", "aud": "a", "iat": 1_000, "exp": 1_120, "jti": "00ff", "roles": ["web", "ops"],
            "tenant": "n=1", "carillon": { "publish": ["a.>", "b"] },
        });
        assert_eq!(Value::Object(claims), expected);
    }

    #[test]
    fn token_id_can_be_chosen_and_other_claims_of_flags_cannot() {
        let claims = parsed(&["--claim", "jti=mine"]).unwrap().claims(0, &[1]);
        assert_eq!(claims["jti"], "mine");
        assert!(!claims.contains_key("carillon"));
        for name in SET_OTHERWISE {
            assert!(parsed(&["--claim", &format!("{name}=x")]).is_err(), "{name}");
        }
        for wrong in [["--claim", "x"], ["--claim", "=x"], ["--publish", "a..b"], ["--algorithm", "none"]] {
            assert!(parsed(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lifetimes_have_a_unit() {
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(lifetime("15m"), Ok(Duration::from_mins(15)));
        assert_eq!(lifetime("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(lifetime("7d"), Ok(Duration::from_hours(7 * 24)));
        for wrong in ["", "5", "h", "0s", "-1h", "1.5h", "1w", "1 h", "99999999999d"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
