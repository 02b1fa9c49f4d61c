//! What a client has coming: what was published to its live subscriptions and it has not read.

use std::collections::{HashMap, HashSet, VecDeque};

use carillon_router::Outgoing;
use carillon_wire::{
    BrokerMessage, Id, Pattern, PatternBuf, Topic, TopicBuf, broker_message::Delivery, code::Overflow,
    decode::broker_messages,
};

/// As the model has it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By their numbers, which are never given again; ids are.
    subscriptions: HashMap<u32, Subscription>,
    last_number: u32,
    due: VecDeque<Due>,
}

#[derive(Debug)]
struct Subscription {
    id: Id,
    pattern: PatternBuf,
    overflow: Overflow,
    state: State,
    /// Messages that were passed over, and those that gaps told of.
    lost: u64,
    told: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Live,
    /// It is ended, and the client is to be told by a reply of this id, or, without one, that it was ended for it.
    Ending(Option<Id>),
}

/// A message and the subscriptions that it is for.
#[derive(Debug)]
struct Due {
    time_us: u64,
    topic: TopicBuf,
    payload: Vec<u8>,
    of: HashSet<u32>,
}

impl Outbox {
    pub(super) fn subscribe(&mut self, id: Id, pattern: Pattern<'_>, overflow: Overflow) {
        assert!(!self.has(id), "two subscriptions have the id {id}");
        self.last_number += 1;
        let pattern = PatternBuf::new(pattern.as_str()).expect("a pattern");
        let subscription = Subscription { id, pattern, overflow, state: State::Live, lost: 0, told: 0 };
        self.subscriptions.insert(self.last_number, subscription);
    }

    /// Ends a live subscription; whether there is one.
    pub(super) fn end(&mut self, id: Id, reply: Option<Id>) -> bool {
        let live = self.subscriptions.values_mut().find(|it| it.id == id && it.state == State::Live);
        live.map(|it| it.state = State::Ending(reply)).is_some()
    }

    /// Whether a subscription has this id that the client does not know to be ended.
    pub(super) fn has(&self, id: Id) -> bool {
        self.subscriptions.values().any(|it| it.id == id)
    }

    pub(super) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn live(&self) -> Vec<(Id, PatternBuf)> {
        let live = self.subscriptions.values().filter(|it| it.state == State::Live);
        live.map(|it| (it.id, it.pattern.clone())).collect()
    }

    pub(super) fn may_be_closed(&self) -> bool {
        self.subscriptions.values().any(|it| it.overflow == Overflow::Close)
    }

    /// Something was accepted; whether it is for this client.
    pub(super) fn publish(&mut self, topic: Topic<'_>, payload: &[u8], time_us: u64) -> bool {
        let matching = self.subscriptions.iter().filter(|(_, it)| it.state == State::Live);
        let matching = matching.filter(|(_, it)| it.pattern.as_pattern().matches(topic));
        let of: HashSet<_> = matching.map(|(number, _)| *number).collect();
        let is_for_it = !of.is_empty();
        if is_for_it {
            let topic = TopicBuf::new(topic.as_str()).expect("a topic");
            self.due.push_back(Due { time_us, topic, payload: payload.to_owned(), of });
        }
        is_for_it
    }

    /// The client gets something; whether it is a message.
    pub(super) fn take(&mut self, next: &Outgoing) -> bool {
        match next {
            Outgoing::Message(message) => match one_message(message.bytes()) {
                BrokerMessage::Delivery(delivery) => self.take_delivery(&delivery),
                other => panic!("{other:?} among the deliveries"),
            },
            Outgoing::Gap { subscription, count, .. } => {
                let of = self.subscriptions.values_mut().find(|it| it.id == *subscription);
                of.expect("a gap of a subscription that the client has").told += count;
            }
            Outgoing::Reply(reply) => match one_message(reply.bytes()) {
                BrokerMessage::Ok(ok) => self.take_end(|it| it.state == State::Ending(Some(ok.id))),
                BrokerMessage::Ended(ended) => {
                    self.take_end(|it| it.state == State::Ending(None) && it.id == ended.subscription);
                }
                other => panic!("{other:?} as the end of a subscription"),
            },
            Outgoing::InStream(message) => panic!("{message:?}, and there are no streams here"),
            Outgoing::Aside(aside) => panic!("{aside:?}, and there are no streams here"),
        }
        matches!(next, Outgoing::Message(_))
    }

    fn take_delivery(&mut self, delivery: &Delivery<'_>) {
        // What stands before it was dropped.
        while let Some(due) = self.due.pop_front() {
            if due.time_us == delivery.time_us {
                assert_eq!(due.topic.as_topic(), delivery.topic);
                assert_eq!(due.payload, delivery.payload);
                assert!(!due.of.is_empty(), "a delivery after the end of all that it was for");
                return;
            }
            self.lose(&due);
        }
        panic!("a delivery that was not due: {}, at {}", delivery.topic.as_str(), delivery.time_us);
    }

    fn lose(&mut self, due: &Due) {
        for number in &due.of {
            if let Some(subscription) = self.subscriptions.get_mut(number) {
                subscription.lost += 1;
            }
        }
    }

    fn take_end(&mut self, is_told: impl Fn(&Subscription) -> bool) {
        // Of two with the same reply the one that ended first; numbers do not tell that, but nothing else is in the way.
        let number = self.subscriptions.iter().filter(|(_, it)| is_told(it)).map(|(number, _)| *number).min();
        let number = number.expect("an end that the client waits for");
        let mut ended = self.subscriptions.remove(&number).expect("it was found");
        for due in &mut self.due {
            ended.lost += u64::from(due.of.remove(&number));
        }
        ended.check_losses();
    }

    /// The outbox is empty.
    pub(super) fn check_nothing_is_due(&mut self) {
        while let Some(due) = self.due.pop_front() {
            self.lose(&due);
        }
        for subscription in self.subscriptions.values() {
            assert_eq!(subscription.state, State::Live, "the end was never told");
            subscription.check_losses();
        }
    }
}

impl Subscription {
    fn check_losses(&self) {
        assert_eq!(self.lost, self.told, "gaps tell of all that was lost, and of nothing else: {self:?}");
    }
}

fn one_message(bytes: &[u8]) -> BrokerMessage<'_> {
    let mut messages = broker_messages(bytes);
    let message = messages.next().expect("a message").expect("a valid one");
    assert!(messages.next().is_none(), "more than one message");
    message
}
