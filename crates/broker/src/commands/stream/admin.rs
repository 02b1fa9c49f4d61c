//! How `carillon stream` finds the admin listener, and what it shows there.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{client::AdminClient, endpoint::Endpoint};
use crate::{
    commands::connection::{is_loopback_host, seconds},
    config::{self, Secret, Sources},
    dev::dev_ca_path,
    trust::Trust,
};

const DEFAULT_PLACE: &str = "127.0.0.1:8444";

/// Where the admin listener is, and what it wants to see.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Admin listener")]
pub(super) struct AdminFlags {
    /// Address or URL of the broker's admin listener [default: what --config says, or 127.0.0.1:8444]
    #[arg(long, value_name = "URL", env = "CARILLON_ADMIN")]
    admin: Option<String>,
    /// The broker's configuration, which has the admin listener's address and token
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin listener's token; better given in the environment, where other users cannot see it
    #[arg(long, value_name = "TOKEN", env = "CARILLON_ADMIN_TOKEN", hide_env_values = true,
        value_parser = crate::commands::secret())]
    admin_token: Option<Secret>,
    /// File with the admin listener's token
    #[arg(long, value_name = "FILE", conflicts_with = "admin_token")]
    admin_token_file: Option<PathBuf>,
    /// PEM file with the authorities to trust [default: on loopback what `serve --dev` made, where it is there; else the
    /// system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Give up after this long, with exit status 124; a change that was begun is made all the same
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

impl AdminFlags {
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// What asks the listener. The error is about the command line, or a file that it names.
    pub(super) fn client(&self) -> Result<AdminClient, String> {
        let configured = self.config.as_deref().map(configured).transpose()?;
        // A variable that is set to nothing means none.
        let given = self.admin.as_deref().filter(|text| !text.is_empty());
        let endpoint = match (given, &configured) {
            (Some(text), _) => text.parse().map_err(|error| format!("--admin {text:?}: {error}"))?,
            (None, Some(admin)) => place_of(admin)?,
            (None, None) => DEFAULT_PLACE.parse().map_err(|error| format!("{DEFAULT_PLACE}: {error}"))?,
        };
        let token = match (&self.admin_token, &self.admin_token_file, configured) {
            (Some(token), _, _) if !token.expose().is_empty() => Some(token.clone()),
            (_, Some(path), _) => Some(token_in(path, "--admin-token-file")?),
            (_, None, Some(admin)) => match admin.token_file {
                Some(path) => Some(token_in(&path, "admin.token_file")?),
                None => admin.token,
            },
            (_, None, None) => None,
        };
        let tls = if endpoint.is_tls { Some(self.trust(&endpoint)?.client_config()?) } else { None };
        AdminClient::new(endpoint, token, tls)
    }

    fn trust(&self, endpoint: &Endpoint) -> Result<Trust, String> {
        let dev_ca = Some(dev_ca_path()).filter(|path| is_loopback_host(&endpoint.host) && path.exists());
        self.ca.clone().or(dev_ca).map_or(Ok(Trust::System), |path| Trust::of_file(&path))
    }
}

fn configured(path: &Path) -> Result<config::Admin, String> {
    let read = || {
        let variables = config::process_variables()?;
        config::load(&Sources { file: Some(path.to_owned()), variables, ..Sources::default() })
    };
    read().map(|config| config.admin).map_err(|error| error.to_string())
}

/// From this machine: a broker that listens on every address is on loopback, too.
fn place_of(admin: &config::Admin) -> Result<Endpoint, String> {
    let host = match admin.address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        ip => ip.to_string(),
    };
    if admin.address.port() == 0 {
        return Err("admin.address has port 0, so nobody knows where it listens; --admin says where".to_owned());
    }
    Ok(Endpoint { host, port: admin.address.port(), is_tls: admin.certificate.is_some() })
}

fn token_in(path: &Path, named_by: &str) -> Result<Secret, String> {
    let wrong = |what: &str| format!("{named_by} {}: {what}", path.display());
    let text = fs::read_to_string(path).map_err(|error| wrong(&format!("it cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(wrong("the file holds no token")),
        token => Ok(Secret::new(token)),
    }
}
