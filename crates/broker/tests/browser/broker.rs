//! The `carillon` command as a process: a broker for development, publishers, and the demo's feed.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

const CARILLON: &str = env!("CARGO_BIN_EXE_carillon");

/// A process that does not outlive its test.
pub(crate) struct Process(Child);

impl Process {
    /// Asks it to leave, and waits until it has; gives whether it says that all went well.
    pub(crate) fn leave(&mut self) -> bool {
        let pid = self.0.id().to_string();
        // The shell's own kill: the command is not on every machine.
        Command::new("sh").args(["-c", "kill \"$0\"", &pid]).status().unwrap();
        self.0.wait().unwrap().success()
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.leave();
        }
    }
}

/// A home directory for a broker and its clients, which find its development certificates there.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.0.path().join("carillon/dev/ca.pem")
    }

    /// Starts a broker on this port of loopback, 0 for a free one, and waits until it listens.
    pub(crate) fn serve(&self, port: u16) -> Broker {
        let mut command = self.command(CARILLON);
        command.args(["serve", "--dev", "--admin", "127.0.0.1:0", "--listen", &format!("127.0.0.1:{port}")]);
        let mut child = command.env("CARILLON__LOG__LEVEL", "warn").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let process = Process(child);
        let mut told = |name: &str| {
            let value = lines.find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()));
            value.unwrap_or_else(|| panic!("the broker says its {name}"))
        };
        let (clients, page) = (told("clients:"), told("browser:"));
        Broker { process, clients, page }
    }

    /// Publishes one message, and waits until the broker has taken it.
    pub(crate) fn publish(&self, broker: &Broker, topic: &str, payload: &str) {
        let status = self.command(CARILLON).args(["pub", "--url", &broker.clients, topic, payload]).status().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Starts the demo's feed: this host's own events.
    pub(crate) fn feed(&self, broker: &Broker) -> Process {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/feed.sh");
        let mut command = self.command("bash");
        command.args([script, "--url", &broker.clients]).env("CARILLON", CARILLON).stdout(Stdio::null());
        Process(command.spawn().unwrap())
    }

    /// Starts a process that does nothing, for the feed to notice.
    pub(crate) fn idle(&self) -> Process {
        Process(self.command("sleep").arg("600").spawn().unwrap())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("XDG_DATA_HOME", self.0.path()).stdin(Stdio::null());
        command
    }
}

/// A broker that listens.
pub(crate) struct Broker {
    pub(crate) process: Process,
    clients: String,
    page: String,
}

impl Broker {
    /// The address of the page that watches a pattern.
    pub(crate) fn page(&self, pattern: &str) -> String {
        format!("{}?pattern={pattern}", self.page)
    }

    /// The port that clients connect to.
    pub(crate) fn port(&self) -> u16 {
        let (_, after) = self.clients.rsplit_once(':').unwrap();
        after.split('/').next().unwrap().parse().unwrap()
    }
}
