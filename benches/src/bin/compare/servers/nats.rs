//! nats-server with a WebSocket listener.

use std::{fs, io, process::Command};

use carillon_benches::server::{Running, free_ports};

use super::{PASSWORD, Part, TOPICS, USER};
use crate::site::Site;

pub(crate) const PROGRAM: &str = "/usr/sbin/nats-server";
pub(crate) const PARTS: [Part; 1] = [Part { file: PROGRAM, package: "nats-server" }];

/// It has as many threads that run Go as the processors that it may use: one here.
pub(crate) fn start(site: &Site) -> io::Result<Running> {
    let [port, plain] = free_ports()?;
    let (certificate, key) = (site.files.certificate(), site.files.key());
    let (certificate, key) = (certificate.display(), key.display());
    // No compression for each connection; room for what a subscriber has not read, and time, so that none is cut off for
    // being slow. A password in clear costs it nothing to compare; a hash would.
    let config = format!(
        "listen: \"127.0.0.1:{plain}\"
write_deadline: \"60s\"
max_pending: 1073741824
max_connections: 20000
websocket {{
  listen: \"127.0.0.1:{port}\"
  compression: false
  handshake_timeout: \"60s\"
  tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", curve_preferences: [\"X25519\"], timeout: 60 }}
}}
authorization {{
  timeout: 60
  users = [ {{
    user: {USER:?}, password: {PASSWORD:?}
    permissions: {{ publish: {{ allow: [\"{TOPICS}.>\"] }}, subscribe: {{ allow: [\"{TOPICS}.>\"] }} }}
  }} ]
}}
"
    );
    let path = site.files.path("nats.conf");
    fs::write(&path, config)?;
    Running::start(Command::new(PROGRAM).arg("-c").arg(&path), port, &site.files.path("nats.log"))
}
