//! The broker that is measured: a process of its own, and what it tells of itself.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Error, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use carillon_benches::{
    connection::Target,
    process::{Usage, usage},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time;

/// For its start, its end, and an answer of its admin listener.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it looks at its store.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
const POLL_EVERY: Duration = Duration::from_millis(1);

/// A running broker. It is killed when this is dropped.
pub(crate) struct Broker {
    child: Child,
    /// Where clients connect.
    address: SocketAddr,
    admin: SocketAddr,
    /// From its execution until `/readyz` said yes.
    pub(crate) ready_after: Duration,
    log: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts it, as the last arguments of `wrapper` where there is one, and waits until it is ready. What wraps it must
    /// become it.
    pub(crate) fn start(carillon: &Path, config: &Path, wrapper: &[&str]) -> io::Result<Self> {
        let mut words = wrapper.iter().map(OsStr::new).chain([carillon.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(["serve", "--config"]).arg(config);
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
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
        let mut broker = Self { child, address, admin, ready_after: Duration::ZERO, log: Some(log) };
        while !broker.ask("/readyz")?.starts_with("HTTP/1.1 200") {
            if begun.elapsed() > PATIENCE {
                return Err(Error::other("the broker does not become ready"));
            }
            thread::sleep(POLL_EVERY);
        }
        broker.ready_after = begun.elapsed();
        Ok(broker)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory and processor time so far.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        usage(self.pid())
    }

    /// The most memory that it had in RAM, in KiB.
    pub(crate) fn peak_kib(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        peak.ok_or_else(|| Error::other("the system does not tell the broker's peak of memory"))
    }

    /// From now on the peak is counted anew.
    pub(crate) fn forget_peak(&self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")
    }

    /// How to connect to it, with the authority of its certificate.
    pub(crate) fn target(&self, authority: &Path) -> io::Result<Target> {
        Target::new(self.address, authority, false)
    }

    /// What it counts, by series.
    pub(crate) fn metrics(&self) -> io::Result<Metrics> {
        let page = self.ask("/metrics")?;
        let series = page.lines().filter(|line| line.starts_with("carillon_"));
        let read = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Metrics(read.collect()))
    }

    /// The same, when what it looks at only once in a while (the store, and gauges) is as it is now.
    pub(crate) async fn settled_metrics(&self) -> io::Result<Metrics> {
        time::sleep(LOOKS_EVERY * 2).await;
        self.metrics()
    }

    /// Ends it with no chance to do anything about it.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Asks it to end, waits until it has, and tells how long that took.
    pub(crate) fn terminate(mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or_else(|| Error::other("no process id"))?, Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(begun.elapsed())
        } else {
            Err(Error::other(format!("the broker ended with {status}")))
        }
    }

    fn ask(&self, route: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
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

    /// The least bound of a histogram that holds this share of all that was counted, for all of its series together.
    pub(crate) fn quantile(&self, histogram: &str, share: f64) -> f64 {
        let mut buckets = BTreeMap::<u64, f64>::new();
        for (series, count) in self.0.iter().filter(|(series, _)| series.starts_with(&format!("{histogram}_bucket"))) {
            let bound = series.split_once("le=\"").and_then(|(_, rest)| rest.split('"').next()?.parse::<f64>().ok());
            // Numbers that are not negative are in the order of their bits.
            *buckets.entry(bound.unwrap_or(f64::INFINITY).to_bits()).or_default() += count;
        }
        let all = buckets.values().copied().fold(0.0, f64::max);
        let found = buckets.into_iter().find(|(_, count)| *count >= all * share);
        found.map_or(0.0, |(bound, _)| f64::from_bits(bound))
    }
}

fn wait_for_listening(log: &mut impl BufRead) -> io::Result<(SocketAddr, SocketAddr)> {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        if log.read_line(&mut line)? == 0 {
            return Err(Error::other(format!("the broker does not listen; its log:\n{seen}")));
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
}
