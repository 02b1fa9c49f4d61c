//! `carillon check-access`: what the broker with a configuration would allow, and by which rule.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use carillon_access::{Identity, Operation, Source};
use carillon_wire::{Pattern, Topic};
use clap::ValueEnum;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{EXIT_FAILURE, EXIT_USAGE, claim, fail};
use crate::{
    access::{self, KeysNotFetched, Loaded, NotAdmitted, now_s},
    config::{self, ConfigError, Secret, Sources},
};

/// The broker would not allow it.
pub(super) const EXIT_DENIED: u8 = 3;

/// More is no token.
const MAX_INPUT_BYTES: u64 = 64 << 10;

const EXIT_CODES: &str = "\
Exit status: 0 when it is allowed, 3 when it is not, 2 when the command line, the configuration or a file that it names is \
wrong, 1 when the keys of a token's issuer are at a URL and could not be fetched.

It reads the files as `carillon serve` and SIGHUP do, and asks no broker: one that runs may have read older ones. Where the \
keys of a token's issuer are at a URL, it fetches them itself, once.";

/// Who asks for what.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
#[group(skip)]
pub struct Args {
    /// TOML file with the broker's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    who: Who,
    /// With --sub: a role; may be given several times
    #[arg(long = "role", value_name = "ROLE", requires = "sub")]
    roles: Vec<String>,
    /// With --sub: a claim; may be given several times
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim, requires = "sub")]
    claims: Vec<(String, String)>,
    /// What is asked for
    #[arg(value_enum)]
    operation: OperationName,
    /// A topic; unless to publish, it may be a pattern
    name: String,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// Whoever has this token or API key; `-` reads it from standard input, where other users cannot see it
    #[arg(long, value_name = "TOKEN", value_parser = super::secret())]
    as_token: Option<Secret>,
    /// A service, with one of its API keys
    #[arg(long, value_name = "NAME")]
    as_service: Option<String>,
    /// Whoever shows the client certificate in this PEM file, if TLS takes it
    #[arg(long, value_name = "FILE")]
    as_certificate: Option<PathBuf>,
    /// Whoever has no credentials
    #[arg(long)]
    as_anonymous: bool,
    /// Whoever has a good token with this subject, and the roles and claims that are given
    #[arg(long, value_name = "SUBJECT")]
    sub: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OperationName {
    Publish,
    Subscribe,
    History,
    Presence,
}

impl From<OperationName> for Operation {
    fn from(name: OperationName) -> Self {
        match name {
            OperationName::Publish => Self::Publish,
            OperationName::Subscribe => Self::Subscribe,
            OperationName::History => Self::History,
            OperationName::Presence => Self::Presence,
        }
    }
}

/// Runs `carillon check-access`.
pub fn run(args: &Args) -> ExitCode {
    match check(args) {
        Ok(code) => code,
        Err(error @ Unanswered::Wrong(_)) => fail(EXIT_USAGE, &error),
        Err(error @ Unanswered::Keys(_)) => fail(EXIT_FAILURE, &error),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Keys(#[from] KeysNotFetched),
}

impl From<String> for Unanswered {
    fn from(wrong: String) -> Self {
        Self::Wrong(wrong)
    }
}

fn check(args: &Args) -> Result<ExitCode, Unanswered> {
    let operation = args.operation.into();
    let is_reserved = match operation {
        Operation::Publish => Topic::new(&args.name).map(Topic::is_reserved),
        _ => Ok(false),
    };
    let is_reserved = is_reserved.map_err(|error| format!("{:?} is not a topic: {error}", args.name))?;
    let pattern = Pattern::new(&args.name).map_err(|error| format!("{:?} is not a pattern: {error}", args.name))?;
    let mut access = load_access(&args.config).map_err(|error| error.to_string())?;
    let identity = match args.identity(&mut access)? {
        Ok(identity) => identity,
        Err(refused) => return Ok(not_admitted(&refused)),
    };
    println!("{}", describe(&identity));
    let permissions = match access.admit(&identity) {
        Ok(permissions) => permissions,
        Err(refused) => return Ok(not_admitted(&refused)),
    };
    if is_reserved {
        println!("denied: topics that start with `$` are the broker's own");
        return Ok(ExitCode::from(EXIT_DENIED));
    }
    let verdict = permissions.explain(operation, pattern);
    println!("{verdict}");
    Ok(if verdict.is_allowed() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DENIED) })
}

fn not_admitted(refused: &NotAdmitted) -> ExitCode {
    println!("denied: the broker would not let it in: {refused}");
    ExitCode::from(EXIT_DENIED)
}

impl Args {
    fn identity(&self, access: &mut Loaded) -> Result<Result<Identity, NotAdmitted>, Unanswered> {
        let Who { as_token, as_service, as_certificate, as_anonymous: _, sub } = &self.who;
        if let Some(path) = as_certificate {
            let certificate = CertificateDer::from_pem_file(path)
                .map_err(|error| format!("{} cannot be read as a certificate: {error}", path.display()))?;
            return Ok(access.identify_certificate(&certificate, now_s()));
        }
        if let Some(name) = as_service {
            let known: Vec<_> = access.services.iter().map(|service| format!("{:?}", service.name)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let identity = access.service_identity(name, now_s());
            let unknown = || format!("there is no service {name:?}; the access file has: {known}");
            return Ok(identity.ok_or_else(unknown)?);
        }
        if let Some(sub) = sub {
            return Ok(Ok(self.supposed(sub)));
        }
        let token = as_token.as_ref().map(presented).transpose()?;
        let presented = token.as_ref().map(Secret::expose);
        access.fetch_keys_for(presented, now_s())?;
        Ok(access.identify(presented, now_s()))
    }

    /// Somebody whose token need not exist. It was issued now, so that no revocation by age concerns it.
    fn supposed(&self, sub: &str) -> Identity {
        Identity {
            subject: sub.to_owned(),
            source: Source::Token { issuer: String::new() },
            roles: self.roles.clone(),
            claims: self.claims.iter().cloned().collect(),
            own: None,
            token_id: None,
            issued_at_s: Some(now_s()),
            expires_at_s: None,
        }
    }
}

/// Reads what decides on access as a broker with this configuration does, and warns as it does.
pub(super) fn load_access(config: &Path) -> Result<Loaded, ConfigError> {
    let variables = config::process_variables()?;
    let sources = Sources { file: Some(config.to_owned()), variables, ..Sources::default() };
    let loaded = access::load(&config::load_access(&sources)?)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded)
}

/// The token as it was given, or for `-` what standard input holds.
pub(super) fn presented(given: &Secret) -> Result<Secret, String> {
    let mut text = String::new();
    if given.expose() == "-" {
        let read = io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut text);
        read.map_err(|error| format!("standard input cannot be read: {error}"))?;
    } else {
        given.expose().clone_into(&mut text);
    }
    match text.trim() {
        "" => Err("there is no token: it is empty".to_owned()),
        token => Ok(Secret::new(token)),
    }
}

/// Who somebody is, for people.
pub(super) fn describe(identity: &Identity) -> String {
    let how = match &identity.source {
        Source::Token { issuer } if issuer.is_empty() => ", by a token".to_owned(),
        Source::Token { issuer } => format!(", by a token of {issuer:?}"),
        Source::ApiKey { name } => format!(", by API key {name}"),
        Source::Certificate => ", by a client certificate".to_owned(),
        _ => String::new(),
    };
    let roles: Vec<_> = identity.roles.iter().map(|role| format!("{role:?}")).collect();
    let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
    format!("subject {:?}{how}; roles: {roles}", identity.subject)
}
