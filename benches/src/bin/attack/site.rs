//! The broker's files: certificates, keys, access, configuration, and the credentials of those who come.

use std::{
    fs,
    io::{self, Error},
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tempfile::TempDir;

use crate::settings::Settings;

const ISSUER: &str = "https://login.example.com";
/// What the pair publishes.
pub(crate) const PAIR_TOPIC: &str = "pair.clock";

const ACCESS: &str = r#"
[roles.pair]
publish.allow = ["pair.>"]
subscribe.allow = ["pair.>"]

# Attackers have credentials too: their tokens are good, and they may subscribe to what the pair says.
[roles.attacker]
publish.allow = ["attack.>"]
subscribe.allow = ["attack.>", "pair.>"]

[[issuers]]
issuer = "https://login.example.com"
algorithms = ["ES256"]
audiences = ["carillon"]
key_files = ["login.pem"]
"#;

/// A folder with all of it, which is taken away at the end.
pub(crate) struct Site {
    home: TempDir,
    carillon: PathBuf,
}

/// What people show at the door.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    /// The pair's, good.
    pub(crate) pair: String,
    /// The attackers', good.
    pub(crate) attacker: String,
    /// Well formed, and signed by somebody whom the broker does not know.
    pub(crate) forged_token: String,
    /// The id of a key that there is, with another secret.
    pub(crate) forged_key: String,
}

impl Site {
    /// Makes the files with the command itself.
    pub(crate) fn make(carillon: &Path, settings: &Settings) -> io::Result<Self> {
        let site = Self { home: tempfile::tempdir()?, carillon: carillon.to_owned() };
        let home = site.home.path();
        ask(carillon, &["certs", "dev", "--out", &text(home)])?;
        for name in ["login", "forger"] {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::other)?;
            write_secret(&home.join(format!("{name}-key.pem")), &pair.serialize_pem())?;
            fs::write(home.join(format!("{name}.pem")), pair.public_key_pem())?;
        }
        let (key, hash) = api_key(carillon)?;
        let service = format!("{ACCESS}\n[[services]]\nname = \"clock\"\nroles = [\"pair\"]\n{hash}\n");
        fs::write(home.join("access.toml"), service)?;
        fs::write(site.config(), settings.config(home))?;
        site.mint("pair", "pair", "pair", "login")?;
        site.mint("forged-token", "pair", "pair", "forger")?;
        write_secret(&home.join("forged-key"), &with_other_secret(&key))?;
        Ok(site)
    }

    /// Mints what the attackers of one attack show: each has an identity of its own, so that no attack has used up what
    /// another is allowed.
    pub(crate) fn let_in(&self, attack: &str) -> io::Result<()> {
        self.mint("attacker", &format!("mallory-{attack}"), "attacker", "login")
    }

    fn mint(&self, file: &str, subject: &str, role: &str, signer: &str) -> io::Result<()> {
        let key = text(&self.home.path().join(format!("{signer}-key.pem")));
        let who = ["--issuer", ISSUER, "--audience", "carillon", "--sub", subject, "--role", role];
        let how = ["--expires-in", "1d", "--algorithm", "ES256", "--key", &key];
        let token = ask(&self.carillon, &[&["token", "mint"], &who[..], &how].concat())?;
        write_secret(&self.home.path().join(file), &token)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    /// The broker's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("carillon.toml")
    }
}

impl Credentials {
    /// Those of a site.
    pub(crate) fn read(site: &Path) -> io::Result<Self> {
        let read = |name: &str| fs::read_to_string(site.join(name)).map(|text| text.trim().to_owned());
        Ok(Self {
            pair: read("pair")?,
            // There is none before the first attack.
            attacker: read("attacker").unwrap_or_default(),
            forged_token: read("forged-token")?,
            forged_key: read("forged-key")?,
        })
    }
}

/// The authority of a site's certificate.
pub(crate) fn authority(site: &Path) -> PathBuf {
    site.join("ca.pem")
}

/// A service's key, and the line for the access file.
fn api_key(carillon: &Path) -> io::Result<(String, String)> {
    let told = ask(carillon, &["key", "new", "--id", "clock-1"])?;
    let key = told.split_whitespace().find(|word| word.starts_with("ck_"));
    let hash = told.lines().find_map(|line| line.get(line.find("keys = ")?..));
    match (key, hash) {
        (Some(key), Some(hash)) => Ok((key.to_owned(), hash.to_owned())),
        _ => Err(Error::other("`carillon key new` printed no key with its hash")),
    }
}

/// The same key with the first character of its secret replaced.
fn with_other_secret(key: &str) -> String {
    let mut parts = key.splitn(3, '_');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(id), Some(secret)) => {
            let first = if secret.starts_with('A') { 'B' } else { 'A' };
            format!("{scheme}_{id}_{first}{}", secret.get(1..).unwrap_or_default())
        }
        _ => key.to_owned(),
    }
}

fn ask(carillon: &Path, args: &[&str]) -> io::Result<String> {
    let output = Command::new(carillon)
        .args(args)
        .output()
        .map_err(|error| Error::other(format!("{} does not start: {error}", carillon.display())))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let told = String::from_utf8_lossy(&output.stderr);
        Err(Error::other(format!("`carillon {}` failed: {told}", args.first().unwrap_or(&""))))
    }
}

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
