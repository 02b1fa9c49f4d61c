//! What a client does about what comes for its subscriptions on streams, as the protocol asks it to, and what it checks.

use std::{io, rc::Rc};

use carillon_wire::{
    BrokerMessage, GapReason, Id, PatternBuf, Resumed, Start,
    broker_message::{Delivery, EpochChanged, Gap, OkReply},
};

use super::{
    clients::{Room, closing, may_try_again},
    plan::{STREAMS, StreamPlan},
    trouble::broken,
};

/// Where a subscription begins, the first time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begin {
    Beginning,
    Now,
    Newest(u64),
    Since(u64),
}

/// One subscription, over all its connections.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Which of the streams.
    pub(super) stream: usize,
    pub(super) pattern: PatternBuf,
    pub(super) begin: Begin,
    /// Up to where it has everything, once it has begun.
    pub(super) at: Option<(Rc<str>, u64)>,
    /// Up to here it was found right.
    pub(super) checked: u64,
    /// What came since.
    pub(super) got: Vec<(u64, u32)>,
    /// What it was told to be lost since.
    pub(super) gaps: Vec<(u64, u64)>,
    /// It is catching up.
    is_behind: bool,
    /// It has its OK on this connection.
    is_begun: bool,
    /// OK has announced this, and nothing else may come before it.
    due: Option<Resumed>,
}

impl Subscription {
    pub(super) fn new(stream: usize, pattern: PatternBuf, begin: Begin) -> Self {
        let (at, due) = (None, None);
        let (got, gaps) = (Vec::new(), Vec::new());
        Self { stream, pattern, begin, at, checked: 0, got, gaps, is_behind: true, is_begun: false, due }
    }

    fn plan(&self) -> &'static StreamPlan {
        &STREAMS[self.stream]
    }

    /// Where it is to start on a new connection.
    pub(super) fn start(&self) -> Start<'_> {
        match (&self.at, self.begin) {
            (Some((epoch, sequence)), _) => Start::Behind { epoch, sequence: *sequence },
            (None, Begin::Beginning) => Start::Beginning,
            (None, Begin::Now) => Start::Now,
            (None, Begin::Newest(n)) => Start::Newest(n),
            (None, Begin::Since(time_us)) => Start::Time(time_us),
        }
    }

    /// Forgets what held on the connection before.
    pub(super) fn reconnected(&mut self) {
        (self.is_behind, self.is_begun, self.due) = (true, false, None);
    }

    fn wrong(&self, what: &str) -> io::Error {
        let at = self.at.as_ref().map(|(epoch, sequence)| format!("{sequence} of {epoch}"));
        broken(format!("a subscription to {} at {at:?}: {what}", self.pattern.as_str()))
    }

    /// Its position moves on, never back.
    fn reach(&mut self, epoch: &str, sequence: u64, how: &str) -> io::Result<()> {
        match &mut self.at {
            Some((known, at)) if **known == *epoch && *at <= sequence => {
                *at = sequence;
                Ok(())
            }
            _ => Err(self.wrong(&format!("{how} says {sequence} of {epoch}"))),
        }
    }

    fn on_ok(&mut self, room: &Room, ok: &OkReply<'_>) -> io::Result<()> {
        let (Some(stream), Some(sequence), Some(epoch)) = (ok.stream, ok.sequence, ok.epoch) else {
            return Err(self.wrong(&format!("OK without a place: {ok:?}")));
        };
        if stream != self.plan().name {
            return Err(self.wrong(&format!("OK of the stream {stream}")));
        }
        (self.is_begun, self.is_behind) = (true, true);
        let is_right = match (&self.at, ok.resumed) {
            (None, None) => {
                room.books(|books| books.admit(self.stream, epoch))?;
                self.at = Some((epoch.into(), sequence));
                self.checked = sequence;
                true
            }
            (Some((known, at)), Some(Resumed::Continued)) => **known == *epoch && *at == sequence,
            (Some((known, at)), Some(Resumed::AfterGap)) => **known == *epoch && *at < sequence,
            (Some(_), Some(Resumed::OtherEpoch)) => self.plan().is_in_memory,
            _ => false,
        };
        if !is_right {
            return Err(self.wrong(&format!("it was told {ok:?}")));
        }
        self.due = ok.resumed.filter(|resumed| *resumed != Resumed::Continued);
        room.books(|books| books.counts.resumed += u64::from(ok.resumed.is_some()));
        Ok(())
    }

    fn on_gap(&mut self, room: &Room, gap: &Gap<'_>) -> io::Result<()> {
        room.books(|books| books.counts.gaps += 1);
        let Some(range) = gap.range else { return Err(self.wrong(&format!("{gap:?} without a range"))) };
        let has_retention = room.books(|books| books.ledger(self.stream).has_retention());
        let at = self.at.as_ref().map_or(0, |(_, at)| *at);
        let is_right = range.stream == self.plan().name
            && gap.reason == GapReason::Retention
            && has_retention
            && range.first > at
            && range.last >= range.first
            && gap.count == range.last - range.first + 1
            && matches!(self.due, None | Some(Resumed::AfterGap));
        if !is_right {
            return Err(self.wrong(&format!("it was told {gap:?}")));
        }
        self.due = None;
        self.gaps.push((range.first, range.last));
        if let Some((_, at)) = &mut self.at {
            *at = range.last;
        }
        Ok(())
    }

    fn on_epoch(&mut self, room: &Room, change: &EpochChanged<'_>) -> io::Result<()> {
        use carillon_wire::EpochReason::Restarted;
        room.books(|books| books.counts.epochs += 1);
        let is_right = self.plan().is_in_memory
            && change.stream == self.plan().name
            && change.reason == Restarted
            && change.from > 0
            && matches!(self.due, None | Some(Resumed::OtherEpoch));
        if !is_right {
            return Err(self.wrong(&format!("it was told {change:?}")));
        }
        room.books(|books| books.admit(self.stream, change.epoch))?;
        self.due = None;
        self.at = Some((change.epoch.into(), change.from - 1));
        self.checked = change.from - 1;
        self.got.clear();
        self.gaps.clear();
        Ok(())
    }

    fn on_delivery(&mut self, room: &Room, delivery: &Delivery<'_>) -> io::Result<()> {
        let Some(place) = delivery.in_stream.filter(|place| place.stream == self.plan().name) else {
            return Err(self.wrong(&format!("a delivery of {:?}", delivery.in_stream)));
        };
        let Some((epoch, at)) = self.at.clone().filter(|_| self.is_begun) else {
            return Err(self.wrong("a delivery before OK"));
        };
        if place.sequence <= at || self.due.is_some() || !self.pattern.as_pattern().matches(delivery.topic) {
            let topic = delivery.topic.as_str();
            return Err(self.wrong(&format!("{} of {topic} was delivered, due {:?}", place.sequence, self.due)));
        }
        let number = room.books(|books| {
            books.counts.delivered += 1;
            books.delivered(self.stream, (&epoch, place.sequence), delivery.topic.as_str(), delivery.payload)
        })?;
        self.at = Some((epoch, place.sequence));
        self.got.push((place.sequence, number));
        Ok(())
    }
}

/// What a connection has to know between two messages.
#[derive(Debug, Default)]
pub(super) struct Dispatch {
    /// So many deliveries more are for one alone.
    left: u64,
    owner: Option<usize>,
    /// Heartbeats that wait for an answer.
    pub(super) heartbeats: Vec<Id>,
}

impl Dispatch {
    /// Deals with a message of a connection whose subscription `i` has the id `i`.
    pub(super) fn on_message(
        &mut self,
        room: &Room,
        subscriptions: &mut [Subscription],
        message: &BrokerMessage<'_>,
    ) -> io::Result<()> {
        match message {
            BrokerMessage::Ok(ok) => of(subscriptions, ok.id)?.on_ok(room, ok),
            BrokerMessage::Gap(gap) => of(subscriptions, gap.subscription)?.on_gap(room, gap),
            BrokerMessage::EpochChanged(change) => of(subscriptions, change.subscription)?.on_epoch(room, change),
            BrokerMessage::Marker(marker) => {
                if self.left > 0 {
                    return Err(broken(format!("{} deliveries are missing before {marker:?}", self.left)));
                }
                let subscription = of(subscriptions, marker.subscription)?;
                room.books(|books| books.counts.fell_behind += u64::from(!subscription.is_behind));
                subscription.is_behind = true;
                (self.left, self.owner) = (marker.count, usize::try_from(marker.subscription.get()).ok());
                Ok(())
            }
            BrokerMessage::Live(live) => {
                let subscription = of(subscriptions, live.subscription)?;
                if !subscription.is_behind || subscription.due.is_some() {
                    return Err(subscription.wrong("LIVE out of its turn"));
                }
                subscription.is_behind = false;
                subscription.reach(live.epoch, live.sequence, "LIVE")
            }
            BrokerMessage::Position(at) => of(subscriptions, at.subscription)?.reach(at.epoch, at.sequence, "POSITION"),
            BrokerMessage::Delivery(delivery) => self.on_delivery(room, subscriptions, delivery),
            BrokerMessage::Heartbeat(number) => {
                self.heartbeats.push(*number);
                Ok(())
            }
            BrokerMessage::Closing(message) => Err(closing(message)),
            BrokerMessage::Error(error) if may_try_again(error.code) => Err(io::Error::other(error.message.to_owned())),
            other => Err(broken(format!("a subscriber got {other:?}"))),
        }
    }

    fn on_delivery(
        &mut self,
        room: &Room,
        subscriptions: &mut [Subscription],
        delivery: &Delivery<'_>,
    ) -> io::Result<()> {
        if self.left > 0 {
            self.left -= 1;
            let owner = self.owner.and_then(|owner| subscriptions.get_mut(owner));
            return owner.map_or(Ok(()), |owner| owner.on_delivery(room, delivery));
        }
        let mut is_for_any = false;
        for subscription in subscriptions {
            let is_match = subscription.pattern.as_pattern().matches(delivery.topic);
            is_for_any |= is_match;
            if is_match && !subscription.is_behind {
                subscription.on_delivery(room, delivery)?;
            }
        }
        if is_for_any { Ok(()) } else { Err(broken(format!("nobody subscribed to {}", delivery.topic.as_str()))) }
    }
}

fn of(subscriptions: &mut [Subscription], id: Id) -> io::Result<&mut Subscription> {
    let found = usize::try_from(id.get()).ok().and_then(|index| subscriptions.get_mut(index));
    found.ok_or_else(|| broken(format!("the broker speaks of a subscription {}", id.get())))
}
