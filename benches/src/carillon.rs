//! Carillon as it is measured: with everything on that a production broker needs.

use std::{
    fs,
    io::{self, Error},
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;

use crate::{
    server::{Running, first_line, free_ports},
    site::{Site, write_secret},
};

/// Who is let in, and the role.
pub const USER: &str = "bench";
/// What the topics of all works begin with, and all that the user may do.
pub const TOPICS: &str = "bench";
const ISSUER: &str = "https://login.example.com";
const AUDIENCE: &str = "carillon";
const OWN_TOKENS_LAST: Duration = Duration::from_hours(24);

/// What differs between brokers that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Threads that serve connections.
    pub shards: usize,
    /// Subscriptions of one connection at most, and of all together where these are more than the default.
    pub subscriptions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { shards: 1, subscriptions: 1000 }
    }
}

/// Who may do what, out of the token's role; and how much, for each client and for all of one name.
fn access() -> String {
    format!(
        "[roles.{USER}]
publish.allow = [\"{TOPICS}.>\"]
publish.deny = [\"{TOPICS}.private.>\"]
subscribe.allow = [\"{TOPICS}.>\"]
subscribe.deny = [\"{TOPICS}.private.>\"]
[[issuers]]
issuer = {ISSUER:?}
algorithms = [\"ES256\"]
audiences = [{AUDIENCE:?}]
key_files = [\"login.pem\"]
"
    )
}

/// Starts it on the processors that this thread is on: TLS, tokens, permissions, quotas at every level, metrics, heartbeats.
pub fn start(site: &Site, settings: &Settings) -> io::Result<Running> {
    let [port, admin] = free_ports()?;
    fs::write(site.path("access.toml"), access())?;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::other)?;
    write_secret(&site.path("login-key.pem"), &pair.serialize_pem())?;
    fs::write(site.path("login.pem"), pair.public_key_pem())?;
    write_secret(&site.path("token"), &mint(&site.carillon, &site.path("login-key.pem"))?)?;
    let path = site.path("carillon.toml");
    fs::write(&path, config(site, settings, port, admin))?;
    let mut command = Command::new(&site.carillon);
    Running::start(command.args(["serve", "--config"]).arg(&path), port, &site.path("carillon.log"))
}

fn config(site: &Site, settings: &Settings, port: u16, admin: u16) -> String {
    let subscriptions = settings.subscriptions;
    // All of a connection's may be asked for at once; where they are few, the quotas are those of a broker in production.
    let max_subscriptions = subscriptions.max(10_000);
    let (all_subscriptions, address_subscriptions) = (subscriptions.max(100_000), subscriptions.max(500_000));
    let (requests, requests_at_once) = (subscriptions.max(20_000), subscriptions.max(100_000));
    format!(
        "[listen]
address = \"127.0.0.1:{port}\"
shards = {}
[admin]
address = \"127.0.0.1:{admin}\"
[tls]
certificate = \"{}\"
key = \"{}\"
[access]
file = \"{}\"
[limits]
max_subscriptions = {max_subscriptions}
outbox_bytes = 67108864
outbox_messages = 1000000
[quotas.connection]
subscriptions = {subscriptions}
payload_bytes = 1048576
requests = {{ per_second = {requests}, burst = {requests_at_once} }}
[quotas.identity]
connections = 30000
subscriptions = {all_subscriptions}
publications = {{ per_second = 200000, burst = 200000 }}
bytes = {{ per_second = 268435456, burst = 268435456 }}
requests = {{ per_second = {requests}, burst = {requests_at_once} }}
[quotas.address]
subscriptions = {address_subscriptions}
publications = {{ per_second = 200000, burst = 200000 }}
bytes = {{ per_second = 268435456, burst = 268435456 }}
requests = {{ per_second = {requests}, burst = {requests_at_once} }}
[log]
format = \"json\"
",
        settings.shards,
        site.certificate().display(),
        site.key().display(),
        site.path("access.toml").display(),
    )
}

/// What its clients show.
pub fn token(site: &Site) -> io::Result<String> {
    Ok(fs::read_to_string(site.path("token"))?.trim().to_owned())
}

/// Which version it says it is.
pub fn version(site: &Site) -> String {
    first_line(Command::new(&site.carillon).arg("--version"))
}

/// So many of them, each for a subject of its own.
pub fn own_tokens(site: &Site, count: usize) -> io::Result<Vec<String>> {
    let key = EncodingKey::from_ec_pem(&fs::read(site.path("login-key.pem"))?).map_err(Error::other)?;
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::other)? + OWN_TOKENS_LAST;
    let token = |number| {
        let claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": format!("{USER}-{number}"),
            "roles": [USER],
            "exp": expires.as_secs(),
        });
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).map_err(Error::other)
    };
    (0..count).map(token).collect()
}

fn mint(carillon: &Path, key: &Path) -> io::Result<String> {
    let who = ["--issuer", ISSUER, "--audience", AUDIENCE, "--sub", USER, "--role", USER];
    let how = ["--expires-in", "1d", "--algorithm", "ES256"];
    let minted = Command::new(carillon).args(["token", "mint"]).args(who).args(how).arg("--key").arg(key).output();
    let minted = minted.map_err(|error| Error::other(format!("{} does not start: {error}", carillon.display())))?;
    if minted.status.success() {
        Ok(String::from_utf8_lossy(&minted.stdout).into_owned())
    } else {
        Err(Error::other(format!("`carillon token mint` failed: {}", String::from_utf8_lossy(&minted.stderr))))
    }
}

#[cfg(test)]
mod tests {
    use figment::{
        Figment,
        providers::{Format, Toml},
    };

    use super::*;

    #[test]
    fn its_files_are_toml() {
        let site = Site::make("carillon-benches-", Path::new("carillon")).unwrap();
        let of_many = Settings { shards: 2, subscriptions: 1_000_000 };
        for settings in [Settings::default(), of_many] {
            for text in [config(&site, &settings, 1, 2), access()] {
                let read = Figment::from(Toml::string(&text)).extract::<serde_json::Value>();
                assert!(read.is_ok(), "{text}{}", read.unwrap_err());
            }
        }
    }
}
