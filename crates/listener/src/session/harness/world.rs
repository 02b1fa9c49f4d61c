//! The clients, and all that is between them.

use std::sync::Arc;

use carillon_access::quota::Quotas;
use carillon_metrics::{BrokerMetrics, DropReason, Label, ShardMetrics};
use carillon_router::ConnectionKey;
use carillon_wire::{ClientMessage, CloseCode, DecodeError, Id, decode::client_messages};
use tokio::time::Duration;

use super::{
    super::{Ending, Replies, Session, Turn, heartbeat::Due, membership::TermDue},
    answers::{self, Answers},
    outbox::Outbox,
    rules::{self, Credentials, START_S},
};
use crate::{
    clock::Moment,
    gate::Gate,
    hub::Hub,
    proxies::Proxies,
    quota::Ledger,
    settings::{Deadlines, Limits, Origins, Settings},
};

pub(super) const PLACES: usize = 4;
pub(super) const SHARDS: usize = 2;

pub(super) const LIMITS: Limits = Limits {
    max_payload_bytes: 1_000,
    max_message_bytes: 4_096,
    max_subscriptions: 4,
    max_wildcards: 1,
    outbox_bytes: 2_500,
    outbox_messages: 5,
    reply_bytes: 4_096,
    shard_queue_bytes: 1 << 20,
    max_http_head_bytes: 1 << 10,
    quota_entries: 3,
};

pub(super) struct Shard {
    pub(super) hub: Hub,
    pub(super) metrics: Arc<ShardMetrics>,
}

pub(super) struct Client {
    pub(super) session: Session,
    pub(super) key: ConnectionKey,
    pub(super) shard: usize,
    /// What came with its HTTP request.
    pub(super) from_request: Credentials,
    /// As whom it is connected.
    pub(super) who: Option<Credentials>,
    /// The edition of the rules that its session knows, and how often they had been replaced by then.
    pub(super) edition: usize,
    pub(super) rules_seen: u64,
    pub(super) outbox: Outbox,
    /// The heartbeat that it has not answered.
    pub(super) unanswered: Option<Id>,
    pub(super) is_told_of_end: bool,
    pub(super) last_request: u32,
}

pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) gate: Gate,
    pub(super) ledger: Arc<Ledger>,
    pub(super) shards: [Shard; SHARDS],
    pub(super) clients: [Option<Client>; PLACES],
    pub(super) edition: usize,
    pub(super) times_replaced: u64,
    pub(super) moment: Moment,
    /// Publications that were accepted.
    pub(super) accepted: u64,
    /// Messages that connections were to get, and those that they got.
    pub(super) due: u64,
    pub(super) delivered: u64,
}

impl World {
    pub(super) fn new() -> Self {
        let gate = Gate::new(rules::rules(0));
        let broker_metrics = Arc::new(BrokerMetrics::new("0", Vec::new()));
        let ledger = Ledger::new(LIMITS.quota_entries, &gate.scopes().identity, broker_metrics);
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            backlog: 1,
            proxies: Proxies::default(),
            origins: Origins::default(),
            limits: LIMITS,
            deadlines: Deadlines::default(),
        };
        let shard = |_| {
            let metrics = Arc::new(ShardMetrics::default());
            Shard { hub: Hub::new(&LIMITS, Arc::clone(&metrics), true, None), metrics }
        };
        Self {
            settings,
            gate,
            ledger: Arc::new(ledger),
            shards: std::array::from_fn(shard),
            clients: Default::default(),
            edition: 0,
            times_replaced: 0,
            moment: Moment { nanos: 0, unix_us: START_S * 1_000_000 },
            accepted: 0,
            due: 0,
            delivered: 0,
        }
    }

    /// Lets a client do something, if there is one, in a turn of its own. An ending takes it away.
    pub(super) fn with_client(&mut self, place: usize, act: impl FnOnce(&mut Self, &mut Client) -> Result<(), Ending>) {
        let Some(mut client) = self.clients[place].take() else { return };
        self.pass(Duration::from_micros(1));
        self.shards[client.shard].hub.begin_turn(1);
        let done = self.look_again(&mut client).and_then(|()| act(self, &mut client));
        match done {
            Ok(()) => self.clients[place] = Some(client),
            Err(ending) => self.leave(client, &ending),
        }
        self.take_overflowed();
    }

    pub(super) fn ask(&mut self, client: &mut Client, message: &ClientMessage<'_>) -> Result<(), Ending> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.say(client, &bytes)
    }

    pub(super) fn say(&mut self, client: &mut Client, bytes: &[u8]) -> Result<(), Ending> {
        for message in client_messages(bytes) {
            self.pass(Duration::from_micros(1));
            self.on_message(client, message)?;
            if self.shards[client.shard].hub.is_overflowed(client.key) {
                return Err(slow_consumer());
            }
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        client: &mut Client,
        message: Result<ClientMessage<'_>, DecodeError>,
    ) -> Result<(), Ending> {
        let mut replies = Replies::default();
        let shard = &mut self.shards[client.shard];
        let mut turn = Turn {
            hub: &mut shard.hub,
            settings: &self.settings,
            metrics: &shard.metrics,
            replies: &mut replies,
            gate: &self.gate,
            ledger: &self.ledger,
            moment: self.moment,
        };
        let result = client.session.on_message(message.clone(), &mut turn);
        self.hand_over(client.shard);
        self.check_answer(client, message, &Answers::read(&replies), result.as_ref().err());
        result
    }

    /// What a shard accepted reaches the others.
    fn hand_over(&mut self, from: usize) {
        let Some(batch) = self.shards[from].hub.take_outgoing().and_then(|outgoing| outgoing.batch) else { return };
        for (_, shard) in self.shards.iter_mut().enumerate().filter(|(index, _)| *index != from) {
            let mut publications = batch.iter();
            shard.hub.begin_turn(1);
            while shard.hub.deliver(&mut publications, batch.accepted_nanos) {
                shard.hub.begin_turn(1);
            }
        }
    }

    /// The rules were replaced since the client was looked at last.
    fn look_again(&mut self, client: &mut Client) -> Result<(), Ending> {
        if client.rules_seen == self.times_replaced {
            return Ok(());
        }
        client.rules_seen = self.times_replaced;
        let edition = std::mem::replace(&mut client.edition, self.edition);
        let Some(membership) = client.session.membership() else { return Ok(()) };
        let who = client.who.expect("it is connected");
        let stays = membership.look_again(&self.gate, self.moment);
        assert_eq!(stays.is_ok(), who.may_stay(self.edition), "{who:?}, from edition {edition} to {}", self.edition);
        stays.map_err(|refused| Ending::new(CloseCode::Unauthenticated, refused.to_string()))?;
        let mut replies = Replies::default();
        let shard = &mut self.shards[client.shard];
        Turn {
            hub: &mut shard.hub,
            settings: &self.settings,
            metrics: &shard.metrics,
            replies: &mut replies,
            gate: &self.gate,
            ledger: &self.ledger,
            moment: self.moment,
        }
        .end_forbidden_subscriptions(client.key, membership);
        assert_eq!(replies.size_bytes(), 0);
        self.check_subscriptions(client);
        Ok(())
    }

    /// Takes so much out of a client's outbox.
    pub(super) fn read(&mut self, client: &mut Client, most: usize) {
        for _ in 0..most {
            let Some(next) = self.shards[client.shard].hub.next(client.key) else {
                client.outbox.check_nothing_is_due();
                return;
            };
            self.delivered += u64::from(client.outbox.take(&next));
        }
    }

    fn take_overflowed(&mut self) {
        for place in 0..PLACES {
            let taken = self.clients[place].take_if(|it| self.shards[it.shard].hub.is_overflowed(it.key));
            if let Some(client) = taken {
                assert!(client.outbox.may_be_closed(), "no subscription asked for a close");
                self.leave(client, &slow_consumer());
            }
        }
    }

    fn leave(&mut self, client: Client, ending: &Ending) {
        let Client { key, shard, session, .. } = client;
        answers::check_ending(ending);
        self.shards[shard].hub.disconnect(key, ending.drop_reason());
        drop(session);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.moment.nanos += u64::try_from(time.as_nanos()).expect("a short time");
        self.moment.unix_us += u64::try_from(time.as_micros()).expect("a short time");
    }

    /// All read what is left for them, and go.
    pub(super) fn finish(mut self) {
        for place in 0..PLACES {
            self.with_client(place, |world, client| {
                world.read(client, usize::MAX);
                Ok(())
            });
        }
        self.check_subscriptions_are_counted();
        for client in std::mem::take(&mut self.clients).into_iter().flatten() {
            self.leave(client, &Ending::new(CloseCode::Draining, "the broker is being stopped"));
        }
        let mut dropped = 0;
        let mut received = 0;
        for Shard { hub, metrics } in &mut self.shards {
            hub.show_counts();
            for gauge in
                [&metrics.subscriptions, &metrics.outbox_bytes, &metrics.outbox_messages, &metrics.queued_bytes]
            {
                assert_eq!(gauge.get(), 0);
            }
            dropped += DropReason::ALL.iter().map(|reason| metrics.messages_dropped.of(*reason).get()).sum::<u64>();
            received += metrics.messages_received.get();
        }
        assert_eq!(self.due, self.delivered + dropped, "a message was neither delivered nor counted as lost");
        assert_eq!(received, self.accepted);
        self.check_nobody_is_counted();
    }

    fn check_subscriptions_are_counted(&self) {
        let none = Arc::new(Quotas::default());
        for address in (0..PLACES).map(rules::address) {
            let there = self.clients.iter().enumerate().filter(|(place, _)| rules::address(*place) == address);
            let live = there.filter_map(|(_, client)| client.as_ref()).map(|client| client.outbox.live().len() as u64);
            let account = self.ledger.address(address, &none, self.moment.nanos);
            assert_eq!(
                account.with(|usage| usage.subscriptions()),
                live.sum::<u64>(),
                "live subscriptions from {address}"
            );
        }
    }

    fn check_nobody_is_counted(&self) {
        let now_ns = self.moment.nanos;
        let none = Arc::new(Quotas::default());
        let addresses: Vec<_> = (0..PLACES).map(rules::address).collect();
        for address in &addresses {
            let accounts = rules::IDENTITIES.iter().map(|who| self.ledger.identity(who, *address, &none, now_ns));
            for account in accounts.chain([self.ledger.address(*address, &none, now_ns)]) {
                assert!(account.with(|usage| usage.is_idle(&none, now_ns)), "{account:?}");
            }
        }
    }
}

impl Client {
    pub(super) fn heartbeat_is_due(&mut self) -> Result<(), Ending> {
        if !self.session.is_connected() {
            return Ok(());
        }
        let due = self.session.heartbeat.due();
        match (self.session.heartbeat.on_due(due), self.unanswered) {
            (Due::Ask(number), None) => {
                self.unanswered = Some(number);
                Ok(())
            }
            (Due::TimedOut, Some(_)) => Err(Ending::new(CloseCode::HeartbeatTimeout, "no answer")),
            (due, unanswered) => panic!("{due:?} when {unanswered:?} was not answered"),
        }
    }

    pub(super) fn term_is_due(&mut self) -> Result<(), Ending> {
        let Some(due) = self.session.membership_due() else { return Ok(()) };
        match self.session.membership().and_then(|membership| membership.on_due(due)) {
            None => panic!("nothing was due"),
            Some(TermDue::Notice(left)) => {
                assert!(!self.is_told_of_end && left <= Duration::from_secs(30));
                self.is_told_of_end = true;
                Ok(())
            }
            Some(TermDue::Ended) => Err(Ending::new(CloseCode::Unauthenticated, "the credentials have run out")),
        }
    }
}

fn slow_consumer() -> Ending {
    Ending::new(CloseCode::SlowConsumer, "the outbox is full")
}
