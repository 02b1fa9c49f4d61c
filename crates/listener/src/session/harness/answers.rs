//! What each message of a client must be answered with.

use carillon_metrics::CloseReason;
use carillon_wire::{
    BrokerMessage, ClientMessage, CloseCode, DecodeError, ErrorCode, Id,
    client_message::{Connect, Publish, Refresh, Subscribe},
    decode::broker_messages,
};

use super::{
    super::{Ending, Replies, request_id},
    rules::{Credentials, EDITIONS},
    world::{Client, LIMITS, World},
};

/// What a client was told at once.
pub(super) struct Answers(Vec<Answer>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Welcome(Id),
    Ok(Id),
    /// The publication was accepted.
    Accepted(Id),
    Error(Option<Id>, ErrorCode),
}

/// For more than a quota allows.
const OVER_QUOTA: [ErrorCode; 4] =
    [ErrorCode::RateExceeded, ErrorCode::QuotaExceeded, ErrorCode::PayloadTooLarge, ErrorCode::TooManySubscriptions];

impl Answers {
    pub(super) fn read(replies: &Replies) -> Self {
        let now = messages(&replies.now).map(|message| match message {
            BrokerMessage::Welcome(welcome) => Answer::Welcome(welcome.id),
            BrokerMessage::Ok(ok) => Answer::Ok(ok.id),
            BrokerMessage::Error(error) => {
                check_told(error.message);
                assert!(error.code != ErrorCode::Internal, "{}", error.message);
                Answer::Error(error.id, error.code)
            }
            other => panic!("{other:?} as an answer"),
        });
        let when_queued = messages(&replies.when_queued).map(|message| match message {
            BrokerMessage::Ok(ok) => Answer::Accepted(ok.id),
            other => panic!("{other:?} as the answer to an accepted publication"),
        });
        Self(now.chain(when_queued).collect())
    }

    /// The one answer.
    fn only(&self) -> Answer {
        let [answer] = self.0.as_slice() else { panic!("one answer is due, and not {:?}", self.0) };
        *answer
    }

    /// The code of the one answer, which refuses.
    fn refusal(&self, id: Option<Id>) -> ErrorCode {
        match self.only() {
            Answer::Error(told, code) if told == id => code,
            other => panic!("{other:?} and not a refusal of {id:?}"),
        }
    }

    fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// No byte at all is no message, and so not allowed where messages are read.
fn messages(bytes: &[u8]) -> impl Iterator<Item = BrokerMessage<'_>> {
    let some = (!bytes.is_empty()).then(|| broker_messages(bytes));
    some.into_iter().flatten().map(|message| message.expect("a valid message"))
}

/// Neither what was presented nor a rule may be in a text that a client gets.
fn check_told(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    for secret in Credentials::ALL.into_iter().filter_map(Credentials::presented) {
        assert!(secret.split('.').all(|part| !text.contains(part)), "{text:?}");
    }
}

pub(super) fn check_ending(ending: &Ending) {
    check_told(&ending.reason);
    assert!(ending.close_reason() != CloseReason::InternalError);
    let is_later = matches!(ending.code, CloseCode::QuotaExceeded | CloseCode::Unavailable);
    assert!(ending.retry_after.is_none() || is_later, "{ending:?}");
}

impl World {
    pub(super) fn check_answer(
        &mut self,
        client: &mut Client,
        message: Result<ClientMessage<'_>, DecodeError>,
        answers: &Answers,
        ending: Option<&Ending>,
    ) {
        let ended_with = ending.map(|ending| ending.code);
        let message = match message {
            Ok(message) => message,
            Err(DecodeError::Malformed(_)) => {
                assert!(answers.is_none() && ended_with == Some(CloseCode::BadMessage));
                return;
            }
            Err(DecodeError::Refused(refused)) => {
                match answers.refusal(refused.id) {
                    code if code == refused.code => {}
                    code => client.check_over_quota(code),
                }
                assert_eq!(ended_with, client.who.is_none().then_some(CloseCode::ConnectExpected));
                return;
            }
        };
        let Some(who) = client.who else {
            match message {
                ClientMessage::Connect(connect) => self.check_connect(client, &connect, answers, ended_with),
                other => {
                    assert_eq!(answers.refusal(request_id(&other)), ErrorCode::ConnectExpected);
                    assert_eq!(ended_with, Some(CloseCode::ConnectExpected));
                }
            }
            return;
        };
        assert_eq!(ended_with, None, "a request ended a connection");
        match message {
            ClientMessage::Publish(publish) => self.check_publish(client, who, &publish, answers),
            ClientMessage::Subscribe(subscribe) => client.check_subscribe(who, &subscribe, answers),
            ClientMessage::Unsubscribe(unsubscribe) => {
                if client.outbox.end(unsubscribe.subscription, Some(unsubscribe.id)) {
                    assert!(answers.is_none(), "the reply comes behind the last delivery");
                } else {
                    match answers.refusal(Some(unsubscribe.id)) {
                        ErrorCode::UnknownSubscription => {}
                        code => client.check_over_quota(code),
                    }
                }
            }
            ClientMessage::Refresh(refresh) => self.check_refresh(client, who, &refresh, answers),
            ClientMessage::HeartbeatReply(number) => {
                assert!(answers.is_none());
                client.unanswered.take_if(|asked| *asked == number);
            }
            ClientMessage::Ping(id) if answers.only() == Answer::Ok(id) => {}
            ClientMessage::Ping(id) => client.check_over_quota(answers.refusal(Some(id))),
            ClientMessage::Connect(connect) => match answers.refusal(Some(connect.id)) {
                ErrorCode::AlreadyConnected => {}
                code => client.check_over_quota(code),
            },
            other => panic!("{other:?} is new here"),
        }
    }

    fn check_connect(&self, client: &mut Client, connect: &Connect<'_>, answers: &Answers, ended: Option<CloseCode>) {
        let presented = connect.token.map_or(client.from_request, |token| Credentials::of(Some(token)));
        let is_good = presented.are_good(self.edition, self.moment.unix_s());
        if answers.only() == Answer::Welcome(connect.id) {
            assert!(is_good && ended.is_none(), "{presented:?} were let in");
            client.who = Some(presented);
            client.edition = self.edition;
            client.check_term(presented);
            return;
        }
        match answers.refusal(Some(connect.id)) {
            ErrorCode::Unauthenticated => {
                assert!(!is_good, "{presented:?} were not let in");
                assert_eq!(ended, Some(CloseCode::Unauthenticated));
            }
            code => {
                assert!(OVER_QUOTA.contains(&code), "{code}");
                assert_eq!(ended, Some(CloseCode::QuotaExceeded));
            }
        }
    }

    fn check_publish(&mut self, client: &mut Client, who: Credentials, publish: &Publish<'_>, answers: &Answers) {
        let is_allowed = who.may_publish(client.edition, publish.topic) && !publish.topic.is_reserved();
        let bytes = publish.payload.len() + publish.headers.as_msgpack().len();
        let is_accepted = match (answers.0.as_slice(), publish.id) {
            ([], None) => true,
            ([Answer::Accepted(told)], Some(id)) => *told == id,
            _ => false,
        };
        if !is_accepted {
            match answers.refusal(publish.id) {
                ErrorCode::Forbidden => assert!(!is_allowed),
                ErrorCode::ReservedTopic => assert!(publish.topic.is_reserved()),
                ErrorCode::PayloadTooLarge if bytes > LIMITS.max_payload_bytes => {}
                code => client.check_over_quota(code),
            }
            return;
        }
        assert!(is_allowed && bytes <= LIMITS.max_payload_bytes, "{who:?} published to {}", publish.topic.as_str());
        self.accepted += 1;
        for client in self.clients.iter_mut().flatten().chain([client]) {
            if client.outbox.publish(publish.topic, publish.payload, self.moment.unix_us) {
                let who = client.who.expect("it has subscriptions");
                assert!(who.may_subscribe(client.edition, publish.topic), "{who:?} got {}", publish.topic.as_str());
                self.due += 1;
            }
        }
    }

    fn check_refresh(&mut self, client: &mut Client, who: Credentials, refresh: &Refresh<'_>, answers: &Answers) {
        let presented = Credentials::of(Some(refresh.token));
        let is_good = presented.are_good(self.edition, self.moment.unix_s()) && presented.is_same_identity(who);
        if answers.only() == Answer::Ok(refresh.id) {
            assert!(is_good, "{presented:?} were taken for {who:?}");
            client.who = Some(presented);
            client.is_told_of_end = false;
            client.check_term(presented);
            self.check_subscriptions(client);
            return;
        }
        match answers.refusal(Some(refresh.id)) {
            ErrorCode::Unauthenticated => assert!(!is_good, "{presented:?} were not taken for {who:?}"),
            // Attempts are counted whatever the edition.
            code => assert!(OVER_QUOTA.contains(&code), "{code}"),
        }
    }

    /// After a change of rules or credentials: those subscriptions that are not live any more are the forbidden ones.
    pub(super) fn check_subscriptions(&self, client: &mut Client) {
        let who = client.who.expect("it is connected");
        let live = self.shards[client.shard].hub.subscriptions(client.key);
        for (id, pattern) in client.outbox.live() {
            let is_live = live.iter().any(|(other, _)| *other == id);
            if let Some(topic) = pattern.as_pattern().as_topic() {
                assert_eq!(is_live, who.may_subscribe(client.edition, topic), "{who:?}, {}", pattern.as_str());
            }
            if !is_live {
                client.outbox.end(id, None);
            }
        }
    }
}

impl Client {
    fn check_subscribe(&mut self, who: Credentials, subscribe: &Subscribe<'_>, answers: &Answers) {
        let Subscribe { id, pattern, overflow, .. } = *subscribe;
        let is_allowed = pattern.as_topic().map(|topic| who.may_subscribe(self.edition, topic));
        if answers.only() == Answer::Ok(id) {
            assert!(is_allowed != Some(false) && pattern.wildcards() <= LIMITS.max_wildcards);
            self.outbox.subscribe(id, pattern, overflow);
            assert!(self.outbox.len() <= LIMITS.max_subscriptions);
            return;
        }
        match answers.refusal(Some(id)) {
            ErrorCode::Forbidden => assert!(is_allowed != Some(true)),
            ErrorCode::IdInUse => assert!(self.outbox.has(id)),
            ErrorCode::InvalidPattern => assert!(pattern.wildcards() > LIMITS.max_wildcards),
            ErrorCode::Unsupported => assert!(overflow.number() > 1),
            ErrorCode::TooManySubscriptions if self.outbox.len() == LIMITS.max_subscriptions => {}
            code => self.check_over_quota(code),
        }
    }

    /// A refusal for a quota, which only the last edition of the rules has so small.
    fn check_over_quota(&self, code: ErrorCode) {
        assert!(OVER_QUOTA.contains(&code) && self.edition == EDITIONS - 1, "{code}");
    }

    fn check_term(&self, who: Credentials) {
        assert_eq!(self.session.membership_due().is_some(), who.ends_at_s().is_some());
    }
}
