//! The broker that is measured or attacked: a process of its own, and what it tells of itself.

use std::{
    ffi::OsStr,
    fs,
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

use carillon_bench::process::Usage;
use rustix::process::{Pid, Signal, kill_process};

use crate::{connection::Target, metrics::Metrics};

/// For its start, its end, and an answer of its admin listener.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL_EVERY: Duration = Duration::from_millis(1);
/// How often its memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How often it looks at its store, and counts anew what it does not count as it goes.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// A running broker. It is killed when this is dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    ready_after: Duration,
    log: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts it, as the last arguments of `wrapper` where there is one, and waits until it is ready. What wraps it must
    /// become it. Its log must be JSON.
    pub fn start(carillon: &Path, config: &Path, wrapper: &[&str]) -> io::Result<Self> {
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
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From its execution until `/readyz` said yes.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// How to connect to it, with the authority of its certificate.
    pub fn target(&self, authority: &Path) -> io::Result<Target> {
        Target::new(self.address, authority, false)
    }

    /// Its memory and processor time so far.
    pub fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.pid())
    }

    /// From now on its peak of memory is counted anew.
    pub fn forget_peak(&self) -> io::Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")
    }

    /// Looks at its memory until the watch is ended.
    pub fn watch_memory(&self) -> MemoryWatch {
        let (pid, is_over, peak_kib) = (self.pid(), Arc::default(), Arc::new(AtomicU64::new(0)));
        let (over, peak) = (Arc::<AtomicBool>::clone(&is_over), Arc::clone(&peak_kib));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Ok(usage) = Usage::of(pid) {
                    peak.fetch_max(usage.resident_kib, Ordering::Relaxed);
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        MemoryWatch { is_over, peak_kib, thread }
    }

    /// What it counts, by series.
    pub fn metrics(&self) -> io::Result<Metrics> {
        Ok(Metrics::of_page(&self.ask("/metrics")?))
    }

    /// The same, when what it looks at only once in a while (the store, and gauges) is as it is now.
    pub async fn settled_metrics(&self) -> io::Result<Metrics> {
        tokio::time::sleep(COUNTS_EVERY * 2).await;
        self.metrics()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> io::Result<f64> {
        Ok(self.metrics()?.sum("carillon_connections{"))
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it with no chance to do anything about it.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end, waits until it has, and tells how long that took.
    pub fn terminate(mut self) -> io::Result<Duration> {
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

/// The largest memory that was seen.
#[derive(Debug)]
pub struct MemoryWatch {
    is_over: Arc<AtomicBool>,
    peak_kib: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    /// Ends it, and tells the peak in KiB.
    pub fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.peak_kib.load(Ordering::Relaxed)
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
