//! `carillon serve`: a broker, from its configuration to its last byte.
//!
//! 1. Read and check the configuration; then certificates, key and token, and who may do what. What is wrong with them
//!    is exit status 2.
//! 2. Bind: the admin listener first, so that `/readyz` can tell that the rest is starting. Then open the streams that are
//!    kept, and at last the door. Streams that cannot be opened as they are configured are exit status 2, too.
//! 3. Serve until a signal: SIGHUP reads certificates, access rules, quotas and what streams keep again, SIGTERM and SIGINT
//!    drain.
//! 4. Drain: take no new connections, tell clients when to come back, flush, within the deadline. A second signal leaves
//!    at once.

mod clients;
mod counting;
mod files;
mod signals;
mod start;
mod streams;

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use figment::value::Value;

use self::{
    signals::{Ended, Signals},
    start::Broker,
};
use super::{EXIT_FAILURE, EXIT_USAGE, fail};
use crate::{
    certs::DevCertificates,
    config::{self, Config, ConfigError, DevFiles, Flag, Sources},
    dev::dev_dir,
    logging,
};

/// What `carillon serve` can be told. Flags go over the environment, which goes over the file.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// TOML file with the configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve this machine only, let everybody in, and make certificates where there are none
    #[arg(long)]
    dev: bool,
    /// Address and port for clients [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address and port for metrics and health [default: 127.0.0.1:8444]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Threads that serve connections: a number, or auto for one on each core [default: auto]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Directory for what the broker keeps on disk
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

impl Args {
    fn sources(&self) -> Result<Sources, ConfigError> {
        let text = |name, key, given: &Option<String>| {
            given.as_deref().map(|text| Flag { name, key, value: Value::from(text) })
        };
        let shards = self.shards.as_deref().map(|given| {
            let value = given.parse::<usize>().map_or_else(|_| Value::from(given), Value::from);
            Flag { name: "--shards", key: "listen.shards", value }
        });
        let flags = [
            text("--listen", "listen.address", &self.listen),
            text("--admin", "admin.address", &self.admin),
            shards,
            text("--data-dir", "data_dir", &self.data_dir),
        ];
        let dev = self.dev.then(|| {
            let files = DevCertificates::in_directory(&dev_dir());
            DevFiles { certificate: files.certificate, key: files.key }
        });
        Ok(Sources {
            file: self.config.clone(),
            dev,
            variables: config::process_variables()?,
            flags: flags.into_iter().flatten().collect(),
        })
    }
}

/// Runs a broker until it is told to stop.
pub async fn run(args: Args) -> ExitCode {
    let (config, sources) = match args.sources().and_then(|sources| Ok((config::load(&sources)?, sources))) {
        Ok(read) => read,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    if let Err(error) = logging::start(config.log.format, &config.log.level) {
        return fail(EXIT_FAILURE, &error);
    }
    // Before anything is bound, so that a signal never meets the default, which is to die.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_FAILURE, &format_args!("signals cannot be listened to: {error}")),
    };
    let broker = match Broker::start(&config, sources) {
        Ok(broker) => broker,
        Err(error) => return fail(if error.is_usage() { EXIT_USAGE } else { EXIT_FAILURE }, &error),
    };
    if args.dev {
        broker.offer_watch();
    }
    greet(&config, &broker, args.dev);
    match signals.serve(broker).await {
        Ended::Drained => ExitCode::SUCCESS,
        Ended::Cut => ExitCode::from(EXIT_FAILURE),
    }
}

fn greet(config: &Config, broker: &Broker, dev: bool) {
    let (address, admin) = (broker.address(), broker.admin_address());
    tracing::info!(%address, %admin, shards = config.listen.shards.count(), version = env!("CARGO_PKG_VERSION"), "listening");
    if !dev {
        return;
    }
    let url = if address.port() == 8443 { String::new() } else { format!(" --url wss://{address}") };
    let path = carillon_listener::WEBSOCKET_PATH;
    let admin_port = admin.port();
    // As it was called, so that what is printed can be typed.
    let command = env::args_os().next().map_or("carillon".into(), |name| name.to_string_lossy().into_owned());
    let scheme = if config.admin.certificate.is_some() { "https" } else { "http" };
    let greeting = format!(
        "\nCarillon serves this machine, and lets everybody on it in.\n\
         \n\
         clients:  wss://{address}{path}\n\
         metrics:  {scheme}://{admin}/metrics\n\
         browser:  {scheme}://localhost:{admin_port}/watch\n\
         \n\
         Try, each in a terminal of its own:\n\
         \n\
         {command} sub{url} 'demo.>'\n\
         {command} pub{url} demo.hello 'Hello!'\n\
         \n"
    );
    // That nobody reads it is no reason to stop.
    let _ = io::stdout().write_all(greeting.as_bytes());
}
