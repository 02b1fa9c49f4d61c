//! Whether values make sense: each in its range, and all together.

use std::{net::SocketAddr, time::Duration};

use carillon_listener::{
    proxies::{Proxies, ProxyProtocol},
    settings::{Deadlines, Limits, Origins},
};
use carillon_metrics::{Label, QuotaName};
use figment::Figment;
use tracing_subscriber::EnvFilter;

use super::{Access, Admin, ClientCertificates, Config, DEV_ORIGIN, Problem, QuotasSection, check_streams};

const MIB: usize = 1 << 20;
/// What a publication needs in a WebSocket message besides its payload: topic, id, framing.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;
/// What a queue counts for a message besides its bytes.
pub(super) const QUEUE_OVERHEAD_BYTES: usize = 1024;
/// How far the last reply may go beyond `limits.reply_bytes`.
const REPLY_OVERSHOOT_BYTES: usize = 4 << 10;
/// A day; anything longer is a slip of the pen.
const LONGEST_DEADLINE: Duration = Duration::from_hours(24);
/// More would be felt by whoever looks at what is delivered.
const LONGEST_BATCH: Duration = Duration::from_secs(1);
/// Proxies are in networks of somebody's own, of which 10.0.0.0/8 is the largest.
const SHORTEST_IPV4_PREFIX: u8 = 8;
/// The same for IPv6, where it is `fc00::/7`.
const SHORTEST_IPV6_PREFIX: u8 = 7;
/// Shorter ones can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Every problem with the values, in the order of the example file.
pub(super) fn check(config: &Config, figment: &Figment, dev: bool) -> Vec<Problem> {
    let mut checker = Checker { figment, problems: Vec::new() };
    check_listen(&mut checker, config, dev);
    check_tls(&mut checker, config);
    check_admin(&mut checker, &config.admin, config.listen.address, dev);
    check_proxies(&mut checker, &config.proxies);
    check_origins(&mut checker, &config.origins);
    check_limits(&mut checker, &config.limits);
    check_quotas(&mut checker, &config.quotas, &config.limits);
    check_deadlines(&mut checker, &config.deadlines);
    check_streams::check(&mut checker, config);
    if let Err(error) = EnvFilter::builder().parse(&config.log.level) {
        checker.fail(
            "log.level",
            format!("{error}; allowed: off, error, warn, info, debug, trace, or a list as in \"info,carillon_listener=debug\""),
        );
    }
    check_access(&mut checker, &config.access);
    checker.problems
}

/// Every problem with `[access]` alone, for commands that need nothing else.
pub(super) fn check_access_alone(access: &Access, figment: &Figment) -> Vec<Problem> {
    let mut checker = Checker { figment, problems: Vec::new() };
    check_access(&mut checker, access);
    checker.problems
}

pub(super) struct Checker<'a> {
    figment: &'a Figment,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Where the value of a key comes from.
    fn origin(&self, key: &str) -> String {
        self.figment.find_metadata(key).map_or_else(|| "default".to_owned(), |found| found.name.to_string())
    }

    pub(super) fn fail(&mut self, key: &str, message: String) {
        self.fail_from(key, key, message);
    }

    /// For a key without a value, because of another one that has one.
    pub(super) fn fail_from(&mut self, key: &str, because_of: &str, message: String) {
        let origin = self.origin(because_of);
        self.problems.push(Problem::new(key.to_owned(), origin, message));
    }

    pub(super) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    pub(super) fn require(&mut self, key: &str, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.fail(key, message());
        }
    }

    pub(super) fn range(&mut self, key: &str, value: usize, least: usize, most: usize) {
        self.require(key, (least..=most).contains(&value), || format!("found {value}, allowed: {least} to {most}"));
    }
}

fn check_listen(checker: &mut Checker<'_>, config: &Config, dev: bool) {
    let listen = &config.listen;
    checker.require("listen.address", !dev || listen.address.ip().is_loopback(), || {
        format!(
            "--dev lets everybody in who reaches the address, so it listens on loopback only, and {} is not. To serve \
             other machines, leave --dev out and configure a certificate",
            listen.address
        )
    });
    checker.range("listen.shards", listen.shards.count(), 1, 1024);
    checker.range("listen.backlog", listen.backlog as usize, 1, 65_535);
}

fn check_tls(checker: &mut Checker<'_>, config: &Config) {
    let missing = "is needed, because nothing is served without TLS; certs-example/ shows how to get certificates, and \
                   `carillon serve --dev` makes its own";
    checker.require("tls.certificate", config.tls.certificate.is_some(), || format!("a PEM file {missing}"));
    checker.require("tls.key", config.tls.key.is_some(), || format!("a PEM file {missing}"));
    let is_off = config.tls.client_certificates == ClientCertificates::Off;
    checker.require("tls.client_ca", is_off || config.tls.client_ca.is_some(), || {
        "it is needed, because tls.client_certificates is not \"off\": a PEM file with the authorities that issue client \
         certificates"
            .to_owned()
    });
    // Whoever writes these believes that clients are looked at.
    let unused = "it does nothing while tls.client_certificates is \"off\"; set that to \"required\" or \"optional\"";
    checker.require("tls.client_ca", !is_off || config.tls.client_ca.is_none(), || unused.to_owned());
    checker.require("tls.client_crls", !is_off || config.tls.client_crls.is_empty(), || unused.to_owned());
}

fn check_admin(checker: &mut Checker<'_>, admin: &Admin, listen: SocketAddr, dev: bool) {
    let loopback = admin.address.ip().is_loopback();
    checker.require("admin.address", !dev || loopback, || {
        format!("with --dev it must be on loopback, and {} is not", admin.address)
    });
    checker.require("admin.address", admin.address != listen || listen.port() == 0, || {
        format!("{listen} is where clients connect (listen.address); operators need an address of their own")
    });
    match (&admin.certificate, &admin.key) {
        (Some(_), None) => checker.fail("admin.key", "it is needed with admin.certificate".to_owned()),
        (None, Some(_)) => checker.fail("admin.certificate", "it is needed with admin.key".to_owned()),
        (None, None) if !loopback => checker.fail(
            "admin.certificate",
            format!(
                "admin.certificate and admin.key are needed, because admin.address {} is not on loopback",
                admin.address
            ),
        ),
        _ => {}
    }
    match (&admin.token, &admin.token_file) {
        (Some(_), Some(_)) => {
            checker.fail("admin.token_file", "only one of admin.token and admin.token_file may be set".to_owned());
        }
        (None, None) if !loopback => checker.fail(
            "admin.token",
            format!(
                "admin.token or admin.token_file is needed, because admin.address {} is not on loopback",
                admin.address
            ),
        ),
        _ => {}
    }
    if let Some(token) = &admin.token
        && let Err(message) = check_token(token.expose())
    {
        checker.fail("admin.token", message);
    }
}

/// Whether a token is one that can be sent and that cannot be guessed. The error does not show it.
pub(crate) fn check_token(token: &str) -> Result<(), String> {
    if token.len() < MIN_TOKEN_BYTES {
        return Err(format!("the token is shorter than {MIN_TOKEN_BYTES} characters and could be guessed"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token may hold visible ASCII characters only, and no blanks".to_owned());
    }
    Ok(())
}

fn check_proxies(checker: &mut Checker<'_>, proxies: &Proxies) {
    let is_believed = proxies.protocol != ProxyProtocol::None;
    checker.require("proxies.trusted", is_believed || proxies.trusted.is_empty(), || {
        "proxies are listed, and with proxies.protocol = \"none\" nothing that they say of their clients is believed; set \
         proxies.protocol to the one that they speak, or leave the list empty"
            .to_owned()
    });
    checker.require("proxies.trusted", !is_believed || !proxies.trusted.is_empty(), || {
        "nobody would be believed; list the addresses that the proxies connect from, such as [\"10.0.0.0/8\"], or set \
         proxies.protocol to \"none\""
            .to_owned()
    });
    for network in &proxies.trusted {
        let shortest = if network.is_ipv4() { SHORTEST_IPV4_PREFIX } else { SHORTEST_IPV6_PREFIX };
        checker.require("proxies.trusted", network.prefix() >= shortest, || {
            format!(
                "found {:?}, allowed: prefixes of at least {shortest} bits. Whoever is in a listed network can claim any \
                 address, and so have the quotas, and the blame, of anybody; list the proxies alone",
                network.to_string()
            )
        });
    }
}

fn check_origins(checker: &mut Checker<'_>, origins: &Origins) {
    let lets_a_page_in = !origins.allowed.is_empty() || origins.allow_loopback;
    checker.require("origins.require", !origins.require || lets_a_page_in, || {
        "nobody could connect: whoever sends no origin is refused, and no origin is let in; list some in origins.allowed"
            .to_owned()
    });
}

fn check_limits(checker: &mut Checker<'_>, limits: &Limits) {
    checker.range("limits.max_payload_bytes", limits.max_payload_bytes, 1, 64 * MIB);
    let least_message = limits.max_payload_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES);
    checker.require("limits.max_message_bytes", limits.max_message_bytes >= least_message, || {
        format!(
            "found {}, allowed: at least {least_message}, which is limits.max_payload_bytes and {MESSAGE_OVERHEAD_BYTES} \
             for what goes with a payload",
            limits.max_message_bytes
        )
    });
    checker.range("limits.max_subscriptions", limits.max_subscriptions, 1, 10_000_000);
    checker.range("limits.max_wildcards", limits.max_wildcards, 0, 16);
    checker.range("limits.outbox_messages", limits.outbox_messages, 1, 100_000_000);
    checker.range("limits.reply_bytes", limits.reply_bytes, 4 << 10, 1 << 30);
    let most_replies = limits.max_message_bytes.saturating_sub(REPLY_OVERSHOOT_BYTES);
    checker.require("limits.reply_bytes", limits.reply_bytes <= most_replies, || {
        format!(
            "found {}, allowed: at most {most_replies}, because replies leave together in one message of at most \
             limits.max_message_bytes, and the last one may go over by {REPLY_OVERSHOOT_BYTES}",
            limits.reply_bytes
        )
    });
    let least = limits.max_message_bytes.saturating_add(QUEUE_OVERHEAD_BYTES);
    for (key, value) in
        [("limits.outbox_bytes", limits.outbox_bytes), ("limits.shard_queue_bytes", limits.shard_queue_bytes)]
    {
        checker.require(key, value >= least, || {
            format!(
                "found {value}, allowed: at least {least}, which is limits.max_message_bytes and {QUEUE_OVERHEAD_BYTES}: \
                 the largest message must fit"
            )
        });
    }
    checker.range("limits.max_http_head_bytes", limits.max_http_head_bytes, 8 << 10, MIB);
    checker.range("limits.quota_entries", limits.quota_entries as usize, 1, 100_000_000);
}

fn check_quotas(checker: &mut Checker<'_>, quotas: &QuotasSection, limits: &Limits) {
    for name in &quotas.report_only {
        let is_known = QuotaName::ALL.iter().any(|known| known.name() == name);
        checker.require("quotas.report_only", is_known, || {
            let known: Vec<_> = QuotaName::ALL.iter().map(|name| name.name()).collect();
            format!("found {name:?}, which is no quota; there are {}", known.join(", "))
        });
    }
    for (key, pace) in quotas.paces() {
        if let Err(error) = pace.check() {
            checker.fail(key, error);
        }
        let is_of_bytes = key.rsplit('.').next() == Some("bytes");
        let is_too_small = is_of_bytes && pace.per_second > 0 && pace.burst() < limits.max_payload_bytes as u64;
        checker.require(key, !is_too_small, || {
            format!(
                "the burst is {}, allowed: at least {}, which is limits.max_payload_bytes: the largest publication must \
                 fit",
                pace.burst(),
                limits.max_payload_bytes
            )
        });
    }
    let queued = quotas.broker.queued_bytes;
    checker.require("quotas.broker.queued_bytes", queued == 0 || queued >= limits.outbox_bytes as u64, || {
        format!(
            "found {queued}, allowed: 0, which is no quota, or at least {}, which is limits.outbox_bytes: one slow reader \
             must have room",
            limits.outbox_bytes
        )
    });
}

fn check_deadlines(checker: &mut Checker<'_>, deadlines: &Deadlines) {
    let positive = [
        ("deadlines.tls_handshake_seconds", deadlines.tls_handshake),
        ("deadlines.http_head_seconds", deadlines.http_head),
        ("deadlines.connect_seconds", deadlines.connect),
        ("deadlines.write_seconds", deadlines.write),
        ("deadlines.heartbeat_seconds", deadlines.heartbeat),
        ("deadlines.drain_seconds", deadlines.drain),
    ];
    for (key, duration) in positive {
        checker.require(key, duration > Duration::ZERO && duration <= LONGEST_DEADLINE, || {
            format!("found {}, allowed: more than 0, up to 86400", duration.as_secs_f64())
        });
    }
    checker.require("deadlines.return_spread_seconds", deadlines.return_spread <= LONGEST_DEADLINE, || {
        format!("found {}, allowed: 0 to 86400", deadlines.return_spread.as_secs_f64())
    });
    checker.require("deadlines.batch_seconds", deadlines.batch <= LONGEST_BATCH, || {
        format!(
            "found {}, allowed: 0, with which no delivery waits for another, to 1; every delivery of a busy shard may be so \
             much later",
            deadlines.batch.as_secs_f64()
        )
    });
}

fn check_access(checker: &mut Checker<'_>, access: &Access) {
    checker.require("access.file", access.anonymous || access.file.is_some(), || {
        "nobody could connect. Name a file that says whose tokens and which services are let in, and what they may do \
         (deploy/access.example.toml is one); or set access.anonymous to true, and give everybody who reaches the address \
         the access.anonymous_roles; to try the broker on this machine, use `carillon serve --dev`"
            .to_owned()
    });
    let roles = &access.anonymous_roles;
    checker.require("access.anonymous_roles", !access.anonymous || !roles.is_empty(), || {
        "access.anonymous lets everybody in, and without a role they could do nothing; name a role of access.file"
            .to_owned()
    });
    // What `--dev` gives is built in.
    if checker.origin("access.anonymous_roles") == DEV_ORIGIN {
        return;
    }
    for role in roles.iter().filter(|role| role.starts_with('$')) {
        checker.fail("access.anonymous_roles", format!("found {role:?}; no role of access.file starts with `$`"));
    }
    checker.require("access.file", !access.anonymous || roles.is_empty() || access.file.is_some(), || {
        format!("it is needed, because access.anonymous_roles names roles ({}), which stand there", roles.join(", "))
    });
}
