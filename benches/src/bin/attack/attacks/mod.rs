//! The attacks. Each file tells what its attackers do, what the broker answers, and which setting bounds it.

mod equal_subscriptions;
mod half_open;
mod header_flood;
mod login_flood;
mod packed_messages;
mod partial_messages;
mod ping_flood;
mod publish_flood;
mod refresh_flood;
mod request_smuggling;
mod slow_body;
mod slow_handshake;
mod slow_header;
mod slow_message;
mod stalled_readers;
mod subscription_flood;
mod tiny_fragments;

use std::{collections::BTreeMap, future::Future, io, pin::Pin};

use carillon_benches::metrics::Metrics;

use crate::{
    hostile::{ENDED, STILL_OPEN},
    scene::{Scene, Size},
    settings::Holdings,
};

/// One kind of attack.
pub(crate) struct Attack {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What the attackers do, in a line.
    pub(crate) does: &'static str,
    /// The setting that bounds it.
    pub(crate) bound: &'static str,
    /// What the broker may have to keep at most.
    pub(crate) holds: fn(Size) -> Holdings,
    /// Does it.
    pub(crate) run: fn(Scene) -> Run,
    /// Whether the broker answered as it is documented.
    pub(crate) judge: fn(&Evidence, &mut Complaints),
}

/// An attack under way.
pub(crate) type Run = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// All of them, in the order in which they are run.
pub(crate) const ALL: [Attack; 18] = [
    slow_handshake::ATTACK,
    slow_header::ATTACK,
    slow_body::ATTACK,
    slow_message::ATTACK,
    half_open::FROM_MANY,
    half_open::FROM_ONE,
    ping_flood::ATTACK,
    tiny_fragments::ATTACK,
    packed_messages::ATTACK,
    subscription_flood::ATTACK,
    equal_subscriptions::ATTACK,
    header_flood::ATTACK,
    request_smuggling::ATTACK,
    login_flood::ATTACK,
    refresh_flood::ATTACK,
    publish_flood::ATTACK,
    partial_messages::ATTACK,
    stalled_readers::ATTACK,
];

/// What was seen of an attack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// What happened to the attackers.
    pub(crate) tally: BTreeMap<String, u64>,
    /// What the broker counted meanwhile.
    pub(crate) counted: Metrics,
}

impl Evidence {
    /// How often something happened to attackers that begins like this.
    pub(crate) fn of(&self, prefix: &str) -> u64 {
        self.tally.iter().filter(|(what, _)| what.starts_with(prefix)).map(|(_, times)| times).sum()
    }
}

/// What was not as it should be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Complaints(pub(crate) Vec<String>);

impl Complaints {
    /// Complains unless it is so.
    pub(crate) fn unless(&mut self, is_so: bool, complaint: impl FnOnce() -> String) {
        if !is_so {
            self.0.push(complaint());
        }
    }

    /// All attackers who came must have been ended by the broker.
    pub(crate) fn unless_all_ended(&mut self, evidence: &Evidence) {
        let (ended, open) = (evidence.of(ENDED), evidence.of(STILL_OPEN));
        self.unless(open == 0, || format!("{open} connections were still open long after their deadline"));
        self.unless(ended > 0, || "the broker has ended no connection".to_owned());
    }

    /// Something must have happened to the attackers.
    pub(crate) fn unless_seen(&mut self, evidence: &Evidence, any_of: &[&str]) {
        self.unless(any_of.iter().any(|what| evidence.of(what) > 0), || {
            format!("expected to see any of: {}", any_of.join(", "))
        });
    }

    /// The broker must have counted something.
    pub(crate) fn unless_counted(&mut self, evidence: &Evidence, any_of: &[&str]) {
        self.unless(any_of.iter().any(|series| evidence.counted.sum(series) >= 1.0), || {
            format!("the broker counted none of: {}", any_of.join(", "))
        });
    }
}
