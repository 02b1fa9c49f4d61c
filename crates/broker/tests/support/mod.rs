//! The command as a process, and a broker of its own for each test.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Long enough that only what never comes runs into it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The command with a home of its own and nothing of this process' configuration.
pub fn carillon(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carillon"));
    command.env_clear().env("HOME", home).env("XDG_DATA_HOME", home);
    command
}

pub fn run(home: &Path, args: &[&str]) -> Output {
    carillon(home).args(args).output().unwrap()
}

pub fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A broker with development certificates and free ports.
pub struct Broker {
    pub child: Child,
    pub log: BufReader<ChildStderr>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

impl Broker {
    pub fn start(home: &Path) -> Self {
        Self::start_command(carillon(home), "127.0.0.1:0")
    }

    /// Starts it by a command that takes the arguments of `carillon`.
    pub fn start_command(command: Command, listen: &str) -> Self {
        Self::serve(command, &["--dev", "--listen", listen])
    }

    /// Starts it with a configuration, on free ports.
    pub fn start_configured(home: &Path, config: &Path) -> Self {
        Self::serve(carillon(home), &["--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"])
    }

    /// Starts it by a command that takes the arguments of `carillon`, with these for `serve`.
    pub fn serve(mut command: Command, args: &[&str]) -> Self {
        let mut child = command
            .arg("serve")
            .args(args)
            .args(["--admin", "127.0.0.1:0", "--shards", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let line = wait_for(&mut log, "\"message\":\"listening\"");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |field: &str| event[field].as_str().unwrap().parse().unwrap();
        Self { child, log, address: address("address"), admin: address("admin") }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn ask(&self, route: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET {route} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Broker {
    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("wss://{}", self.address)
    }

    /// The value of a series in its metrics.
    pub fn metric(&self, series: &str) -> u64 {
        let page = self.ask("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
    }

    /// Waits until a series has a value.
    pub fn wait_for_metric(&self, series: &str, value: u64) {
        let start = Instant::now();
        while self.metric(series) != value {
            assert!(start.elapsed() < PATIENCE, "{series} is {}, not {value}", self.metric(series));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let mut log = String::new();
            let _ = self.log.read_to_string(&mut log);
            eprintln!("the broker's log:\n{log}");
        }
    }
}

/// The next line of the log that holds this text.
pub fn wait_for(log: &mut impl BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "no {text:?} in the log:\n{seen}");
        if line.contains(text) {
            return line;
        }
        seen += &line;
    }
}
