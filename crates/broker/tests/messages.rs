//! Messages on their way through real processes: `carillon pub`, a broker, `carillon sub`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use support::{Broker, carillon, home, told};

/// A running `carillon sub`.
struct Reader {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts it and waits until the broker has its subscriptions; `expected` are all that the broker then has.
    fn start(home: &Path, broker: &Broker, args: &[&str], expected: u64) -> Self {
        let mut child = carillon(home)
            .args(["sub", "--url", &broker.url()])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        broker.wait_for_metric("carillon_subscriptions", expected);
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the reader has ended");
        line.trim_end_matches('\n').to_owned()
    }

    fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(home: &Path, broker: &Broker, args: &[&str], stdin: &[u8]) -> Output {
    let mut child = carillon(home)
        .args(["pub", "--url", &broker.url()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn exact_and_wildcard_readers_print_what_matches_once() {
    let home = home();
    let broker = Broker::start(home.path());
    let mut exact = Reader::start(home.path(), &broker, &["--raw", "--count", "1", "host.cpu.load"], 1);
    let mut star = Reader::start(home.path(), &broker, &["--raw", "--count", "2", "host.*.load", "host.cpu.*"], 3);
    let mut rest = Reader::start(home.path(), &broker, &["--count", "3", "host.>"], 4);
    for (topic, payload) in [("host.memory", "free"), ("host.cpu.load", "0.5"), ("host.disk.load", "0.1")] {
        let output = publish(home.path(), &broker, &[topic, payload], b"");
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
    assert_eq!(exact.line(), "0.5");
    assert_eq!([star.line(), star.line()], ["0.5", "0.1"]);
    assert_eq!(
        [rest.line(), rest.line(), rest.line()],
        ["host.memory free", "host.cpu.load 0.5", "host.disk.load 0.1"]
    );
    for mut reader in [exact, star, rest] {
        assert_eq!(reader.wait(), Some(0), "--count leaves with 0");
    }
}

#[test]
fn lines_are_messages_and_an_empty_line_is_an_empty_payload() {
    let home = home();
    let broker = Broker::start(home.path());
    let mut reader = Reader::start(home.path(), &broker, &["--raw", "--count", "4", "log"], 1);
    let output = publish(home.path(), &broker, &["--lines", "log"], b"first\n\n  third  \nlast without newline");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(
        [reader.line(), reader.line(), reader.line(), reader.line()],
        ["first", "", "  third  ", "last without newline"]
    );
}

#[test]
fn a_line_is_published_as_it_arrives() {
    let home = home();
    let broker = Broker::start(home.path());
    let mut reader = Reader::start(home.path(), &broker, &["--raw", "log"], 1);
    let mut publisher = carillon(home.path())
        .args(["pub", "--url", &broker.url(), "--lines", "log"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = publisher.stdin.take().unwrap();
    for line in ["one", "two"] {
        writeln!(stdin, "{line}").unwrap();
        assert_eq!(reader.line(), line, "standard input is still open");
    }
    drop(stdin);
    assert_eq!(publisher.wait().unwrap().code(), Some(0));
}

#[test]
fn json_holds_text_bytes_and_headers() {
    let home = home();
    let broker = Broker::start(home.path());
    let mut reader = Reader::start(home.path(), &broker, &["--json", "a"], 1);
    publish(home.path(), &broker, &["--header", "kind=greeting", "a", "hello \"you\""], b"");
    publish(home.path(), &broker, &["a"], b"\xff\x00");
    let text: serde_json::Value = serde_json::from_str(&reader.line()).unwrap();
    assert_eq!(text["topic"], "a");
    assert_eq!(text["payload"], "hello \"you\"");
    assert_eq!(text["headers"]["kind"], "greeting");
    let bytes: serde_json::Value = serde_json::from_str(&reader.line()).unwrap();
    assert_eq!(bytes["payload_base64"], "/wA=");
}

#[test]
fn what_the_broker_refuses_is_told_with_a_status_of_its_own() {
    let home = home();
    let broker = Broker::start(home.path());
    let too_large = vec![b'x'; (1 << 20) + 1];
    let output = publish(home.path(), &broker, &["a"], &too_large);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("1048576"), "{}", told(&output));
    let output = publish(home.path(), &broker, &["$broker.own", "x"], b"");
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let output = publish(home.path(), &broker, &["not..a.topic", "x"], b"");
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}

#[test]
fn nobody_there_ends_with_1_and_says_so() {
    let home = home();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = carillon(home.path()).args(["pub", "--url", &format!("wss://{address}"), "a", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains(&address.to_string()), "{}", told(&output));
}

#[test]
fn a_reader_comes_back_after_a_restart_of_the_broker() {
    let home = home();
    let mut broker = Broker::start(home.path());
    let address = broker.address.to_string();
    let mut reader = Reader::start(home.path(), &broker, &["--raw", "a"], 1);
    publish(home.path(), &broker, &["a", "before"], b"");
    assert_eq!(reader.line(), "before");
    broker.signal("TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
    let broker = Broker::start_command(carillon(home.path()), &address);
    broker.wait_for_metric("carillon_subscriptions", 1);
    publish(home.path(), &broker, &["a", "after"], b"");
    assert_eq!(reader.line(), "after");
}

#[test]
fn without_file_descriptors_accepting_pauses_and_goes_on() {
    let home = home();
    let mut limited = Command::new("sh");
    limited.env_clear().env("HOME", home.path()).env("XDG_DATA_HOME", home.path());
    // So few that they run out, so many that the broker starts.
    limited.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_carillon")]);
    let broker = Broker::start_command(limited, "127.0.0.1:0");
    let held: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(broker.address).unwrap()).collect();
    // The admin listener has no descriptor to answer with either, so it is asked only when there are some again.
    drop(held);
    let output = publish(home.path(), &broker, &["a", "still here"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(broker.metric("carillon_accept_pauses_total") > 0);
    assert!(broker.metric("carillon_accept_errors_total{reason=\"fd_limit\"}") > 0);
}
