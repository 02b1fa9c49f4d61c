//! A browser of its own for each test, driven over the W3C's `WebDriver` protocol.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What must be installed: the browser, what drives it, and what tells it which authority to trust.
const COMMANDS: [&str; 3] = ["chromium", "chromedriver", "certutil"];
/// Of no meaning for what is tested: a machine that takes longer than this is broken.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whether there is a browser to test with. Where there is none, it says so, and in CI it fails.
pub(crate) fn is_installed() -> bool {
    let there = |command: &&str| {
        Command::new("sh").args(["-c", "command -v \"$0\"", command]).output().unwrap().status.success()
    };
    let missing: Vec<&str> = COMMANDS.into_iter().filter(|command| !there(command)).collect();
    if missing.is_empty() {
        return true;
    }
    let told = format!(
        "SKIPPED: a browser test, because {} is not installed; `make test` as root does it\n",
        missing.join(", ")
    );
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "in CI nothing is skipped. {told}");
    // Past the test harness, which keeps what `eprintln` prints of a test that passes.
    io::stderr().write_all(told.as_bytes()).unwrap();
    false
}

/// A browser with one page, and a home directory of its own.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    home: TempDir,
}

impl Browser {
    /// Starts a browser that trusts the authority whose certificate is in the PEM file `ca`.
    pub(crate) fn start(ca: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        trust(ca, home.path());
        let (driver, port) = start_driver(home.path());
        let mut browser = Self { driver, port, session: String::new(), home };
        let profile = browser.home.path().join("profile");
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,900",
            format!("--user-data-dir={}", profile.display()),
        ]);
        let options = json!({ "args": arguments });
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let made = browser.call("POST", "", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    /// Opens an address, and waits until the page is there.
    pub(crate) fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page, and gives what it returns.
    pub(crate) fn run(&self, script: &str, argument: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [argument] }))
    }

    /// Waits until a script gives something else than null and false.
    pub(crate) fn wait_for(&self, script: &str, argument: &str) -> Value {
        let begin = Instant::now();
        loop {
            let given = self.run(script, argument);
            if !matches!(given, Value::Null | Value::Bool(false)) {
                return given;
            }
            let page = || self.run("return document.body.innerText", "");
            assert!(begin.elapsed() < PATIENCE, "`{script}` with `{argument}` never came about; the page: {}", page());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the page complained of: errors of its script, and breaches of its security policy.
    pub(crate) fn complaints(&self) -> Vec<Value> {
        let log = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE").cloned().collect()
    }

    /// Writes what the window shows as a PNG.
    pub(crate) fn screenshot(&self, file: &Path) {
        let shown = self.call("GET", "/screenshot", &Value::Null);
        fs::write(file, BASE64_STANDARD.decode(shown.as_str().unwrap()).unwrap()).unwrap();
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, mut answer) =
            request(self.port, method, &format!("/session{}{path}", self.session), body).unwrap();
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser. Without a session there is none.
        if !self.session.is_empty() {
            let _ = request(self.port, "DELETE", &format!("/session{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn trust(ca: &Path, home: &Path) {
    let directory = home.join(".pki/nssdb");
    fs::create_dir_all(&directory).unwrap();
    let database = format!("sql:{}", directory.display());
    let certutil = |arguments: &[&str]| {
        let done = Command::new("certutil").args(["-d", &database]).args(arguments).output().unwrap();
        assert!(done.status.success(), "certutil {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    certutil(&["-N", "--empty-password"]);
    certutil(&["-A", "-t", "C,,", "-n", "carillon development", "-i", ca.to_str().unwrap()]);
}

/// Starts a driver, and tells its port. It takes one port in both families of addresses, one after the other, and ends where
/// somebody else has the second by then.
fn start_driver(home: &Path) -> (Child, u16) {
    const ATTEMPTS: usize = 5;
    let mut attempts = (0..ATTEMPTS).filter_map(|_| {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = port_of(&mut driver);
        if port.is_none() {
            let _ = driver.kill();
            let _ = driver.wait();
        }
        Some((driver, port?))
    });
    attempts.next().expect("chromedriver tells its port")
}

/// The port that the driver took, which it tells on its standard output.
fn port_of(driver: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    // What it says later has to go somewhere.
    thread::spawn(move || lines.for_each(drop));
    port
}

/// One HTTP request to the driver, on a connection of its own.
fn request(port: u16, method: &str, path: &str, body: &Value) -> io::Result<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    // The driver leaves the connection open, whatever it is asked.
    let mut answer = BufReader::new(stream);
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        match line.trim_end().split_once([' ', ':']) {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap();
            }
            Some((name, value)) if name.starts_with("HTTP/") => status = value[..3].parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok((status, serde_json::from_slice(&body)?))
}
