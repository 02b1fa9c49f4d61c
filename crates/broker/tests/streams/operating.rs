//! `carillon stream`, as it is typed.

use std::{
    fs::{self, File},
    io,
    process::Stdio,
    time::SystemTime,
};

use carillon::certs::DevCertificates;

use crate::{
    site::{BOUNDED, Site},
    support::{home, told},
};

#[test]
fn what_is_published_is_listed_shown_and_read() {
    let site = Site::configured(BOUNDED);
    let broker = site.start();
    site.publish(&broker, "orders.eu", &["one", "two"]);
    site.publish(&broker, "orders.us", &["three"]);
    site.publish(&broker, "ticks.a", &["tick"]);
    site.publish(&broker, "elsewhere", &["gone"]);

    let table = site.operate(&broker, &["ls"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&rows[0][0], rows.len()), (&"STREAM", 3), "{table}");
    assert_eq!(rows[1][..3], ["orders", "disk", "3"], "{table}");
    assert_eq!(rows[2][..3], ["ticks", "memory", "1"], "{table}");
    let list = site.json(&broker, &["ls"]);
    assert_eq!(list["streams"][0]["topics"], 2);

    let info = site.operate(&broker, &["info", "orders"]);
    for part in ["orders.>", "1000 messages", "1 to 3", "(created)", "segments"] {
        assert!(info.contains(part), "{part:?} is not in {info}");
    }
    assert!(site.operate(&broker, &["info", "ticks"]).contains("(restarted)"));

    let printed = site.operate(&broker, &["read", "orders"]);
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
    let site = Site::configured(BOUNDED);
    let broker = site.start();
    let line = "x".repeat(1_000);
    let lines: Vec<String> = (0..600).map(|number| format!("{number} {line}")).collect();
    site.publish(&broker, "orders.a", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let (read, printed) = (site.payloads(&broker, &["orders"]), site.operate(&broker, &["read", "orders"]));
    assert_eq!(read, lines);
    assert_eq!(printed.lines().count(), 600);
    assert_eq!(site.payloads(&broker, &["orders", "--last", "500"]), lines[100..]);
}

#[test]
fn changes_ask_first_and_do_what_they_say() {
    let site = Site::configured(BOUNDED);
    let broker = site.start();
    for name in ["orders", "ticks"] {
        site.publish(&broker, &format!("{name}.a"), &["one", "two", "three"]);
        for command in [
            vec!["purge", name, "--all"],
            vec!["purge", name, "--before", "2"],
            vec!["rm", name],
            vec!["renew-epoch", name],
        ] {
            let unasked = site.stream(&broker, &command);
            assert_eq!((unasked.status.code(), told(&unasked).contains("--yes")), (Some(2), true), "{command:?}");
        }
        let printed = site.operate(&broker, &["purge", name, "--before", "3", "--yes"]);
        assert!(printed.contains("2 messages went") && printed.contains("begins with 3"), "{printed}");
        let read = site.stream(&broker, &["read", name, "--from", "1"]);
        assert!(told(&read).contains("1 to 2 are lost here: purge"), "{}", told(&read));
        assert_eq!(String::from_utf8(read.stdout).unwrap().lines().count(), 1);

        let before = site.json(&broker, &["info", name])["epoch"].clone();
        let renewed = site.json(&broker, &["renew-epoch", name, "--yes"])["epoch"].clone();
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
    let site = Site::configured(BOUNDED);
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
        (&format!("https://{}", broker.admin), 1, "asked over http://"),
    ] {
        let output = site.command().args(["stream", "ls", "--admin", place]).output().unwrap();
        assert_eq!((output.status.code(), told(&output).contains(text)), (Some(code), true), "{}", told(&output));
    }
}

#[test]
fn whoever_closes_the_output_has_seen_enough() {
    let site = Site::configured(BOUNDED);
    let broker = site.start();
    site.publish(&broker, "orders.a", &["one", "two"]);
    site.operate(&broker, &["purge", "orders", "--before", "2", "--yes"]);
    let (admin, full) = (broker.admin.to_string(), File::options().write(true).open("/dev/full").unwrap());
    let code = |args: &[&str], stdout: Stdio, stderr: Stdio| {
        let mut command = site.command();
        command.arg("stream").args(args).args(["--admin", &admin]).stdout(stdout).stderr(stderr);
        command.status().unwrap().code()
    };
    // Of these, `read` has something to say on standard error, and `info` has nothing else.
    for (args, expected) in [(&["ls"][..], 0), (&["read", "orders", "--from", "1"], 0), (&["info", "none"], 3)] {
        assert_eq!(code(args, closed(), Stdio::null()), Some(expected), "{args:?}");
        assert_eq!(code(args, closed(), closed()), Some(expected), "{args:?}, both closed");
    }
    assert_eq!(code(&["read", "orders"], full.into(), Stdio::null()), Some(1), "a full disk is no closed pipe");
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (_, writer) = io::pipe().unwrap();
    writer.into()
}

#[test]
fn admin_listener_is_found_by_the_configuration_with_its_token_and_over_tls() {
    let site = Site::configured("");
    let files = site.certificates();
    let (certificate, key) = (files.certificate.display().to_string(), files.key.display().to_string());
    let token_file = site.path("admin-token");
    fs::write(&token_file, "a-token-of-some-length\n").unwrap();
    let admin = |port: u16| {
        format!(
            "[admin]\naddress = \"127.0.0.1:{port}\"\ncertificate = {certificate:?}\nkey = {key:?}\ntoken_file = {token_file:?}\n{BOUNDED}"
        )
    };
    site.configure(&admin(0));
    let broker = site.start();
    site.configure(&admin(broker.admin.port()));
    let (config, ca) = (site.config(), files.ca);
    let (config, ca) = (config.to_str().unwrap(), ca.to_str().unwrap());
    let ls = |args: &[&str]| {
        let mut command = site.command();
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
    for (place, given, code, text) in [
        (url.as_str(), "another-token-of-some-length", 3, "it wants another token"),
        (&url.replace("https", "http"), "", 1, "asked over https://"),
        (&format!("https://{}", broker.address), "", 1, "makes no sense"),
    ] {
        let wrong = ls(&["--admin", place, "--ca", ca, "--admin-token", given]);
        assert_eq!((wrong.status.code(), told(&wrong).contains(text)), (Some(code), true), "{}", told(&wrong));
    }
    fs::write(&token_file, " \n").unwrap();
    let empty = ls(&["--admin", &url, "--ca", ca, "--admin-token-file", token_file.to_str().unwrap()]);
    assert!(told(&empty).contains("--admin-token-file") && told(&empty).contains("no token"), "{}", told(&empty));
    let other = home();
    DevCertificates::make(other.path(), &[], SystemTime::now()).unwrap();
    let untrusted = ls(&["--admin", &url, "--ca", other.path().join("ca.pem").to_str().unwrap()]);
    assert_eq!((untrusted.status.code(), told(&untrusted).contains("--ca")), (Some(1), true), "{}", told(&untrusted));
}
