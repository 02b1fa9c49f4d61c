//! What the requests of a client that is connected do.

use std::time::Duration;

use carillon_access::Operation;
use carillon_router::ConnectionKey;
use carillon_wire::{
    BrokerMessage, ClientMessage, ErrorCode, Id, Start,
    broker_message::ErrorReply,
    client_message::{History, Publish, Subscribe, Unsubscribe},
};

use super::{
    Turn,
    accounts::Over,
    membership::Membership,
    refusal::{count_refused, not_started_code},
    request_id,
};
use crate::{hub::Work, streams::NotStarted};

fn work_of(message: &ClientMessage<'_>) -> Work {
    match message {
        ClientMessage::Refresh(_) => Work::Credentials,
        ClientMessage::Subscribe(_) | ClientMessage::Unsubscribe(_) | ClientMessage::History(_) => Work::Subscription,
        _ => Work::Message,
    }
}

impl Turn<'_> {
    /// Asked for each publication, so everything that can refuse it is asked in the order of what it costs.
    pub(super) fn publish(&mut self, key: ConnectionKey, publish: &Publish<'_>, membership: &mut Membership) {
        let bytes = publish.payload.len() + publish.headers.as_msgpack().len();
        if let Err(over) = membership.accounts.publish(bytes as u64, self.moment) {
            count_refused(self.metrics, true, over.code());
            self.refuse_over(publish.id, &over);
            return;
        }
        let refusal = if publish.topic.is_reserved() {
            Some((ErrorCode::ReservedTopic, "topics that start with `$` are the broker's own".to_owned()))
        } else if let Err(forbidden) = membership.permissions().check_publish(publish.topic) {
            Some((ErrorCode::Forbidden, forbidden.to_string()))
        } else {
            let allowed = self.settings.limits.max_payload_bytes;
            (bytes > allowed).then(|| {
                let text = format!("payload and headers have {bytes} bytes together; at most {allowed} are allowed");
                (ErrorCode::PayloadTooLarge, text)
            })
        };
        if let Some((code, text)) = refusal {
            count_refused(self.metrics, true, code);
            self.refuse(publish.id, code, &text);
            return;
        }
        if let Some(stream) = self.hub.stream_of(publish.topic) {
            self.hub.submit(key, stream, publish, self.moment);
            self.replies.awaited += usize::from(publish.id.is_some());
            return;
        }
        if publish.message_id.is_some() || publish.expected_sequence.is_some() {
            count_refused(self.metrics, true, ErrorCode::NoStream);
            let text = "no stream keeps this topic, so there is nothing that a message id or an expected sequence could be \
                        compared with";
            self.refuse(publish.id, ErrorCode::NoStream, text);
            return;
        }
        self.hub.publish(publish, self.moment);
        if let Some(id) = publish.id {
            BrokerMessage::ok(id).encode(&mut self.replies.when_queued);
        }
    }

    /// Does any other request, if the quota lets it.
    pub(super) fn request(&mut self, key: ConnectionKey, message: &ClientMessage<'_>, membership: &mut Membership) {
        self.hub.spend(work_of(message));
        // Ending what is there is never too much.
        if let ClientMessage::Unsubscribe(unsubscribe) = message {
            self.unsubscribe(key, unsubscribe, membership);
            return;
        }
        if !self.may_request(request_id(message), membership) {
            return;
        }
        match message {
            ClientMessage::Subscribe(subscribe) => self.subscribe(key, subscribe, membership),
            ClientMessage::History(history) => self.history(key, history, membership),
            ClientMessage::Refresh(refresh) => self.refresh(key, refresh, membership),
            ClientMessage::Ping(id) => self.reply(&BrokerMessage::ok(*id)),
            ClientMessage::Connect(connect) => {
                self.metrics.requests_refused.inc();
                self.refuse(Some(connect.id), ErrorCode::AlreadyConnected, "the connection is already connected");
            }
            // The enum may grow before its request is served here.
            other => {
                self.metrics.requests_refused.inc();
                self.refuse(request_id(other), ErrorCode::Unsupported, "this broker does not offer this request");
            }
        }
    }

    /// Counts a request that is no publication; refuses it if the quota does not let it.
    pub(super) fn may_request(&mut self, id: Option<Id>, membership: &mut Membership) -> bool {
        let Err(over) = membership.accounts.request(self.moment) else { return true };
        self.metrics.requests_refused.inc();
        self.refuse_over(id, &over);
        false
    }

    fn subscribe(&mut self, key: ConnectionKey, subscribe: &Subscribe<'_>, membership: &mut Membership) {
        let permissions = membership.permissions();
        let allowed = permissions.check(Operation::Subscribe, subscribe.pattern);
        let allowed = allowed.and_then(|()| match subscribe.start {
            None | Some(Start::Now) => Ok(()),
            Some(_) => permissions.check(Operation::History, subscribe.pattern),
        });
        if let Err(forbidden) = allowed {
            self.metrics.requests_refused.inc();
            self.refuse(Some(subscribe.id), ErrorCode::Forbidden, &forbidden.to_string());
            return;
        }
        if let Err(over) = membership.accounts.enter_subscription() {
            self.metrics.requests_refused.inc();
            self.refuse_over(Some(subscribe.id), &over);
            return;
        }
        let begun = match &subscribe.start {
            None => self.hub.subscribe(key, subscribe).map_err(NotStarted::from).map(|()| {
                self.reply(&BrokerMessage::ok(subscribe.id));
            }),
            Some(start) => self.hub.subscribe_from(key, subscribe, start).map(|told| {
                if let Some(told) = told {
                    self.replies.now.extend_from_slice(&told.message);
                }
            }),
        };
        if let Err(error) = begun {
            membership.accounts.leave_subscription();
            self.metrics.requests_refused.inc();
            self.refuse(Some(subscribe.id), not_started_code(&error), &error.to_string());
        }
    }

    fn history(&mut self, key: ConnectionKey, history: &History<'_>, membership: &Membership) {
        let begun = match membership.permissions().check(Operation::History, history.pattern) {
            Err(forbidden) => Err((ErrorCode::Forbidden, forbidden.to_string())),
            Ok(()) => self.hub.history(key, history).map_err(|error| (not_started_code(&error), error.to_string())),
        };
        if let Err((code, text)) = begun {
            self.metrics.requests_refused.inc();
            self.refuse(Some(history.id), code, &text);
        }
    }

    fn unsubscribe(&mut self, key: ConnectionKey, unsubscribe: &Unsubscribe, membership: &mut Membership) {
        // When it is done, the outbox carries the reply, behind the last delivery.
        match self.hub.unsubscribe(key, unsubscribe) {
            Ok(is_unanswered) => {
                membership.accounts.leave_subscription();
                if is_unanswered {
                    self.reply(&BrokerMessage::ok(unsubscribe.subscription));
                }
            }
            Err(error) if self.may_request(Some(unsubscribe.id), membership) => {
                self.metrics.requests_refused.inc();
                self.refuse(Some(unsubscribe.id), ErrorCode::UnknownSubscription, &error.to_string());
            }
            Err(_) => {}
        }
    }

    pub(crate) fn reply(&mut self, message: &BrokerMessage<'_>) {
        message.encode(&mut self.replies.now);
    }

    pub(super) fn refuse(&mut self, id: Option<Id>, code: ErrorCode, message: &str) {
        self.refuse_until(id, code, message, None);
    }

    fn refuse_over(&mut self, id: Option<Id>, over: &Over) {
        self.refuse_until(id, over.code(), &over.message(), over.retry_after());
    }

    pub(super) fn refuse_until(&mut self, id: Option<Id>, code: ErrorCode, message: &str, wait: Option<Duration>) {
        self.hub.spend(Work::Refusal);
        // Rounded up: a client that comes back a fraction too early is refused once more.
        let retry_after_ms = wait.map(|wait| u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        self.reply(&BrokerMessage::Error(ErrorReply { id, code, message, retry_after_ms, last_sequence: None }));
    }
}
