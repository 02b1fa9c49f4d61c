//! The configuration's sections, their keys and their defaults. `deploy/carillon.example.toml` says what each does.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, thread, time::Duration};

use carillon_listener::{
    origin::OriginPattern,
    proxies::{Cidr, Proxies, ProxyProtocol},
    settings::{Deadlines, Limits, Origins},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    lists,
    quotas::QuotasSection,
    streams::{StoreSection, StreamSections},
};

/// All that an operator can set, with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "sections and keys")]
pub struct Config {
    /// Where the broker keeps what it writes to disk.
    pub data_dir: Option<PathBuf>,
    /// Where clients connect.
    pub listen: Listen,
    /// Certificate and key for clients.
    pub tls: Tls,
    /// Where operators ask.
    pub admin: Admin,
    /// Whose word is taken for a client's address.
    #[serde(with = "ProxiesKeys")]
    pub proxies: Proxies,
    /// Which web pages may connect.
    #[serde(with = "OriginsKeys")]
    pub origins: Origins,
    /// How many and how large.
    #[serde(with = "LimitsKeys")]
    pub limits: Limits,
    /// How much.
    pub quotas: QuotasSection,
    /// How long.
    #[serde(with = "DeadlinesKeys")]
    pub deadlines: Deadlines,
    /// The log that keeps the streams on disk, and the memory for writing and reading streams.
    pub store: StoreSection,
    /// What is kept, by the streams' names.
    pub streams: StreamSections,
    /// What the log says, and how.
    pub log: Log,
    /// Who may connect.
    pub access: Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            listen: Listen::default(),
            tls: Tls::default(),
            admin: Admin {
                address: SocketAddr::from(([127, 0, 0, 1], 8444)),
                certificate: None,
                key: None,
                token: None,
                token_file: None,
            },
            proxies: Proxies::default(),
            origins: Origins::default(),
            limits: Limits::default(),
            quotas: QuotasSection::default(),
            deadlines: Deadlines::default(),
            store: StoreSection::default(),
            streams: StreamSections::new(),
            log: Log { format: LogFormat::Auto, level: "info".to_owned() },
            access: Access::default(),
        }
    }
}

/// `[listen]`: where clients connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [listen]")]
pub struct Listen {
    /// Address and port for wss.
    #[serde(with = "address")]
    pub address: SocketAddr,
    /// Threads that serve connections.
    pub shards: Shards,
    /// The kernel's queue of connections that are not yet accepted.
    pub backlog: u32,
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 8443)), shards: Shards::Auto, backlog: 1024 }
    }
}

/// How many threads serve connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// One for each core that this process may use.
    Auto,
    /// This many.
    Count(usize),
}

impl Shards {
    /// The number of shards, at least 1 unless 0 was asked for.
    pub fn count(self) -> usize {
        match self {
            Self::Auto => thread::available_parallelism().map_or(1, NonZeroUsize::get),
            Self::Count(count) => count,
        }
    }
}

impl Serialize for Shards {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => count.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Shards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Shards;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a whole number from 1 to 1024")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Shards, E> {
                if text == "auto" {
                    return Ok(Shards::Auto);
                }
                Err(E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Shards, E> {
                let count = usize::try_from(number).ok();
                count.map(Shards::Count).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Shards, E> {
                let count = usize::try_from(number).ok();
                count.map(Shards::Count).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `[tls]`: certificate and key for clients, and whether they must show one too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [tls]")]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// PEM file with the authorities that issue them.
    pub client_ca: Option<PathBuf>,
    /// PEM files with the authorities' revocation lists.
    pub client_crls: Vec<PathBuf>,
}

/// Whether clients are asked for certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not.
    #[default]
    Off,
    /// They are, and may have none.
    Optional,
    /// Who has none is refused.
    Required,
}

/// `[admin]`: where operators ask for metrics and health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [admin]")]
pub struct Admin {
    /// Address and port.
    #[serde(with = "address")]
    pub address: SocketAddr,
    /// PEM file with the certificate and its chain; with it the listener speaks TLS.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
    /// The token that every request must carry.
    pub token: Option<Secret>,
    /// A file that holds the token instead.
    pub token_file: Option<PathBuf>,
}

/// `[log]`: what the log says, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [log]")]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines there are, such as `info` or `info,carillon_listener=debug`.
    pub level: String,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text where standard error is a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// `[access]`: who may connect, and where it stands what they may do. [`crate::access`] reads the files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [access]")]
pub struct Access {
    /// The access file: roles, issuers of tokens, services.
    pub file: Option<PathBuf>,
    /// The list of revocations.
    pub revocations: Option<PathBuf>,
    /// Whether clients may connect without credentials.
    pub anonymous: bool,
    /// The roles of those who do, out of the access file; with `--dev` it is [`DEV_ROLE`] unless others are configured.
    pub anonymous_roles: Vec<String>,
}

/// The built-in role that may do everything. Only `--dev` gives it; no file can name it, and no token.
pub const DEV_ROLE: &str = "$dev";

/// Text that no log and no error may show.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes what must stay hidden.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}

// The keys of the listener's own settings. A field that is added there does not compile here until it has a key.

#[derive(Serialize, Deserialize)]
#[serde(remote = "Proxies", deny_unknown_fields, expecting = "a section, [proxies]")]
struct ProxiesKeys {
    #[serde(with = "lists")]
    trusted: Vec<Cidr>,
    #[serde(with = "ProxyProtocolNames")]
    protocol: ProxyProtocol,
}

#[derive(Serialize, Deserialize)]
#[serde(
    remote = "ProxyProtocol",
    rename_all = "kebab-case",
    expecting = "the name of a protocol, such as \"proxy-v2\""
)]
enum ProxyProtocolNames {
    None,
    XForwardedFor,
    Forwarded,
    ProxyV2,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Origins", deny_unknown_fields, expecting = "a section, [origins]")]
struct OriginsKeys {
    #[serde(with = "lists")]
    allowed: Vec<OriginPattern>,
    allow_loopback: bool,
    require: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Limits", deny_unknown_fields, expecting = "a section, [limits]")]
struct LimitsKeys {
    max_payload_bytes: usize,
    max_message_bytes: usize,
    max_subscriptions: usize,
    max_wildcards: usize,
    outbox_bytes: usize,
    outbox_messages: usize,
    reply_bytes: usize,
    shard_queue_bytes: usize,
    max_http_head_bytes: usize,
    quota_entries: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Deadlines", deny_unknown_fields, expecting = "a section, [deadlines]")]
struct DeadlinesKeys {
    #[serde(rename = "tls_handshake_seconds", with = "seconds")]
    tls_handshake: Duration,
    #[serde(rename = "http_head_seconds", with = "seconds")]
    http_head: Duration,
    #[serde(rename = "connect_seconds", with = "seconds")]
    connect: Duration,
    #[serde(rename = "write_seconds", with = "seconds")]
    write: Duration,
    #[serde(rename = "heartbeat_seconds", with = "seconds")]
    heartbeat: Duration,
    #[serde(rename = "drain_seconds", with = "seconds")]
    drain: Duration,
    #[serde(rename = "return_spread_seconds", with = "seconds")]
    return_spread: Duration,
    #[serde(rename = "batch_seconds", with = "seconds")]
    batch: Duration,
}

/// Durations as numbers of seconds, fractions included.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        duration.as_secs_f64().serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| de::Error::invalid_value(de::Unexpected::Float(seconds), &"a number of seconds, 0 or more"))
    }
}

/// Addresses as text.
mod address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
        address.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"an IP address and a port, such as \"127.0.0.1:8443\" or \"[::]:8443\"",
            )
        })
    }
}
