//! `carillon pub` and `carillon sub` on streams, as they are typed.

use std::{path::Path, process::Output};

use serde_json::{Value, json};

use crate::{
    site::Site,
    support::{Broker, told},
};

/// What it printed, where it must succeed.
fn printed(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn objects(output: Output) -> Vec<Value> {
    printed(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Four messages in two topics; gives the epoch.
fn filled(site: &Site, broker: &Broker) -> String {
    for (topic, payload) in [("orders.a", "1"), ("orders.b", "2"), ("orders.a", "3"), ("orders.c", "4")] {
        printed(site.run(broker, &["pub", topic, payload]));
    }
    let last = objects(site.run(broker, &["sub", "--last", "1", "--count", "1", "--json", "orders.>"]));
    last[0]["epoch"].as_str().unwrap().to_owned()
}

#[test]
fn pub_tells_where_a_message_is_kept() {
    let site = Site::new(&[]);
    let broker = site.start();
    let publish = |args: &[&str]| site.run(&broker, &[&["pub"], args].concat());
    assert_eq!(printed(publish(&["orders.a", "x"])), "");
    let line = printed(publish(&["orders.a", "x", "-v"]));
    assert!(line.starts_with("kept in orders at ") && line.ends_with(":2\n"), "{line}");
    let first = &objects(publish(&["orders.a", "x", "--message-id", "id", "--json"]))[0];
    assert_eq!(
        (&first["stream"], &first["sequence"], &first["duplicate"]),
        (&"orders".into(), &3.into(), &false.into())
    );
    let again = &objects(publish(&["orders.a", "x", "--message-id", "id", "--json"]))[0];
    assert_eq!((&again["sequence"], &again["epoch"], &again["duplicate"]), (&3.into(), &first["epoch"], &true.into()));
    assert!(printed(publish(&["orders.a", "x", "--message-id", "id", "-v"])).contains(":3, where it was before"));
    assert_eq!(objects(publish(&["loose.a", "x", "--json"])), [json!({ "stream": null })]);
    assert!(printed(publish(&["loose.a", "x", "-v"])).contains("no stream keeps this topic"));
    assert_eq!(objects(publish(&["orders.a", "x", "--expected-sequence", "3", "--json"]))[0]["sequence"], 4);

    let refused = publish(&["orders.a", "x", "--expected-sequence", "3", "--json"]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(3), 0));
    assert!(told(&refused).contains("the last sequence of the topic is 4, not 3"), "{}", told(&refused));
    let refused = publish(&["loose.a", "x", "--message-id", "id"]);
    assert_eq!((refused.status.code(), told(&refused).contains("no stream keeps this topic")), (Some(3), true));
}

#[test]
fn sub_starts_where_it_is_told() {
    let site = Site::new(&[]);
    let broker = site.start();
    let epoch = filled(&site, &broker);
    let position = format!("{epoch}:2");
    for (start, payloads) in [
        (["--from", "beginning"], &["1", "2", "3", "4"][..]),
        (["--from", "last"], &["2", "3", "4"]),
        (["--last", "2"], &["3", "4"]),
        (["--from", "2020-01-31T12:00:00Z"], &["1", "2", "3", "4"]),
        (["--from", &position], &["3", "4"]),
    ] {
        let count = payloads.len().to_string();
        let sub =
            |more: &[&str]| site.run(&broker, &[&["sub", "orders.>", "--count", &count], &start[..], more].concat());
        let raw = printed(sub(&["--raw"]));
        assert_eq!(raw.lines().collect::<Vec<_>>(), payloads, "{start:?}");
        let messages = objects(sub(&["--json"])).into_iter().filter(|object| object.get("topic").is_some());
        let kept =
            messages.map(|object| (object["sequence"].to_string(), object["payload"].clone(), object["epoch"].clone()));
        let expected = payloads.iter().map(|payload| ((*payload).to_owned(), json!(payload), json!(epoch)));
        assert_eq!(kept.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{start:?}");
    }
}

#[test]
fn sub_tells_what_happened_beside_messages() {
    let site = Site::new(&[]);
    let broker = site.start();
    let epoch = filled(&site, &broker);
    site.operate(&broker, &["purge", "orders", "--before", "4", "--yes"]);
    let sub = |position: &str, form: &[&str]| {
        site.run(&broker, &[&["sub", "orders.>", "--count", "1", "--from", position], form].concat())
    };
    let behind = format!("{epoch}:1");
    let events = objects(sub(&behind, &["--json"]));
    let resumed = json!({
        "outcome": "after_gap", "stream": "orders", "epoch": epoch, "sequence": 3, "reconnected": null,
    });
    let gap =
        json!({ "pattern": "orders.>", "reason": "purge", "count": 2, "stream": "orders", "first": 2, "last": 3 });
    assert_eq!(events[..2], [json!({ "resumed": resumed }), json!({ "gap": gap })]);
    assert_eq!((&events[2]["sequence"], events.len()), (&4.into(), 3));

    let text = sub(&behind, &[]);
    assert!(told(&text).contains("sequences 2 to 3 of the stream orders are missing here: purge"), "{}", told(&text));
    assert_eq!(printed(text), "orders.c 4\n");

    let events = objects(sub("another:7", &["--json"]));
    let changed = json!({ "stream": "orders", "epoch": epoch, "reason": "created", "from": 4 });
    assert_eq!(
        (&events[0]["resumed"]["outcome"], &events[1]),
        (&"other_epoch".into(), &json!({ "epoch_changed": changed }))
    );
}

#[test]
fn sub_refuses_what_makes_no_sense_with_a_reason() {
    let site = Site::new(&[]);
    let broker = site.start();
    for (args, code, text) in [
        (&["sub", "loose.a", "--from", "beginning"][..], 1, "no stream keeps everything that this pattern matches"),
        (&["sub", ">", "--last", "1"], 1, "no_stream"),
        (&["sub", "orders.a", "orders.b", "--from", "now"], 2, "one pattern, and this one has 2"),
        (&["sub", "orders.a", "--from", "now", "--last", "1"], 2, "cannot be used with"),
        (&["sub", "orders.a", "--last", "0"], 2, "--last"),
        (&["sub", "orders.a", "--from", "tomorrow"], 2, "EPOCH:SEQUENCE"),
        (&["sub", "orders.a", "--from", "2030-01-31T12:00:00"], 2, "a time with its zone"),
        (&["pub", "orders.a", "x", "--message-id", ""], 2, "1 to 128 bytes"),
        (&["pub", "orders.a", "x", "--expected-sequence", "9007199254740992"], 2, "from 0 to 9007199254740991"),
        (&["pub", "orders.a", "--lines", "--message-id", "id"], 2, "cannot be used with"),
        (&["pub", "orders.a", "x", "--json", "-v"], 2, "cannot be used with"),
    ] {
        let output = site.run(&broker, args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
        assert!(told(&output).contains(text), "{args:?}: {}", told(&output));
    }
}

#[test]
fn example_to_try_keeps_what_is_published_once_over_a_kill() {
    let site = Site::new(&[]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/streams.example.toml");
    let broker = site.start_dev(&example);
    let publish = ["pub", "orders.eu.created", r#"{"order":4711}"#, "--message-id", "4711", "-v"];
    assert!(printed(site.run(&broker, &publish)).ends_with(":1\n"));
    assert!(printed(site.run(&broker, &publish)).ends_with(":1, where it was before\n"));
    drop(broker);
    let broker = site.start_dev(&example);
    assert!(printed(site.run(&broker, &publish)).ends_with(":1, where it was before\n"));
    let read = site.run(&broker, &["sub", "--from", "beginning", "--count", "1", "orders.>"]);
    assert_eq!(printed(read), "orders.eu.created {\"order\":4711}\n");
}

#[test]
fn help_names_every_key_of_the_json_output() {
    let site = Site::new(&[]);
    for (command, keys) in [
        ("pub", &["stream", "sequence", "epoch", "duplicate"][..]),
        (
            "sub",
            &["topic", "payload", "payload_base64", "time", "headers", "stream", "sequence", "epoch", "reason", "from"],
        ),
    ] {
        let help = printed(site.help(command));
        for key in keys {
            assert!(help.contains(&format!("\"{key}\"")), "{key} is not in the help of {command}: {help}");
        }
    }
}
