//! Mosquitto with a WebSocket listener.

use std::{
    fs,
    io::{self, Error},
    process::Command,
};

use carillon_benches::server::{Running, free_ports};

use super::{PASSWORD, Part, TOPICS, USER};
use crate::site::Site;

pub(crate) const PROGRAM: &str = "/usr/sbin/mosquitto";
const HASHER: &str = "/usr/bin/mosquitto_passwd";
pub(crate) const PARTS: [Part; 2] =
    [Part { file: PROGRAM, package: "mosquitto" }, Part { file: HASHER, package: "mosquitto" }];

pub(crate) fn start(site: &Site) -> io::Result<Running> {
    let [port, plain] = free_ports()?;
    let (passwords, acl) = (site.files.path("mosquitto-passwords"), site.files.path("mosquitto-acl"));
    let hashed = Command::new(HASHER).args(["-b", "-c"]).arg(&passwords).args([USER, PASSWORD]).output()?;
    if !hashed.status.success() {
        return Err(Error::other(String::from_utf8_lossy(&hashed.stderr).into_owned()));
    }
    fs::write(&acl, format!("user {USER}\ntopic readwrite {TOPICS}/#\n"))?;
    // The plain listener is not used, but without one this version takes its WebSocket listener for none and ends. No bound
    // on what waits for a subscriber, so that nothing is dropped; nothing is kept on disk.
    let config = format!(
        "per_listener_settings false
allow_anonymous false
password_file {}
acl_file {}
persistence false
max_queued_messages 0
set_tcp_nodelay true
log_dest stderr
log_type error
user root
listener {plain} 127.0.0.1
listener {port} 127.0.0.1
protocol websockets
certfile {}
keyfile {}
ciphers_tls1.3 TLS_AES_128_GCM_SHA256
",
        passwords.display(),
        acl.display(),
        site.files.certificate().display(),
        site.files.key().display(),
    );
    let path = site.files.path("mosquitto.conf");
    fs::write(&path, config)?;
    Running::start(Command::new(PROGRAM).arg("-c").arg(&path), port, &site.files.path("mosquitto.log"))
}
