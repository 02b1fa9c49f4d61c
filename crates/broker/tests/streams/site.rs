//! A place where a broker with streams runs, is killed, and runs again; its clients and operators.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use carillon::certs::DevCertificates;
use carillon_client::{Client, ClientBuilder, ReconnectPolicy};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Broker, PATIENCE, carillon, home, told};

/// One stream of each durability, with no more bounds than they need.
const STREAMS: &str = "\
[streams.orders]
topics = [\"orders.>\"]
[streams.ticks]
topics = [\"ticks.*\"]
durability = \"memory\"
max_bytes = 1000000
";
/// The same, and the stream on disk is bounded.
pub const BOUNDED: &str = "\
[streams.orders]
topics = [\"orders.>\"]
max_messages = 1000
[streams.ticks]
topics = [\"ticks.*\"]
durability = \"memory\"
max_bytes = 1000000
";
const EVERYBODY: &str = "\
[roles.guest]
publish.allow = [\">\"]
subscribe.allow = [\">\"]
history.allow = [\">\"]
";

/// A directory with certificates, a configuration that can be written anew, and all that a broker and its users keep.
pub struct Site {
    home: TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl Site {
    /// One where these variables go over the configuration; each without its prefix.
    pub fn new(variables: &[(&'static str, &'static str)]) -> Self {
        Self { variables: variables.to_vec(), ..Self::configured(STREAMS) }
    }

    /// One where everybody may do what this access file lets the role `guest` do.
    pub fn with_access(rules: &str) -> Self {
        let site = Self::new(&[]);
        fs::write(site.path("access.toml"), rules).unwrap();
        site
    }

    /// One with these sections in the configuration.
    pub fn configured(sections: &str) -> Self {
        let site = Self { home: home(), variables: Vec::new() };
        fs::create_dir_all(site.certificate_dir()).unwrap();
        DevCertificates::make(&site.certificate_dir(), &[], SystemTime::now()).unwrap();
        fs::write(site.path("access.toml"), EVERYBODY).unwrap();
        site.configure(sections);
        site
    }

    /// Writes the configuration, which ends with these sections.
    pub fn configure(&self, sections: &str) {
        let files = self.certificates();
        let [certificate, key, access, data] =
            [files.certificate, files.key, self.path("access.toml"), self.path("data")]
                .map(|path| path.display().to_string());
        let config = format!(
            "data_dir = {data:?}\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
             [access]\nfile = {access:?}\nanonymous = true\nanonymous_roles = [\"guest\"]\n{sections}\n",
        );
        fs::write(self.config(), config).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("carillon.toml")
    }

    pub fn certificates(&self) -> DevCertificates {
        DevCertificates::in_directory(&self.certificate_dir())
    }

    /// Where commands look for themselves.
    fn certificate_dir(&self) -> PathBuf {
        self.path("carillon").join("dev")
    }

    /// The command, as a user of this site has it.
    pub fn command(&self) -> Command {
        carillon(self.home.path())
    }

    fn broker_command(&self) -> Command {
        let mut command = self.command();
        command.envs(self.variables.iter().map(|(key, value)| (format!("CARILLON__{key}"), value)));
        command
    }

    pub fn start(&self) -> Broker {
        start(self.broker_command(), &self.config(), "127.0.0.1:0")
    }

    /// Starts it as `serve --dev` with another configuration.
    pub fn start_dev(&self, config: &Path) -> Broker {
        let mut command = self.broker_command();
        command.current_dir(self.home.path());
        Broker::serve(command, &["--dev", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"])
    }

    /// What `serve` says that does not start.
    pub fn refused_start(&self) -> Output {
        let config = self.config();
        let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        self.broker_command().args(["serve", "--config", config.to_str().unwrap()]).args(ports).output().unwrap()
    }

    /// Kills the broker with SIGKILL and starts another one at the same address; meanwhile clients go on.
    pub async fn kill_and_restart(&self, broker: Broker) -> Broker {
        let (address, command, config) = (broker.address.to_string(), self.broker_command(), self.config());
        drop(broker);
        tokio::task::spawn_blocking(move || start(command, &config, &address)).await.unwrap()
    }

    /// A client that comes back soon.
    pub fn builder(&self, broker: &Broker) -> ClientBuilder {
        let (base, cap) = (Duration::from_millis(20), Duration::from_millis(200));
        let policy = ReconnectPolicy { base, cap, ..ReconnectPolicy::default() };
        Client::builder(broker.url()).ca_file(self.certificates().ca).reconnect(policy)
    }

    pub async fn client(&self, broker: &Broker) -> Client {
        self.builder(broker).connect().await.unwrap()
    }

    pub fn help(&self, command: &str) -> Output {
        self.command().args([command, "--help"]).output().unwrap()
    }

    /// Runs `carillon pub` or `sub`. One that does not end is killed by its own `--timeout`.
    pub fn run(&self, broker: &Broker, args: &[&str]) -> Output {
        let patience = PATIENCE.as_secs().to_string();
        let mut command = self.command();
        command.args(args).args(["--url", &broker.url(), "--timeout", &patience]).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Publishes each line of a text.
    pub fn publish_text(&self, broker: &Broker, topic: &str, text: &str) -> Output {
        let mut child = self
            .command()
            .args(["pub", "--url", &broker.url(), "--lines", topic])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that stops early has said why.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub fn publish(&self, broker: &Broker, topic: &str, lines: &[&str]) {
        let output = self.publish_text(broker, topic, &(lines.join("\n") + "\n"));
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }

    /// Runs `carillon stream`.
    pub fn stream(&self, broker: &Broker, args: &[&str]) -> Output {
        let admin = broker.admin.to_string();
        let mut command = self.command();
        command.arg("stream").args(args).args(["--admin", &admin]).stdin(Stdio::null()).output().unwrap()
    }

    /// What it prints, where it must succeed.
    pub fn operate(&self, broker: &Broker, args: &[&str]) -> String {
        let output = self.stream(broker, args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, broker: &Broker, args: &[&str]) -> Value {
        serde_json::from_str(&self.operate(broker, &[args, &["--json"]].concat())).unwrap()
    }

    /// The payloads that `read` prints.
    pub fn payloads(&self, broker: &Broker, args: &[&str]) -> Vec<String> {
        let printed = self.operate(broker, &[&["read"], args, &["--json"]].concat());
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["payload"].as_str().unwrap().to_owned();
        printed.lines().map(line).collect()
    }
}

fn start(command: Command, config: &Path, address: &str) -> Broker {
    Broker::serve(command, &["--config", config.to_str().unwrap(), "--listen", address])
}
