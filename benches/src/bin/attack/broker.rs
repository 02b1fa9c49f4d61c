//! The broker under attack: a process of its own, and what it tells of itself.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Error, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use carillon_benches::process::{Usage, usage};

/// How often its memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// For an answer of its admin listener, and for its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running broker. It is ended when this is dropped.
pub(crate) struct Broker {
    child: Child,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    log: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(carillon: &Path, config: &Path) -> io::Result<Self> {
        let mut child = Command::new(carillon)
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().ok_or_else(|| Error::other("the broker has no log"))?;
        let mut log = BufReader::new(log);
        let (address, admin) = match wait_for_listening(&mut log) {
            Ok(addresses) => addresses,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        // What it says later must leave its pipe, and errors must be seen.
        let log = thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("\"ERROR\"") || !line.starts_with('{') {
                    eprintln!("broker: {line}");
                }
            }
        });
        Ok(Self { child, address, admin, log: Some(log) })
    }

    /// Its memory and processor time so far.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        usage(self.child.id())
    }

    /// What it counts, by series.
    pub(crate) fn metrics(&self) -> io::Result<Metrics> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let series = page.lines().filter(|line| line.starts_with("carillon_") && !line.contains("_bucket"));
        let read = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Metrics(read.collect()))
    }

    /// Connections that are open now.
    pub(crate) fn connections(&self) -> io::Result<f64> {
        Ok(self.metrics()?.sum("carillon_connections{"))
    }

    /// Looks at its memory until the watch is ended.
    pub(crate) fn watch_memory(&self) -> MemoryWatch {
        let (pid, is_over, peak_kib) = (self.child.id(), Arc::default(), Arc::new(AtomicU64::new(0)));
        let (over, peak) = (Arc::<AtomicBool>::clone(&is_over), Arc::clone(&peak_kib));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Ok(usage) = usage(pid) {
                    peak.fetch_max(usage.resident_kib, Ordering::Relaxed);
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        MemoryWatch { is_over, peak_kib, thread }
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

/// The largest memory that was seen.
pub(crate) struct MemoryWatch {
    is_over: Arc<AtomicBool>,
    peak_kib: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    /// Ends it, and tells the peak in KiB.
    pub(crate) fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.peak_kib.load(Ordering::Relaxed)
    }
}

/// Values by the names of their series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// All series that begin like this, together.
    pub(crate) fn sum(&self, prefix: &str) -> f64 {
        self.0.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    /// What has been added since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let before = |name: &str| before.0.get(name).copied().unwrap_or_default();
        Self(self.0.iter().map(|(name, value)| (name.clone(), value - before(name))).collect())
    }

    /// The counters that tell what became of connections and requests, where they have moved.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&str, f64)> {
        const NOT_OF_INTEREST: [&str; 6] = ["bytes", "_seconds", "messages_", "heartbeats", "limit", "opened"];
        self.0
            .iter()
            .filter(|(name, value)| **value >= 1.0 && (name.contains("_total")))
            .filter(|(name, _)| !NOT_OF_INTEREST.iter().any(|part| name.contains(part)))
            .map(|(name, value)| (name.as_str(), *value))
    }
}

fn wait_for_listening(log: &mut impl BufRead) -> io::Result<(SocketAddr, SocketAddr)> {
    let start = Instant::now();
    let mut seen = String::new();
    while start.elapsed() < PATIENCE {
        let mut line = String::new();
        if log.read_line(&mut line)? == 0 {
            break;
        }
        if line.contains("\"message\":\"listening\"") {
            let event: serde_json::Value = serde_json::from_str(&line).map_err(Error::other)?;
            let address = |name: &str| event.get(name).and_then(|value| value.as_str()?.parse().ok());
            if let (Some(address), Some(admin)) = (address("address"), address("admin")) {
                return Ok((address, admin));
            }
        }
        seen += &line;
    }
    Err(Error::other(format!("the broker does not listen; its log:\n{seen}")))
}
