//! Streams through real processes: `carillon pub`, a broker with streams on disk and in memory, `carillon stream`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::SystemTime,
};

use carillon::certs::DevCertificates;
use serde_json::Value;
use support::{Broker, carillon, home, told, wait_for};
use tempfile::TempDir;

const STREAMS: &str = "\
[streams.orders]
topics = [\"orders.>\"]
max_messages = 1000
[streams.ticks]
topics = [\"ticks.*\"]
durability = \"memory\"
max_bytes = 1000000
";

/// A directory with certificates, a configuration that can be written anew, and what the broker keeps.
struct Site {
    home: TempDir,
}

impl Site {
    fn new(streams: &str) -> Self {
        let home = home();
        DevCertificates::make(home.path(), &[], SystemTime::now()).unwrap();
        let access = "[roles.guest]\npublish.allow = [\">\"]\nsubscribe.allow = [\">\"]\nhistory.allow = [\">\"]\n";
        fs::write(home.path().join("access.toml"), access).unwrap();
        let site = Self { home };
        site.configure(streams);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn configure(&self, more: &str) {
        let files = DevCertificates::in_directory(self.home.path());
        let [certificate, key, access, data] =
            [files.certificate, files.key, self.path("access.toml"), self.path("data")]
                .map(|path| path.display().to_string());
        let config = format!(
            "data_dir = {data:?}\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
             [access]\nfile = {access:?}\nanonymous = true\nanonymous_roles = [\"guest\"]\n{more}\n",
        );
        fs::write(self.path("carillon.toml"), config).unwrap();
    }

    fn start(&self) -> Broker {
        Broker::start_configured(self.home.path(), &self.path("carillon.toml"))
    }

    /// What `serve` says that does not start.
    fn refused_start(&self) -> Output {
        let config = self.path("carillon.toml");
        let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        carillon(self.home.path()).args(["serve", "--config", config.to_str().unwrap()]).args(ports).output().unwrap()
    }

    fn publish_lines(&self, broker: &Broker, topic: &str, lines: &str) -> Output {
        let ca = self.path("ca.pem");
        let mut child = carillon(self.home.path())
            .args(["pub", "--url", &broker.url(), "--ca", ca.to_str().unwrap(), "--lines", topic])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that stops early has said why.
        let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn publish(&self, broker: &Broker, topic: &str, lines: &[&str]) {
        let output = self.publish_lines(broker, topic, &(lines.join("\n") + "\n"));
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }

    fn stream(&self, broker: &Broker, args: &[&str]) -> Output {
        let admin = broker.admin.to_string();
        carillon(self.home.path())
            .arg("stream")
            .args(args)
            .args(["--admin", &admin])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it prints.
    fn printed(&self, broker: &Broker, args: &[&str]) -> String {
        let output = self.stream(broker, args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, broker: &Broker, args: &[&str]) -> Value {
        serde_json::from_str(&self.printed(broker, &[args, &["--json"]].concat())).unwrap()
    }

    /// The payloads that `read` prints.
    fn payloads(&self, broker: &Broker, args: &[&str]) -> Vec<String> {
        let printed = self.printed(broker, &[&["read"], args, &["--json"]].concat());
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["payload"].as_str().unwrap().to_owned();
        printed.lines().map(line).collect()
    }
}

fn kill(mut broker: Broker) {
    broker.child.kill().unwrap();
    broker.child.wait().unwrap();
}

fn drain(mut broker: Broker) {
    broker.signal("TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_published_is_listed_shown_and_read() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    site.publish(&broker, "orders.eu", &["one", "two"]);
    site.publish(&broker, "orders.us", &["three"]);
    site.publish(&broker, "ticks.a", &["tick"]);
    site.publish(&broker, "elsewhere", &["gone"]);

    let table = site.printed(&broker, &["ls"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&rows[0][0], rows.len()), (&"STREAM", 3), "{table}");
    assert_eq!(rows[1][..3], ["orders", "disk", "3"], "{table}");
    assert_eq!(rows[2][..3], ["ticks", "memory", "1"], "{table}");
    let list = site.json(&broker, &["ls"]);
    assert_eq!(list["streams"][0]["topics"], 2);

    let info = site.printed(&broker, &["info", "orders"]);
    for part in ["orders.>", "1000 messages", "1 to 3", "(created)", "segments"] {
        assert!(info.contains(part), "{part:?} is not in {info}");
    }
    assert!(site.printed(&broker, &["info", "ticks"]).contains("(restarted)"));

    let printed = site.printed(&broker, &["read", "orders"]);
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split(' ').collect()).collect();
    let parts: Vec<_> = lines.iter().map(|line| (line[0], line[2], line[3])).collect();
    assert_eq!(parts, [("1", "orders.eu", "one"), ("2", "orders.eu", "two"), ("3", "orders.us", "three")]);
    assert_eq!(site.payloads(&broker, &["orders", "--from", "2"]), ["two", "three"]);
    assert_eq!(site.payloads(&broker, &["orders", "--last", "1", "--topic", "orders.eu"]), ["two"]);
    assert_eq!(site.payloads(&broker, &["orders", "--topic", "orders.*"]), ["one", "two", "three"]);
    assert_eq!(site.payloads(&broker, &["ticks"]), ["tick"]);
    broker.wait_for_metric("carillon_stream_messages{stream=\"orders\"}", 3);
    assert_eq!(broker.metric("carillon_stream_published_total{stream=\"ticks\"}"), 1);
    assert_eq!(broker.metric("carillon_store_failed"), 0);
}

#[test]
fn reading_goes_through_all_pages() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    let line = "x".repeat(1_000);
    let lines: Vec<String> = (0..600).map(|number| format!("{number} {line}")).collect();
    site.publish(&broker, "orders.a", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let (read, printed) = (site.payloads(&broker, &["orders"]), site.printed(&broker, &["read", "orders"]));
    assert_eq!(read, lines);
    assert_eq!(printed.lines().count(), 600);
    assert_eq!(site.payloads(&broker, &["orders", "--last", "500"]), lines[100..]);
}

#[test]
fn messages_on_disk_outlive_the_broker_and_those_in_memory_do_not() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    site.publish(&broker, "orders.a", &["kept"]);
    site.publish(&broker, "ticks.a", &["forgotten"]);
    let epoch = |broker: &Broker, name| site.json(broker, &["info", name])["epoch"].as_str().unwrap().to_owned();
    let epochs = (epoch(&broker, "orders"), epoch(&broker, "ticks"));
    drain(broker);
    let broker = site.start();
    assert_eq!(site.payloads(&broker, &["orders"]), ["kept"]);
    assert_eq!(site.payloads(&broker, &["ticks"]), Vec::<String>::new());
    site.publish(&broker, "orders.a", &["more"]);
    kill(broker);
    let broker = site.start();
    assert_eq!(site.payloads(&broker, &["orders"]), ["kept", "more"]);
    assert_eq!(epoch(&broker, "orders"), epochs.0);
    assert_ne!(epoch(&broker, "ticks"), epochs.1);
}

#[test]
fn purge_and_rm_ask_first_and_do_what_they_say() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    for name in ["orders", "ticks"] {
        site.publish(&broker, &format!("{name}.a"), &["one", "two", "three"]);
        for command in [vec!["purge", name, "--all"], vec!["purge", name, "--before", "2"], vec!["rm", name]] {
            let unasked = site.stream(&broker, &command);
            assert_eq!((unasked.status.code(), told(&unasked).contains("--yes")), (Some(2), true), "{command:?}");
        }
        let printed = site.printed(&broker, &["purge", name, "--before", "3", "--yes"]);
        assert!(printed.contains("2 messages went") && printed.contains("begins with 3"), "{printed}");
        let read = site.stream(&broker, &["read", name, "--from", "1"]);
        assert!(told(&read).contains("1 to 2 are lost here: purge"), "{}", told(&read));
        assert_eq!(String::from_utf8(read.stdout).unwrap().lines().count(), 1);

        let before = site.json(&broker, &["info", name])["epoch"].clone();
        let renewed = site.json(&broker, &["renew-epoch", name])["epoch"].clone();
        assert_ne!(before, renewed);
        let removed = site.json(&broker, &["rm", name, "--yes"])["epoch"].clone();
        let info = site.json(&broker, &["info", name]);
        assert_eq!((&info["epoch"], &info["messages"], &info["last_sequence"]), (&removed, &0.into(), &0.into()));
        site.publish(&broker, &format!("{name}.a"), &["anew"]);
        assert_eq!(site.payloads(&broker, &[name]), ["anew"]);
    }
    assert_eq!(site.stream(&broker, &["purge", "orders", "--yes"]).status.code(), Some(2), "of what?");
}

#[test]
fn what_cannot_be_done_has_its_exit_status() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    for (args, code, text) in [
        (&["info", "none"][..], 3, "no stream has the name `none`"),
        (&["read", "none"], 3, "`none`"),
        (&["purge", "none", "--all", "--yes"], 3, "`none`"),
        (&["info", "not.a.name"], 2, "not.a.name"),
        (&["read", "orders", "--topic", "a..b"], 2, "--topic"),
        (&["read", "orders", "--from", "1", "--last", "1"], 2, "cannot be used with"),
    ] {
        let output = site.stream(&broker, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
        assert!(told(&output).contains(text), "{args:?}: {}", told(&output));
    }
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (place, code, text) in [
        (address.as_str(), 1, address.as_str()),
        ("http://broker.example.com", 2, "https://"),
        ("nowhere at all", 2, "127.0.0.1:8444"),
    ] {
        let output = carillon(site.home.path()).args(["stream", "ls", "--admin", place]).output().unwrap();
        assert_eq!((output.status.code(), told(&output).contains(text)), (Some(code), true), "{}", told(&output));
    }
    // Whoever closes the output has seen enough.
    let broken = Command::new("sh")
        .args([
            "-c",
            "\"$0\" stream ls --admin \"$1\" | true",
            env!("CARGO_BIN_EXE_carillon"),
            &broker.admin.to_string(),
        ])
        .output()
        .unwrap();
    assert_eq!(told(&broken), "");
}

#[test]
fn admin_listener_is_found_by_the_configuration_with_its_token_and_over_tls() {
    let site = Site::new("");
    let files = DevCertificates::in_directory(site.home.path());
    let (certificate, key) = (files.certificate.display().to_string(), files.key.display().to_string());
    let token_file = site.path("admin-token");
    fs::write(&token_file, "a-token-of-some-length\n").unwrap();
    let admin = |port: u16| {
        format!(
            "[admin]\naddress = \"127.0.0.1:{port}\"\ncertificate = {certificate:?}\nkey = {key:?}\ntoken_file = {token_file:?}\n{STREAMS}"
        )
    };
    site.configure(&admin(0));
    let broker = site.start();
    site.configure(&admin(broker.admin.port()));
    let (config, ca) = (site.path("carillon.toml"), site.path("ca.pem"));
    let (config, ca) = (config.to_str().unwrap(), ca.to_str().unwrap());
    let ls = |args: &[&str]| {
        let mut command = carillon(site.home.path());
        command.args(["stream", "ls"]).args(args).output().unwrap()
    };
    let listed = ls(&["--config", config, "--ca", ca]);
    assert_eq!(listed.status.code(), Some(0), "{}", told(&listed));
    assert!(String::from_utf8(listed.stdout).unwrap().contains("orders"));

    let url = format!("https://localhost:{}", broker.admin.port());
    let without = ls(&["--admin", &url, "--ca", ca]);
    assert_eq!((without.status.code(), told(&without).contains("--admin-token-file")), (Some(3), true));
    let with = ls(&["--admin", &url, "--ca", ca, "--admin-token-file", token_file.to_str().unwrap()]);
    assert_eq!(with.status.code(), Some(0), "{}", told(&with));
    let other = home();
    DevCertificates::make(other.path(), &[], SystemTime::now()).unwrap();
    let untrusted = ls(&["--admin", &url, "--ca", other.path().join("ca.pem").to_str().unwrap()]);
    assert_eq!((untrusted.status.code(), told(&untrusted).contains("--ca")), (Some(1), true), "{}", told(&untrusted));
}

#[test]
fn reload_changes_how_much_is_kept_and_nothing_that_needs_a_restart() {
    let site = Site::new(STREAMS);
    let mut broker = site.start();
    site.publish(&broker, "orders.a", &["one", "two", "three"]);
    site.configure(&STREAMS.replace("max_messages = 1000", "max_messages = 1"));
    broker.signal("HUP");
    broker.wait_for_metric("carillon_config_reloads_total{result=\"ok\"}", 1);
    broker.wait_for_metric("carillon_stream_messages{stream=\"orders\"}", 1);
    assert_eq!(site.payloads(&broker, &["orders", "--from", "3"]), ["three"]);
    assert_eq!(site.json(&broker, &["info", "orders"])["definition"]["max_messages"], 1);

    site.configure(&STREAMS.replace("ticks.*", "clocks.*"));
    broker.signal("HUP");
    broker.wait_for_metric("carillon_config_reloads_total{result=\"ok\"}", 2);
    let line = wait_for(&mut broker.log, "after a restart only");
    assert!(line.contains("streams.ticks.topics"), "{line}");
    assert_eq!(site.json(&broker, &["info", "ticks"])["definition"]["topics"][0], "ticks.*");

    site.configure(&STREAMS.replace("max_bytes = 1000000", "max_bytes = 0"));
    broker.signal("HUP");
    broker.wait_for_metric("carillon_config_reloads_total{result=\"failed\"}", 1);
    assert_eq!(site.json(&broker, &["info", "orders"])["definition"]["max_messages"], 1000, "as of the last good one");
}

#[test]
fn start_that_would_lose_messages_is_refused_with_advice() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    site.publish(&broker, "orders.a", &["kept"]);
    drain(broker);
    let renamed = STREAMS.replace("streams.orders", "streams.purchases");
    let in_memory = STREAMS.replace("max_messages", "durability = \"memory\"\nmax_bytes = 1000\nmax_messages");
    let elsewhere = STREAMS.replace("orders.>", "purchases.>");
    for (streams, text) in [
        ("", "no longer defined, but has messages"),
        (&renamed, "no longer defined, but has messages"),
        (&in_memory, "from disk to memory"),
        (&elsewhere, "orders.a"),
    ] {
        site.configure(streams);
        let refused = site.refused_start();
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        assert!(told(&refused).contains("orders") && told(&refused).contains(text), "{}", told(&refused));
    }
    site.configure(STREAMS);
    let broker = site.start();
    assert_eq!(site.payloads(&broker, &["orders"]), ["kept"]);
    site.printed(&broker, &["rm", "orders", "--yes"]);
    drain(broker);
    site.configure("");
    drain(site.start());
}

#[test]
fn store_that_another_broker_has_is_left_alone() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    site.publish(&broker, "orders.a", &["kept"]);
    let refused = site.refused_start();
    assert_eq!(refused.status.code(), Some(1), "another start may go better: {}", told(&refused));
    assert!(told(&refused).contains("another process has the store"), "{}", told(&refused));
    assert_eq!(site.payloads(&broker, &["orders"]), ["kept"]);
}

#[test]
fn damaged_store_is_told_and_nothing_is_changed() {
    let site = Site::new(STREAMS);
    let broker = site.start();
    site.publish(&broker, "orders.a", &["kept"]);
    drain(broker);
    let store = site.path("data").join("streams");
    let manifest = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    let manifest = manifest.filter(|path| path.to_string_lossy().contains("manifest")).collect::<Vec<_>>();
    assert!(!manifest.is_empty());
    let whole: Vec<_> = manifest.iter().map(|path| fs::read(path).unwrap()).collect();
    for path in &manifest {
        fs::write(path, vec![7; 8192]).unwrap();
    }
    let refused = site.refused_start();
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    let text = told(&refused);
    assert!(text.contains(store.to_str().unwrap()) && text.contains("backup"), "{text}");
    for (path, bytes) in manifest.iter().zip(whole) {
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(site.payloads(&site.start(), &["orders"]), ["kept"]);
}

#[test]
fn failed_store_is_not_ready_refuses_publications_and_is_opened_again() {
    let site = Site::new(&format!("[store]\nsegment_bytes = 65536\n{STREAMS}"));
    let mut broker = site.start();
    site.publish(&broker, "orders.a", &["before"]);
    // The next file of the log cannot be made.
    let (store, away) = (site.path("data").join("streams"), site.path("data").join("away"));
    fs::rename(&store, &away).unwrap();
    let line = "x".repeat(10_000);
    // How much goes into the file that is there depends on what is committed together.
    let rounds = (0..10).map(|_| site.publish_lines(&broker, "orders.a", &format!("{line}\n").repeat(20)));
    let refused = rounds.into_iter().find(|output| output.status.code() != Some(0)).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    wait_for(&mut broker.log, "the store has failed");
    broker.wait_for_metric("carillon_store_failed", 1);
    let ready = broker.ask("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("carillon stream reopen"), "{ready}");
    assert!(site.printed(&broker, &["ls"]).contains("The store has failed"));
    assert_eq!(site.payloads(&broker, &["orders", "--from", "1"])[0], "before", "what was kept stays readable");
    site.publish(&broker, "ticks.a", &["others go on"]);
    let too_soon = site.stream(&broker, &["reopen"]);
    assert_eq!(too_soon.status.code(), Some(1), "{}", told(&too_soon));

    fs::rename(&away, &store).unwrap();
    assert!(site.printed(&broker, &["reopen"]).contains("the store is open"));
    broker.wait_for_metric("carillon_store_failed", 0);
    assert!(broker.ask("/readyz").starts_with("HTTP/1.1 200"));
    site.publish(&broker, "orders.a", &["after"]);
    let read = site.payloads(&broker, &["orders"]);
    assert_eq!((read[0].as_str(), read[read.len() - 1].as_str()), ("before", "after"));
}
