//! A place where a broker with streams runs, is killed, and runs again; and what a subscription tells, as it is compared.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use carillon::certs::DevCertificates;
use carillon_client::{
    Ack, Client, ClientBuilder, EpochReason, Event, GapRange, GapReason, Position, PublishError, ReconnectPolicy,
    Resumption, Start, SubscribeOptions, Subscription,
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{Broker, PATIENCE, carillon, home, told};

/// One stream of each durability; what a test adds comes on top.
const STREAMS: [(&str, &str); 4] = [
    ("STREAMS__ORDERS__TOPICS", r#"["orders.>"]"#),
    ("STREAMS__TICKS__TOPICS", r#"["ticks.*"]"#),
    ("STREAMS__TICKS__DURABILITY", "memory"),
    ("STREAMS__TICKS__MAX_BYTES", "1000000"),
];

/// A directory with all that a broker and its users keep, and the configuration as variables.
pub struct Site {
    home: TempDir,
    settings: Vec<(&'static str, String)>,
}

impl Site {
    pub fn new(settings: &[(&'static str, &'static str)]) -> Self {
        let settings = STREAMS.iter().chain(settings).map(|(key, value)| (*key, (*value).to_owned())).collect();
        Self { home: home(), settings }
    }

    /// One where everybody may do what this access file lets the role `guest` do.
    pub fn with_access(rules: &str) -> Self {
        let mut site = Self::new(&[]);
        let file = site.home.path().join("access.toml");
        fs::write(&file, rules).unwrap();
        let guest = r#"["guest"]"#.to_owned();
        site.settings.push(("ACCESS__FILE", file.to_str().unwrap().to_owned()));
        site.settings.push(("ACCESS__ANONYMOUS_ROLES", guest));
        site
    }

    pub fn start(&self) -> Broker {
        Broker::start_command(self.command(), "127.0.0.1:0")
    }

    /// Starts it as `serve --dev` with a configuration file, which tells all.
    pub fn start_with(&self, config: &Path) -> Broker {
        // It comes behind the arguments that the support adds.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$0\" \"$@\" --config \"$CONFIG\"", env!("CARGO_BIN_EXE_carillon")]);
        command.env_clear().env("HOME", self.home.path()).env("XDG_DATA_HOME", self.home.path());
        command.env("CONFIG", config).current_dir(self.home.path());
        Broker::start_command(command, "127.0.0.1:0")
    }

    fn command(&self) -> Command {
        let mut command = carillon(self.home.path());
        command.env("CARILLON__DATA_DIR", self.home.path().join("data"));
        for (key, value) in &self.settings {
            command.env(format!("CARILLON__{key}"), value);
        }
        command
    }

    /// Kills the broker with SIGKILL and starts another one at the same address; meanwhile clients go on.
    pub async fn kill_and_restart(&self, broker: Broker) -> Broker {
        let (address, command) = (broker.address.to_string(), self.command());
        drop(broker);
        tokio::task::spawn_blocking(move || Broker::start_command(command, &address)).await.unwrap()
    }

    /// A client that comes back soon.
    pub fn builder(&self, broker: &Broker) -> ClientBuilder {
        let (base, cap) = (Duration::from_millis(20), Duration::from_millis(200));
        let policy = ReconnectPolicy { base, cap, ..ReconnectPolicy::default() };
        Client::builder(broker.url()).ca_file(self.ca()).reconnect(policy)
    }

    pub async fn client(&self, broker: &Broker) -> Client {
        self.builder(broker).connect().await.unwrap()
    }

    fn ca(&self) -> PathBuf {
        DevCertificates::in_directory(&self.home.path().join("carillon").join("dev")).ca
    }

    /// Runs `carillon stream`, which must succeed.
    pub fn operate(&self, broker: &Broker, args: &[&str]) {
        let admin = broker.admin.to_string();
        let mut command = carillon(self.home.path());
        let output = command.arg("stream").args(args).args(["--admin", &admin]).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", told(&output));
    }

    pub fn help(&self, command: &str) -> Output {
        carillon(self.home.path()).args([command, "--help"]).output().unwrap()
    }

    /// Runs `carillon pub` or `sub`. One that does not end is killed by its own `--timeout`.
    pub fn run(&self, broker: &Broker, args: &[&str]) -> Output {
        let patience = PATIENCE.as_secs().to_string();
        let mut command = carillon(self.home.path());
        command.args(args).args(["--url", &broker.url(), "--timeout", &patience]).stdin(Stdio::null());
        command.output().unwrap()
    }
}

/// Publishes with an acknowledgement and gives the sequence under which it is kept.
pub async fn publish(client: &Client, topic: &str, payload: &str) -> u64 {
    let ack = timeout(PATIENCE, client.publish_acknowledged(topic, payload.to_owned())).await.unwrap();
    kept_at(ack).sequence()
}

/// Publishes the numbers of a range, one after the other.
pub async fn publish_numbers(client: &Client, topic: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(client, topic, &number.to_string()).await;
    }
}

pub fn kept_at(ack: Result<Ack, PublishError>) -> Position {
    ack.unwrap().kept.expect("a stream keeps it").position
}

pub async fn subscribe(client: &Client, pattern: &str, start: Start) -> Subscription {
    client.subscribe(pattern, SubscribeOptions::default().start(start)).await.unwrap()
}

/// What a subscription told, without what differs from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Sequence and payload.
    Message(u64, String),
    /// Reason, first and last.
    Gap(GapReason, u64, u64),
    /// Reason, and from where on.
    Epoch(EpochReason, u64),
    /// Complete up to here.
    CaughtUp(u64),
    /// How, and behind what.
    Resumed(Resumption, u64),
    /// Anything else.
    Other(String),
}

/// The next event, in time.
pub async fn event(subscription: &mut Subscription) -> Event {
    let next = timeout(PATIENCE, subscription.next()).await;
    next.expect("something to be told").expect("the subscription goes on")
}

pub async fn next(subscription: &mut Subscription) -> Told {
    match event(subscription).await {
        Event::Message(message) => {
            let payload = String::from_utf8(message.payload().to_vec()).unwrap();
            Told::Message(message.sequence().unwrap_or_default(), payload)
        }
        Event::Gap(gap) => {
            let GapRange { first, last, .. } = gap.range.expect("a range of a stream");
            assert_eq!(gap.count, last - first + 1);
            Told::Gap(gap.reason, first, last)
        }
        Event::EpochChanged(change) => Told::Epoch(change.reason, change.from),
        Event::CaughtUp(live) => Told::CaughtUp(live.position.sequence()),
        Event::Resumed(resumed) => Told::Resumed(resumed.outcome, resumed.position.sequence()),
        other => Told::Other(format!("{other:?}")),
    }
}

/// The next event that says more than that all is there.
pub async fn next_but_caught_up(subscription: &mut Subscription) -> Told {
    loop {
        let told = next(subscription).await;
        if !matches!(told, Told::CaughtUp(_)) {
            return told;
        }
    }
}

/// So many of the next events.
pub async fn take(subscription: &mut Subscription, count: usize) -> Vec<Told> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(next(subscription).await);
    }
    all
}

/// Messages with these numbers as payloads, each kept under the number that follows.
pub fn numbered(numbers: std::ops::Range<u64>) -> Vec<Told> {
    numbers.map(|number| Told::Message(number + 1, number.to_string())).collect()
}
