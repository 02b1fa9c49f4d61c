//! What is kept over the ends of a broker, over reloads, changes of its configuration and failures of its store.

use std::fs;

use crate::{
    site::{BOUNDED, Site},
    support::{Broker, told, wait_for},
};

fn kill(mut broker: Broker) {
    broker.child.kill().unwrap();
    broker.child.wait().unwrap();
}

fn drain(mut broker: Broker) {
    broker.signal("TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn messages_on_disk_outlive_the_broker_and_those_in_memory_do_not() {
    let site = Site::configured(BOUNDED);
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
fn reload_changes_how_much_is_kept_and_nothing_that_needs_a_restart() {
    let site = Site::configured(BOUNDED);
    let mut broker = site.start();
    site.publish(&broker, "orders.a", &["one", "two", "three"]);
    site.configure(&BOUNDED.replace("max_messages = 1000", "max_messages = 1"));
    broker.signal("HUP");
    broker.wait_for_metric("carillon_config_reloads_total{result=\"ok\"}", 1);
    broker.wait_for_metric("carillon_stream_messages{stream=\"orders\"}", 1);
    assert_eq!(site.payloads(&broker, &["orders", "--from", "3"]), ["three"]);
    assert_eq!(site.json(&broker, &["info", "orders"])["definition"]["max_messages"], 1);

    site.configure(&BOUNDED.replace("ticks.*", "clocks.*"));
    broker.signal("HUP");
    broker.wait_for_metric("carillon_config_reloads_total{result=\"ok\"}", 2);
    let line = wait_for(&mut broker.log, "after a restart only");
    assert!(line.contains("streams.ticks.topics"), "{line}");
    assert_eq!(site.json(&broker, &["info", "ticks"])["definition"]["topics"][0], "ticks.*");

    site.configure(&BOUNDED.replace("max_messages = 1000", ""));
    broker.signal("HUP");
    wait_for(&mut broker.log, "nothing bounds what these streams keep: orders");
    site.configure(BOUNDED);
    broker.signal("HUP");
    broker.wait_for_metric("carillon_config_reloads_total{result=\"ok\"}", 4);

    site.configure(
        &BOUNDED.replace("max_messages = 1000", "max_messages = 1").replace("max_bytes = 1000000", "max_bytes = 0"),
    );
    broker.signal("HUP");
    broker.wait_for_metric("carillon_config_reloads_total{result=\"failed\"}", 1);
    assert_eq!(site.json(&broker, &["info", "orders"])["definition"]["max_messages"], 1000, "as of the last good one");
}

#[test]
fn start_that_would_lose_messages_is_refused_with_advice() {
    let site = Site::configured(BOUNDED);
    let broker = site.start();
    site.publish(&broker, "orders.a", &["kept"]);
    drain(broker);
    let renamed = BOUNDED.replace("streams.orders", "streams.purchases");
    let in_memory = BOUNDED.replace("max_messages", "durability = \"memory\"\nmax_bytes = 1000\nmax_messages");
    let elsewhere = BOUNDED.replace("orders.>", "purchases.>");
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
    site.configure(BOUNDED);
    let broker = site.start();
    assert_eq!(site.payloads(&broker, &["orders"]), ["kept"]);
    site.operate(&broker, &["rm", "orders", "--yes"]);
    drain(broker);
    site.configure("");
    drain(site.start());
}

#[test]
fn store_that_another_broker_has_is_left_alone() {
    let site = Site::configured(BOUNDED);
    let broker = site.start();
    site.publish(&broker, "orders.a", &["kept"]);
    let refused = site.refused_start();
    assert_eq!(refused.status.code(), Some(1), "another start may go better: {}", told(&refused));
    assert!(told(&refused).contains("another process has the store"), "{}", told(&refused));
    assert_eq!(site.payloads(&broker, &["orders"]), ["kept"]);
}

#[test]
fn damaged_store_is_told_and_nothing_is_changed() {
    let site = Site::configured(BOUNDED);
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
    let site = Site::configured(&format!("[store]\nsegment_bytes = 65536\n{BOUNDED}"));
    let mut broker = site.start();
    site.publish(&broker, "orders.a", &["before"]);
    // The next file of the log cannot be made.
    let (store, away) = (site.path("data").join("streams"), site.path("data").join("away"));
    fs::rename(&store, &away).unwrap();
    let line = "x".repeat(10_000);
    // How much goes into the file that is there depends on what is committed together.
    let rounds = (0..10).map(|_| site.publish_text(&broker, "orders.a", &format!("{line}\n").repeat(20)));
    let refused = rounds.into_iter().find(|output| output.status.code() != Some(0)).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    wait_for(&mut broker.log, "the store has failed");
    broker.wait_for_metric("carillon_store_failed", 1);
    let ready = broker.ask("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("carillon stream reopen"), "{ready}");
    assert!(site.operate(&broker, &["ls"]).contains("The store has failed"));
    assert_eq!(site.payloads(&broker, &["orders", "--from", "1"])[0], "before", "what was kept stays readable");
    site.publish(&broker, "ticks.a", &["others go on"]);
    let too_soon = site.stream(&broker, &["reopen"]);
    assert_eq!(too_soon.status.code(), Some(1), "{}", told(&too_soon));

    fs::rename(&away, &store).unwrap();
    assert!(site.operate(&broker, &["reopen"]).contains("the store is open"));
    broker.wait_for_metric("carillon_store_failed", 0);
    assert!(broker.ask("/readyz").starts_with("HTTP/1.1 200"));
    site.publish(&broker, "orders.a", &["after"]);
    let read = site.payloads(&broker, &["orders"]);
    assert_eq!((read[0].as_str(), read[read.len() - 1].as_str()), ("before", "after"));
}
