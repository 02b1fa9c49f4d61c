//! Carillon, with everything on that a production broker needs.

use std::{
    fs,
    io::{self, Error},
    path::Path,
    process::Command,
};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{
    TOPICS, USER,
    process::{Running, free_ports},
};
use crate::site::{Site, write_secret};

const ISSUER: &str = "https://login.example.com";
const AUDIENCE: &str = "carillon";

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

/// Starts it: TLS, tokens, permissions, quotas at every level, metrics, heartbeats, one shard.
pub(crate) fn start(site: &Site) -> io::Result<Running> {
    let [port, admin] = free_ports()?;
    fs::write(site.path("access.toml"), access())?;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::other)?;
    write_secret(&site.path("login-key.pem"), &pair.serialize_pem())?;
    fs::write(site.path("login.pem"), pair.public_key_pem())?;
    write_secret(&site.path("token"), &mint(&site.carillon, &site.path("login-key.pem"))?)?;
    let config = format!(
        "[listen]
address = \"127.0.0.1:{port}\"
shards = 1
[admin]
address = \"127.0.0.1:{admin}\"
[tls]
certificate = \"{}\"
key = \"{}\"
[access]
file = \"{}\"
[limits]
outbox_bytes = 67108864
outbox_messages = 1000000
[quotas.connection]
subscriptions = 1000
payload_bytes = 1048576
[quotas.identity]
publications = {{ per_second = 200000, burst = 200000 }}
bytes = {{ per_second = 268435456, burst = 268435456 }}
requests = {{ per_second = 20000, burst = 100000 }}
[quotas.address]
publications = {{ per_second = 200000, burst = 200000 }}
bytes = {{ per_second = 268435456, burst = 268435456 }}
requests = {{ per_second = 20000, burst = 100000 }}
[log]
format = \"json\"
",
        site.certificate().display(),
        site.key().display(),
        site.path("access.toml").display(),
    );
    let path = site.path("carillon.toml");
    fs::write(&path, config)?;
    let mut command = Command::new(&site.carillon);
    Running::start(command.args(["serve", "--config"]).arg(&path), port, &site.path("carillon.log"))
}

/// What its clients show.
pub(crate) fn token(site: &Site) -> io::Result<String> {
    Ok(fs::read_to_string(site.path("token"))?.trim().to_owned())
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
