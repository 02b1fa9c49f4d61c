//! The admin listener's routes about streams, over real sockets, with streams that are really kept.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroU64,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
};

use carillon::{
    admin::{AdminListener, Readiness, Settings},
    config::Secret,
};
use carillon_metrics::{BrokerMetrics, Exporter, ShardMetrics};
use carillon_streams::{
    keeper::{Event, Keeper, Options, Outcome, Shards, SubmissionHead, Submissions},
    stream::{DedupWindow, Definition, Durability, Retention, StreamName},
};
use carillon_wire::{
    Headers, PatternBuf, Topic,
    broker_message::{Delivery, InStream},
    headers::HeadersBuf,
};
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "a-token-of-some-length";
const CHANGE: &str = "Carillon-Admin: 1\r\n";

/// The one shard of these tests: it hears what became of publications.
struct Ear(Mutex<Sender<Outcome>>);

impl Shards for Ear {
    fn count(&self) -> usize {
        1
    }

    fn tell(&self, _shard: usize, event: Event) {
        let Event::Committed(committed) = event else { return };
        let answers = committed.answers.into_iter().flat_map(|answers| answers.answers);
        for answer in answers {
            // The test may have ended.
            let _ = self.0.lock().unwrap().send(answer.outcome);
        }
    }
}

fn definition(name: &str, durability: Durability) -> Definition {
    Definition {
        name: StreamName::new(name).unwrap(),
        patterns: vec![PatternBuf::new(&format!("{name}.>")).unwrap()],
        durability,
        retention: Retention { max_bytes: NonZeroU64::new(1 << 20), ..Retention::default() },
        dedup: DedupWindow { time_us: 1_000_000, ids: 10 },
        max_topics: 10,
    }
}

/// An admin listener with a stream on disk, `kept`, and one in memory, `live`.
struct Site {
    admin: AdminListener,
    keeper: Keeper,
    outcomes: Receiver<Outcome>,
    _directory: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(Settings::new(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (admin, (keeper, outcomes)) = (listener(settings), keeper(directory.path()));
        admin.serve_streams(Some(keeper.clone()));
        Self { admin, keeper, outcomes, _directory: directory }
    }

    fn publish(&self, topic: &str, payload: &[u8], headers: Headers<'_>) {
        let definitions = self.keeper.routes().definitions();
        let stream = self.keeper.routes().stream_of(Topic::new(topic).unwrap()).unwrap();
        let definition = &definitions[stream];
        let delivery = Delivery {
            topic: Topic::new(topic).unwrap(),
            payload,
            time_us: 0,
            headers,
            in_stream: Some(InStream { stream: definition.name.as_str(), sequence: 0 }),
        };
        let mut submissions = Submissions::new(0, 1);
        let stream = u32::try_from(stream).unwrap();
        let head = SubmissionHead { stream, request: Some(1), topic, message_id: None, expected_last: None };
        submissions.push(head, |out| delivery.encode_in_stream(out));
        self.keeper.try_submit(definition.durability, submissions).unwrap();
        assert!(matches!(self.outcomes.recv().unwrap(), Outcome::Kept { .. }));
    }

    fn ask(&self, line: &str, headers: &str) -> Answer {
        ask(&self.admin, line, &format!("Host: localhost\r\n{headers}"))
    }

    fn document(&self, route: &str) -> Value {
        let answer = self.ask(&format!("GET {route}"), "");
        assert_eq!(answer.status, 200, "{route}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/json\r\n"), "{}", answer.head);
        answer.json()
    }

    /// The lines of a page, the last one apart.
    fn page(&self, route: &str) -> (Vec<Value>, Value) {
        let answer = self.ask(&format!("GET {route}"), "");
        assert_eq!(answer.status, 200, "{route}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/x-ndjson\r\n"), "{}", answer.head);
        let mut lines: Vec<Value> = answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let end = lines.pop().unwrap()["page"].take();
        (lines, end)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.keeper.clone().stop();
    }
}

fn keeper(directory: &Path) -> (Keeper, Receiver<Outcome>) {
    let definitions = vec![definition("kept", Durability::Disk), definition("live", Durability::Memory)];
    let options = Options { directory: Some(directory.to_owned()), page_messages: 4, ..Options::default() };
    let (sender, outcomes) = mpsc::channel();
    let opened = Keeper::open(definitions, options, Arc::new(())).unwrap();
    (opened.start(Arc::new(Ear(Mutex::new(sender)))).unwrap(), outcomes)
}

fn listener(settings: Settings) -> AdminListener {
    let metrics = Arc::new(BrokerMetrics::new("0.0.0", Vec::new()));
    let readiness = Arc::new(Readiness::starting(Arc::clone(&metrics)));
    let exporter = Exporter::new(metrics, vec![Arc::new(ShardMetrics::default())]).unwrap();
    AdminListener::start(settings, exporter, readiness).unwrap()
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

fn ask(admin: &AdminListener, line: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(admin.address()).unwrap();
    write!(stream, "{line} HTTP/1.1\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: format!("{head}\r\n"), body: body.to_owned() }
}

#[test]
fn streams_are_listed_with_what_they_keep_and_their_store() {
    let site = Site::new();
    site.publish("kept.a", b"one", Headers::EMPTY);
    site.publish("kept.b", b"two", Headers::EMPTY);
    let list = site.document("/streams");
    let names: Vec<_> = list["streams"].as_array().unwrap().iter().map(|stream| &stream["name"]).collect();
    assert_eq!(names, ["kept", "live"]);
    let kept = &list["streams"][0];
    assert_eq!((&kept["messages"], &kept["first_sequence"], &kept["last_sequence"]), (&2.into(), &1.into(), &2.into()));
    assert_eq!((&kept["topics"], &kept["takes_publications"]), (&2.into(), &true.into()));
    assert_eq!(
        (&kept["definition"]["durability"], &kept["definition"]["topics"][0]),
        (&"disk".into(), &"kept.>".into())
    );
    assert_eq!((&list["store"]["failed"], &list["store"]["damaged_messages"]), (&Value::Null, &0.into()));

    let info = site.document("/streams/kept");
    assert_eq!((&info["epoch"], &info["store"]["segments"]), (&kept["epoch"], &list["store"]["segments"]));
    assert_eq!(site.document("/streams/live")["store"], Value::Null);
    assert_eq!(site.document("/streams/live")["epoch_reason"], "restarted");
}

#[test]
fn messages_come_in_pages_that_say_where_they_go_on() {
    for name in ["kept", "live"] {
        let site = Site::new();
        for number in 1..=10 {
            site.publish(&format!("{name}.{}", number % 2), format!("{number}").as_bytes(), Headers::EMPTY);
        }
        let (mut read, mut from) = (Vec::new(), 1);
        loop {
            let (lines, end) = site.page(&format!("/streams/{name}/messages?from={from}&through=9"));
            assert!(lines.len() <= 4, "a page is bounded");
            read.extend(lines.iter().map(|line| line["sequence"].as_u64().unwrap()));
            assert_eq!(end["last_sequence"], 10);
            if end["is_end"] == true {
                break;
            }
            from = end["next"].as_u64().unwrap();
        }
        assert_eq!(read, (1..=9).collect::<Vec<_>>(), "{name}");
        let payloads = |route: &str| -> Vec<String> {
            let (lines, _) = site.page(&format!("/streams/{name}/messages?{route}"));
            lines.iter().map(|line| line["payload"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(payloads("last=2"), ["9", "10"]);
        assert_eq!(payloads(&format!("last=2&topic={name}.0")), ["8", "10"]);
        assert_eq!(payloads(&format!("topic={name}.%2A&from=3&limit=2")), ["3", "4"]);
        assert_eq!(payloads("from=11"), Vec::<String>::new());
        assert_eq!(payloads("from=1000"), Vec::<String>::new());
    }
}

#[test]
fn message_has_its_topic_headers_and_bytes() {
    let site = Site::new();
    let headers = HeadersBuf::from_iter([("kind", "greeting")]);
    site.publish("live.a", "grün \"\n".as_bytes(), headers.as_headers());
    site.publish("live.b", b"\xff\x00", Headers::EMPTY);
    let (lines, end) = site.page("/streams/live/messages");
    assert_eq!((&lines[0]["topic"], &lines[0]["payload"]), (&"live.a".into(), &"grün \"\n".into()));
    assert_eq!((&lines[0]["headers"]["kind"], &lines[0]["sequence"]), (&"greeting".into(), &1.into()));
    assert!(lines[0]["time_us"].as_u64().unwrap() > 1_000_000_000_000_000);
    assert_eq!((&lines[1]["payload_base64"], &lines[1]["payload"]), (&"/wA=".into(), &Value::Null));
    assert_eq!((&end["next"], &end["is_end"]), (&3.into(), &true.into()));
}

#[test]
fn purge_moves_the_beginning_and_is_told_as_a_gap() {
    for name in ["kept", "live"] {
        let site = Site::new();
        for _ in 1..=3 {
            site.publish(&format!("{name}.a"), b"x", Headers::EMPTY);
        }
        let purged = site.ask(&format!("POST /streams/{name}/purge?before=3"), CHANGE);
        assert_eq!((purged.status, &purged.json()["first_sequence"]), (200, &3.into()), "{}", purged.body);
        assert_eq!(purged.json()["messages"], 2);
        let (lines, _) = site.page(&format!("/streams/{name}/messages?from=2"));
        assert_eq!(lines[0]["gap"], serde_json::json!({ "first": 2, "last": 2, "reason": "purge" }), "{name}");
        assert_eq!(lines[1]["sequence"], 3);
        let purged = site.ask(&format!("POST /streams/{name}/purge?all=true"), CHANGE);
        assert_eq!((purged.status, &purged.json()["first_sequence"]), (200, &4.into()), "{}", purged.body);
        assert_eq!(site.document(&format!("/streams/{name}"))["messages"], 0);
    }
}

#[test]
fn removed_stream_begins_anew_and_who_names_the_old_epoch_is_told() {
    for name in ["kept", "live"] {
        let site = Site::new();
        site.publish(&format!("{name}.a"), b"old", Headers::EMPTY);
        let before = site.document(&format!("/streams/{name}"))["epoch"].as_str().unwrap().to_owned();
        let removed = site.ask(&format!("POST /streams/{name}/rm"), CHANGE);
        assert_eq!(removed.status, 200, "{}", removed.body);
        let after = removed.json()["epoch"].as_str().unwrap().to_owned();
        assert_ne!(before, after);
        site.publish(&format!("{name}.a"), b"new", Headers::EMPTY);
        let info = site.document(&format!("/streams/{name}"));
        assert_eq!((&info["epoch"], &info["last_sequence"]), (&after.as_str().into(), &1.into()));

        let (lines, _) = site.page(&format!("/streams/{name}/messages?from=2&epoch={before}"));
        assert_eq!(
            (&lines[0]["epoch"]["epoch"], &lines[0]["epoch"]["reason"]),
            (&after.as_str().into(), &"created".into())
        );
        assert_eq!(lines[1]["payload"], "new");
        let (lines, _) = site.page(&format!("/streams/{name}/messages?from=1&epoch={after}"));
        assert_eq!((lines.len(), &lines[0]["payload"]), (1, &"new".into()));
    }
}

#[test]
fn renewed_epoch_keeps_the_messages() {
    let site = Site::new();
    site.publish("kept.a", b"x", Headers::EMPTY);
    let renewed = site.ask("POST /streams/kept/renew-epoch", CHANGE);
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    let info = site.document("/streams/kept");
    assert_eq!((&info["epoch"], &info["epoch_reason"]), (&renewed.json()["epoch"], &"renewed".into()));
    assert_eq!((&info["messages"], &info["past_epochs"].as_array().unwrap().len()), (&1.into(), &1));
}

#[test]
fn store_that_works_is_reopened_without_a_word() {
    let site = Site::new();
    let reopened = site.ask("POST /store/reopen", CHANGE);
    assert_eq!((reopened.status, reopened.json()), (200, serde_json::json!({ "findings": [] })));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let site = Site::new();
    for (line, status, text) in [
        ("GET /streams/none", 404, "no stream has the name `none`"),
        ("GET /streams/none/messages", 404, "`none`"),
        ("POST /streams/none/purge?all=true", 404, "`none`"),
        ("GET /streams/not.a.name", 400, "not.a.name"),
        ("GET /streams/live/messages?from=0", 400, "1 or more"),
        ("GET /streams/live/messages?from=1&last=1", 400, "only one"),
        ("GET /streams/live/messages?epoch=e", 400, "give both"),
        ("GET /streams/live/messages?topic=a..b", 400, "no pattern"),
        ("GET /streams/live/messages?form=1", 400, "known: from"),
        ("GET /streams?x=1", 400, "\"x\""),
        ("POST /streams/live/purge", 400, "before=SEQUENCE"),
        ("POST /streams/live/purge?all=true&before=1", 400, "before=SEQUENCE"),
        ("POST /streams/live/purge?before=1&befor=2", 400, "befor"),
        ("GET /streams/live/purge?all=true", 405, "POST"),
        ("POST /streams", 405, "GET, HEAD"),
        ("DELETE /streams/live", 405, "GET, HEAD"),
    ] {
        let answer = site.ask(line, CHANGE);
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert!(answer.error().contains(text), "{line}: {}", answer.body);
    }
    for line in ["GET /streams/live/nothing", "GET /streams/live/", "GET /streamsx", "GET /store"] {
        assert_eq!(site.ask(line, CHANGE).status, 404, "{line}");
    }
    assert!(site.ask("GET /streams/live/rm", "").head.contains("allow: POST\r\n"));
}

#[test]
fn changes_need_a_header_that_no_page_can_send_and_take_no_body() {
    let site = Site::new();
    site.publish("live.a", b"x", Headers::EMPTY);
    for headers in ["", "Carillon-Admin: 0\r\n", "Content-Type: text/plain\r\nOrigin: http://evil.example\r\n"] {
        let refused = site.ask("POST /streams/live/purge?all=true", headers);
        assert_eq!(refused.status, 403, "{headers:?}");
        assert!(refused.error().contains("Carillon-Admin"), "{}", refused.body);
    }
    // What a browser would ask first is not agreed to.
    let preflight = site.ask(
        "OPTIONS /streams/live/purge?all=true",
        "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: carillon-admin\r\n",
    );
    assert_eq!(preflight.status, 405);
    assert!(!preflight.head.to_ascii_lowercase().contains("access-control"), "{}", preflight.head);
    let refused = site.ask("POST /streams/live/purge?all=true", &format!("{CHANGE}Content-Length: 2\r\n\r\n{{}}"));
    assert_eq!((refused.status, refused.error().contains("no body")), (400, true));
    assert_eq!(site.document("/streams/live")["messages"], 1, "nothing was purged");
}

#[test]
fn without_a_token_only_hosts_that_nobody_can_rebind_are_served() {
    let site = Site::new();
    for (host, status) in [
        ("Host: 127.0.0.1:8444\r\n", 200),
        ("Host: [::1]:8444\r\n", 200),
        ("Host: evil.example:8444\r\n", 403),
        ("Host: localhost.evil.example\r\n", 403),
        ("", 403),
    ] {
        assert_eq!(ask(&site.admin, "GET /streams", host).status, status, "{host:?}");
        // What was there before streams tells nothing of anybody's messages.
        assert_eq!(ask(&site.admin, "GET /healthz", host).status, 200, "{host:?}");
    }
    let site = Site::with(Settings {
        token: Some(Secret::new(TOKEN)),
        ..Settings::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    });
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(&site.admin, "GET /streams", &format!("Host: broker.example\r\n{token}")).status, 200);
    assert_eq!(ask(&site.admin, "GET /streams", "Host: broker.example\r\n").status, 401);
    let purge = "POST /streams/live/purge?all=true";
    assert_eq!(ask(&site.admin, purge, &format!("Host: localhost\r\n{CHANGE}")).status, 401);
    assert_eq!(ask(&site.admin, purge, &format!("Host: localhost\r\n{CHANGE}{token}")).status, 200);
}

#[test]
fn broker_that_starts_and_broker_without_streams_say_so() {
    let admin = listener(Settings::new(SocketAddr::from(([127, 0, 0, 1], 0))));
    let starting = ask(&admin, "GET /streams", "Host: localhost\r\n");
    assert_eq!((starting.status, starting.error().contains("starting")), (503, true));
    admin.serve_streams(None);
    let list = ask(&admin, "GET /streams", "Host: localhost\r\n").json();
    assert_eq!(list, serde_json::json!({ "streams": [], "store": null }));
    let none = ask(&admin, "POST /store/reopen", &format!("Host: localhost\r\n{CHANGE}"));
    assert_eq!((none.status, none.error().contains("no stream is defined")), (404, true));
}
