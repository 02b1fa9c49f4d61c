//! A publication is allocated for the shard, and not again for any of those who get it.
//!
//! A real broker runs in this process, whose allocator counts for all of its threads. Its clients are another process,
//! this test once more, so that what they allocate is not counted. Both bring publications in the same two ways to
//! more subscribers; whatever is allocated for a delivery would grow with them.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test may")]

mod support;

use std::{
    alloc::System,
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    sync::mpsc,
    thread,
    time::Duration,
};

use carillon_listener::Tls;
use carillon_wire::{ClientMessage, Headers, Topic, client_message::Publish};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Broker, Client, Said, client_config, eventually, settings};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TOPIC: &str = "prices.eur";
const PUBLICATIONS: usize = 1_024;
const WARM_UP: usize = 64;
/// How many lie in one WebSocket message: one, and then the broker writes each delivery by itself; or many, and then it
/// writes them together. More than the router keeps room for in an empty outbox would let each burst allocate.
const FRAMINGS: [usize; 2] = [1, 32];
/// What the clients are told by the environment.
const BROKER: &str = "ALLOCATIONS_BROKER";
const CERTIFICATE: &str = "ALLOCATIONS_CERTIFICATE";
const KEY: &str = "ALLOCATIONS_KEY";
const CONTROL: &str = "ALLOCATIONS_CONTROL";
const SUBSCRIBERS: &str = "ALLOCATIONS_SUBSCRIBERS";

#[test]
fn deliveries_to_more_subscribers_allocate_nothing_more() {
    const FEW: usize = 100;
    const MANY: usize = 200;
    if let Ok(broker) = env::var(BROKER) {
        // This is the process that the test has started for its clients.
        return be_clients(&broker);
    }
    let (few, many) = (publish_to(FEW), publish_to(MANY));
    for ((framing, few), many) in FRAMINGS.iter().zip(few).zip(many) {
        println!(
            "{PUBLICATIONS} publications, {framing} in a message: to {FEW} subscribers {few} allocations, to {MANY} {many}"
        );
        let for_each_delivery = (many as f64 - few as f64) / ((MANY - FEW) * PUBLICATIONS) as f64;
        // Not exactly none: how many publications arrive together may differ.
        assert!(for_each_delivery < 0.01, "{for_each_delivery} for each delivery, with {framing} in a message");
    }
}

/// What a broker allocates for the publications, brought in each of the framings, once it has had such before.
fn publish_to(subscribers: usize) -> [usize; FRAMINGS.len()] {
    let mut settings = settings();
    // Long enough that there is none during the test.
    settings.deadlines.heartbeat = Duration::from_hours(1);
    let broker = Broker::start(settings);
    let (_clients, mut control) = start_clients(&broker, subscribers);
    FRAMINGS.map(|framing| {
        // Queues and buffers get the size that they need.
        publish_all(&mut control, framing, WARM_UP);
        publish_all(&mut control, framing, PUBLICATIONS)
    })
}

/// Has the clients publish so many and receive them.
fn publish_all(control: &mut TcpStream, framing: usize, publications: usize) -> usize {
    let region = Region::new(ALLOCATOR);
    let told = [framing, publications / framing].map(|number| u16::try_from(number).unwrap().to_be_bytes());
    control.write_all(told.as_flattened()).unwrap();
    control.read_exact(&mut [0]).unwrap();
    let change = region.change();
    change.allocations + change.reallocations
}

/// Ends the clients with the test.
struct Clients(Child);

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the clients; returns once all have subscribed.
fn start_clients(broker: &Broker, subscribers: usize) -> (Clients, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clients = Command::new(env::current_exe().unwrap())
        .args(["--exact", "deliveries_to_more_subscribers_allocate_nothing_more"])
        .env(BROKER, broker.address.to_string())
        .env(CERTIFICATE, &broker.files.certificate)
        .env(KEY, &broker.files.key)
        .env(CONTROL, listener.local_addr().unwrap().to_string())
        .env(SUBSCRIBERS, subscribers.to_string())
        .spawn();
    let clients = Clients(clients.unwrap());
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    eventually("the clients' process", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (mut control, _) = accepted.unwrap();
    control.set_nonblocking(false).unwrap();
    // It ends with that process, so no time need be set.
    control.read_exact(&mut [0]).unwrap();
    (clients, control)
}

/// The other process: subscribes, says so, and then publishes as it is told.
fn be_clients(address: &str) {
    let told = |name| env::var(name).unwrap();
    let mut control = TcpStream::connect(told(CONTROL)).unwrap();
    let tls = Tls::from_files(Path::new(&told(CERTIFICATE)), Path::new(&told(KEY))).unwrap();
    let config = client_config(&tls);
    let connect = || {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(config.clone(), name).unwrap();
        let mut client = Broker::upgrade(StreamOwned::new(tls, tcp), "");
        client.connect();
        client
    };
    let (done, all_done) = mpsc::channel();
    let subscribers: usize = told(SUBSCRIBERS).parse().unwrap();
    for _ in 0..subscribers {
        let (mut client, done) = (connect(), done.clone());
        client.subscribe(TOPIC);
        thread::spawn(move || {
            loop {
                client.delivery();
                done.send(()).unwrap();
            }
        });
    }
    let mut publisher = connect();
    control.write_all(&[0]).unwrap();
    let mut told = [0; 4];
    while control.read_exact(&mut told).is_ok() {
        let [framing, messages] = [[told[0], told[1]], [told[2], told[3]]].map(u16::from_be_bytes).map(usize::from);
        for _ in 0..messages {
            publish(&mut publisher, framing);
            // So that what waits for a subscriber is one message's, however busy the machine is.
            for _ in 0..framing * subscribers {
                all_done.recv().unwrap();
            }
        }
        control.write_all(&[0]).unwrap();
    }
}

/// Publishes so many in one WebSocket message; waits for them to be accepted.
fn publish(publisher: &mut Client, framing: usize) {
    let publication = Publish {
        id: None,
        topic: Topic::new(TOPIC).unwrap(),
        payload: &[7; 128],
        headers: Headers::EMPTY,
        message_id: None,
        expected_sequence: None,
    };
    let mut message = Vec::new();
    for _ in 1..framing {
        ClientMessage::Publish(publication).encode(&mut message);
    }
    let id = publisher.id();
    ClientMessage::Publish(Publish { id: Some(id), ..publication }).encode(&mut message);
    publisher.send_bytes(&message);
    assert_eq!(publisher.next(), Said::Ok(id.get()));
}
