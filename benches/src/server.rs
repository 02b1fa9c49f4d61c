//! A server that runs at a port of the loopback address, and its end.

use std::{
    fs::{self, File},
    io::{self, Error},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Until it listens.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Where servers listen.
const PORTS: Range<u16> = 20_000..30_000;
/// Each server gets the next ones.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
/// Of its log, when it does not start.
const SHOWN_LINES: usize = 20;

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Of the process that serves.
    worker: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Running {
    /// Starts it, and waits until it listens at the port on loopback. What it says goes into a file.
    pub fn start(command: &mut Command, port: u16, log: &Path) -> io::Result<Self> {
        let file = File::create(log)?;
        let name = command.get_program().display().to_string();
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.map_err(|error| Error::new(error.kind(), format!("{name} does not start: {error}")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut running = Self { worker: child.id(), child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let has_ended = !matches!(running.child.try_wait(), Ok(None));
            if has_ended || begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n");
                return Err(Error::other(format!("{name} does not listen; it said last:\n{last}")));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(running)
    }

    /// Of one whose first process only watches over a second one, which serves.
    pub fn watched_over(mut self) -> io::Result<Self> {
        let watcher = self.child.id();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let children = fs::read_to_string(format!("/proc/{watcher}/task/{watcher}/children"))?;
            if let Some(worker) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) {
                self.worker = worker;
                return Ok(self);
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(Error::other("the server has no process that serves"))
    }

    /// The process that serves.
    pub fn pid(&self) -> u32 {
        self.worker
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None)) && PathBuf::from(format!("/proc/{}", self.worker)).exists()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The watcher first: it would start another worker.
        let worker = (self.worker != self.child.id()).then_some(self.worker);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(pid) = worker.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Ports that nobody listens at, each another. Somebody else may take one before the server does; then the server says so.
///
/// They are below those that the system gives to clients: of these, many are still taken when a server starts, by
/// connections that the one before it had.
pub fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let tries = PORTS.end - PORTS.start;
        let mut candidates = (0..tries).map(|_| PORTS.start + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % tries);
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        *port = candidates.find(is_free).ok_or_else(|| Error::other("no port is free for a server"))?;
    }
    Ok(ports)
}

/// What a program says first, wherever it says it.
pub fn first_line(command: &mut Command) -> String {
    let told = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let told = String::from_utf8_lossy(&told);
    told.lines().next().map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}
