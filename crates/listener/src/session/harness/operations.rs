//! What clients, the operator and time do, read from bytes: whatever these are, they mean something.

use carillon_access::identity::Secret;
use carillon_wire::{
    ClientMessage, CloseCode, Headers, Id, Overflow, Pattern, Topic,
    client_message::{Connect, Publish, Refresh, Subscribe, Unsubscribe},
};
use tokio::time::{Duration, Instant};

use super::{
    super::{Ending, Session, heartbeat::Heartbeat},
    outbox::Outbox,
    rules::{self, Credentials, EDITIONS},
    world::{Client, SHARDS, World},
};
use crate::{
    arrival::Arrival,
    quota::{Entered, Scope},
};

const TOPICS: [&str; 10] =
    ["a", "a.b", "a.x", "a.secret", "a.secret.b", "b", "user.alice.x", "user.bob.x", "x", "$sys.a"];
const PATTERNS: [&str; 14] =
    ["a", "a.>", "a.*", "a.b", "b", ">", "*", "*.x", "user.alice.>", "user.*.x", "a.secret.>", "*.*", "x", "$sys.>"];
const PAYLOADS: [usize; 5] = [0, 10, 300, 1_000, 1_001];
const PASSING_MS: [u64; 6] = [1, 1_000, 10_000, 61_000, 120_000, 4_000_000];

/// What is left of the input.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn next(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    /// One of so many.
    fn below(&mut self, end: usize) -> usize {
        self.next().map_or(0, usize::from) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn credentials(&mut self) -> Credentials {
        self.one_of(&Credentials::ALL)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        self.0.split_off(..length.min(self.0.len())).unwrap_or_default()
    }
}

impl World {
    /// Does one operation at a place. What it takes besides is read from the bytes.
    pub(super) fn operate(&mut self, operation: u8, place: usize, bytes: &mut Bytes<'_>) {
        match operation {
            0 => self.open(place, bytes.credentials()),
            1..=6 => self.request(operation, place, bytes),
            7 => self.with_client(place, |_, client| client.heartbeat_is_due()),
            8 => self.with_client(place, |world, client| world.heartbeat_reply(client, bytes.below(3))),
            9 => self.with_client(place, |world, client| {
                world.read(client, bytes.below(8));
                Ok(())
            }),
            10 => {
                self.edition = bytes.below(EDITIONS);
                self.times_replaced += 1;
                self.gate.replace(rules::rules(self.edition));
            }
            11 => self.pass(Duration::from_millis(bytes.one_of(&PASSING_MS))),
            12 => self.with_client(place, |_, client| client.term_is_due()),
            13 => {
                let length = bytes.below(256);
                let raw = bytes.take(length);
                self.with_client(place, |world, client| world.say(client, raw));
            }
            14 => self.with_client(place, |_, _| Err(Ending::new(CloseCode::Normal, "the client has gone"))),
            _ => {
                let (topic, times) = (bytes.one_of(&TOPICS), bytes.below(16));
                for _ in 0..times {
                    self.with_client(place, |world, client| {
                        let topic = Topic::new(topic).expect("a topic");
                        let publish = Publish {
                            id: None,
                            topic,
                            payload: b"of many",
                            headers: Headers::EMPTY,
                            message_id: None,
                            expected_sequence: None,
                        };
                        world.ask(client, &ClientMessage::Publish(publish))
                    });
                }
            }
        }
    }

    fn open(&mut self, place: usize, from_request: Credentials) {
        if self.clients[place].is_some() {
            return;
        }
        let scopes = self.gate.scopes();
        let address = rules::address(place);
        let account = self.ledger.address(address, &scopes.address, self.moment.nanos);
        let arrival = Arrival {
            peer: address,
            address,
            counted: Entered::connection(&self.ledger, Scope::Address, account, &scopes.address),
            authorization: from_request.presented().map(Secret::new),
            certificate: None,
        };
        let shard = place % SHARDS;
        let key = self.shards[shard].hub.connect();
        let heartbeat = Heartbeat::new(self.settings.deadlines.heartbeat, Instant::now());
        self.clients[place] = Some(Client {
            session: Session::new(key, format!("s{shard}"), arrival, heartbeat),
            key,
            shard,
            from_request,
            who: None,
            edition: self.edition,
            rules_seen: self.times_replaced,
            outbox: Outbox::default(),
            unanswered: None,
            is_told_of_end: false,
            last_request: 1_000,
        });
    }

    fn request(&mut self, operation: u8, place: usize, bytes: &mut Bytes<'_>) {
        self.with_client(place, |world, client| {
            client.last_request += 1;
            let id = Id::from(client.last_request);
            let mut subscription_id = || Id::from(u32::from(bytes.next().unwrap_or_default() % 6));
            match operation {
                1 => {
                    let token = bytes.credentials().presented();
                    world.ask(
                        client,
                        &ClientMessage::Connect(Connect { id, token, client: None, headers: Headers::EMPTY }),
                    )
                }
                2 => {
                    let id = subscription_id();
                    let pattern = Pattern::new(bytes.one_of(&PATTERNS)).expect("a pattern");
                    let overflow = Overflow::from_number(bytes.one_of(&[0, 0, 0, 1, 2]));
                    world.ask(client, &ClientMessage::Subscribe(Subscribe { id, pattern, overflow, start: None }))
                }
                3 => {
                    let subscription = subscription_id();
                    world.ask(client, &ClientMessage::Unsubscribe(Unsubscribe { id, subscription }))
                }
                4 => {
                    let topic = Topic::new(bytes.one_of(&TOPICS)).expect("a topic");
                    let payload = vec![7; bytes.one_of(&PAYLOADS)];
                    let publish = Publish {
                        id: Some(id),
                        topic,
                        payload: &payload,
                        headers: Headers::EMPTY,
                        message_id: None,
                        expected_sequence: None,
                    };
                    world.ask(client, &ClientMessage::Publish(publish))
                }
                5 => {
                    let token = bytes.credentials().presented().unwrap_or_default();
                    world.ask(client, &ClientMessage::Refresh(Refresh { id, token }))
                }
                _ => world.ask(client, &ClientMessage::Ping(id)),
            }
        });
    }

    fn heartbeat_reply(&mut self, client: &mut Client, behind: usize) -> Result<(), Ending> {
        let number = client.unanswered.map_or(0, Id::get).saturating_sub(behind as u64);
        self.ask(client, &ClientMessage::HeartbeatReply(Id::new(number).expect("a small number")))
    }
}
