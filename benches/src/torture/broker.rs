//! The tortured broker's process.

use std::{
    fs,
    io::{self, BufRead, BufReader, Error, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{site::Site, trouble::broken};

/// For what takes a moment. A slow machine may take its time.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// Lines of the log that are kept for whoever looks what was wrong.
const LOG_LINES: usize = 200;

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    listening: mpsc::Receiver<(SocketAddr, SocketAddr)>,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    /// Where clients connect, once it listens.
    pub(super) address: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Broker {
    /// Starts it, and does not wait for it.
    pub(super) fn launch(site: &Site) -> io::Result<Self> {
        let mut child = Command::new(&site.broker)
            .env_clear()
            .env("HOME", site.path())
            .args(["serve", "--dev", "--config"])
            .arg(site.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| Error::other("the broker has no log"))?;
        let (tell, listening) = mpsc::channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = thread::spawn(move || read_log(BufReader::new(stderr), &tell, &lines));
        Ok(Self { child, listening, log, reader: Some(reader), address: None, admin: None })
    }

    /// Starts it, and waits until it serves clients.
    pub(super) fn start(site: &Site) -> io::Result<Self> {
        let mut broker = Self::launch(site)?;
        match broker.listening.recv_timeout(PATIENCE) {
            Ok((address, admin)) => {
                (broker.address, broker.admin) = (Some(address), Some(admin));
                Ok(broker)
            }
            // What it kept kept it from starting, which it must not.
            Err(_) => Err(broken(format!("the broker does not start again; its log:\n{}", broker.log()))),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with no chance to do anything about it.
    pub(super) fn kill(mut self) {
        self.end();
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn terminate(mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(broken(format!("the broker was told to stop, and ended with {status}; its log:\n{}", self.log())))
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid =
            i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or_else(|| Error::other("no process id"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Has it do nothing more, for ever. What it asked of the system may still be under way; nobody hears what comes of it.
    pub(super) fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut is_running = false;
            for thread in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
                let stat = fs::read_to_string(thread?.path().join("stat"))?;
                // The state stands behind the name, which is in parentheses.
                let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
                is_running |= !matches!(state, Some('T' | 't' | 'D'));
            }
            if !is_running {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(Error::other("the broker cannot be stopped"))
    }

    /// The last lines of its log.
    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Asks its admin listener: the status, and the body.
    pub(super) fn ask(&self, method: &str, route: &str) -> io::Result<(u16, String)> {
        let admin = self.admin.ok_or_else(|| Error::other("the broker does not listen yet"))?;
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {route} HTTP/1.1\r\nHost: localhost\r\nCarillon-Admin: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        status.map(|status| (status, body)).ok_or_else(|| Error::other(format!("the admin listener said {answer:?}")))
    }

    /// The value of a series of its metrics.
    pub(super) fn metric(&self, series: &str) -> io::Result<f64> {
        let (_, page) = self.ask("GET", "/metrics")?;
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.ok_or_else(|| broken(format!("the metrics have no series {series}")))
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_log(log: impl BufRead, listening: &mpsc::Sender<(SocketAddr, SocketAddr)>, kept: &Mutex<Vec<String>>) {
    for line in log.lines().map_while(Result::ok) {
        if let Some(addresses) = addresses(&line) {
            let _ = listening.send(addresses);
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LOG_LINES {
            kept.remove(0);
        }
        kept.push(line);
    }
}

fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    if event.get("message")?.as_str()? != "listening" {
        return None;
    }
    let address = |name: &str| event.get(name)?.as_str()?.parse().ok();
    Some((address("address")?, address("admin")?))
}
