//! A shard's hub and a real keeper of memory streams, in any order of events, against what was kept.

mod client;
mod fairness;
mod world;

use std::collections::HashMap;

use carillon_streams::{keeper::Purge, stream::StreamName};
use proptest::prelude::*;

use self::world::{CONNECTIONS, STREAMS, World};

#[derive(Debug, Clone)]
enum Step {
    /// Into a stream, or below no stream's name.
    Publish {
        stream: usize,
        topic: u8,
        times: u8,
    },
    /// The next event for the shard, if one has come.
    Event,
    Subscribe {
        connection: usize,
        pattern: usize,
        start: u8,
    },
    Unsubscribe {
        connection: usize,
        which: usize,
    },
    /// The connection's socket takes so many things.
    Write {
        connection: usize,
        things: u8,
    },
    ReadOn {
        connection: usize,
    },
    Shrink,
    Purge {
        stream: usize,
    },
    Renew {
        stream: usize,
    },
    Remove {
        stream: usize,
    },
    Heartbeat {
        connection: usize,
    },
    Reconnect {
        connection: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (stream, connection) = (0..STREAMS.len(), 0..CONNECTIONS);
    prop_oneof![
        12 => (0..STREAMS.len() + 1, 0..3_u8, 1..6_u8).prop_map(|(stream, topic, times)| Step::Publish { stream, topic, times }),
        14 => Just(Step::Event),
        6 => (connection.clone(), 0..PATTERNS.len(), 0..7_u8).prop_map(|(connection, pattern, start)| Step::Subscribe { connection, pattern, start }),
        2 => (connection.clone(), 0..8_usize).prop_map(|(connection, which)| Step::Unsubscribe { connection, which }),
        10 => (connection.clone(), 1..12_u8).prop_map(|(connection, things)| Step::Write { connection, things }),
        8 => connection.clone().prop_map(|connection| Step::ReadOn { connection }),
        1 => Just(Step::Shrink),
        1 => stream.clone().prop_map(|stream| Step::Purge { stream }),
        1 => stream.clone().prop_map(|stream| Step::Renew { stream }),
        1 => stream.prop_map(|stream| Step::Remove { stream }),
        2 => connection.clone().prop_map(|connection| Step::Heartbeat { connection }),
        1 => connection.prop_map(|connection| Step::Reconnect { connection }),
    ]
}

const PATTERNS: [&str; 6] = ["a.>", "a.1", "b.*", "b.2", ">", "*.1"];

impl World {
    fn act(&mut self, step: &Step) {
        match *step {
            Step::Publish { stream, topic, times } => (0..times).for_each(|_| self.publish(stream, topic)),
            Step::Event => {
                self.event();
            }
            Step::Subscribe { connection, pattern, start } => self.subscribe(connection, PATTERNS[pattern], start),
            Step::Unsubscribe { connection, which } => self.unsubscribe(connection, which),
            Step::Write { connection, things } => {
                for _ in 0..things {
                    self.write(connection);
                }
            }
            Step::ReadOn { connection } => {
                self.hub.begin_turn(1);
                self.hub.read_on(self.connections[connection].key.unwrap());
                self.after();
            }
            Step::Shrink => {
                self.hub.shrink_outboxes(400);
                self.after();
            }
            Step::Purge { stream } => {
                self.keeper.purge(&StreamName::new(STREAMS[stream]).unwrap(), Purge::All).unwrap();
            }
            Step::Renew { stream } => {
                self.keeper.renew_epoch(&StreamName::new(STREAMS[stream]).unwrap()).unwrap();
            }
            Step::Remove { stream } => {
                self.truth.removed.insert(STREAMS[stream].to_owned());
                self.keeper.remove(&StreamName::new(STREAMS[stream]).unwrap()).unwrap();
            }
            Step::Heartbeat { connection } => self.heartbeat(connection),
            Step::Reconnect { connection } => self.reconnect(connection),
        }
    }

    /// In the end everybody is live, and has come to the stream's end.
    fn check_end(&mut self) {
        self.settle();
        for at in 0..CONNECTIONS {
            self.act(&Step::Heartbeat { connection: at });
        }
        self.settle();
        let newest: HashMap<_, _> = STREAMS.iter().zip(self.keeper.newest()).collect();
        for subscription in self.connections.iter().flat_map(|connection| connection.subscriptions.values()) {
            for (stream, way) in &subscription.ways {
                assert!(!way.is_catching_up, "it never becomes live: {subscription:?}");
                if subscription.is_resumable {
                    let newest = &newest[&stream.as_str()];
                    assert_eq!(way.complete_through, Some(newest.last), "{subscription:?}");
                    assert_eq!(way.epoch.as_deref(), Some(newest.epochs.current().as_str()), "{subscription:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever comes in between, a subscription gets every message of a stream that it matches once and in order, or
    /// hears that it is lost, and becomes live again by itself.
    #[test]
    fn nothing_is_missing_or_repeated(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.act(step);
        }
        world.check_end();
        world.keeper.stop();
    }
}
