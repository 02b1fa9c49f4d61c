//! Connections that end, and the session's own end: what fails, what is repeated, and who is told.

use carillon_wire::CloseCode;
use tokio::sync::oneshot;

use super::{Outgoing, Pending, Session, renewal::Renewal};
use crate::{
    command::Publish,
    error::{ConnectionLost, HistoryError, PublishError},
    observer::Notice,
};

impl Session {
    /// What the broker said about the close that comes, or the close frame's own words.
    pub(crate) fn closed_with(&mut self, code: CloseCode, reason: String) -> ConnectionLost {
        let (code, reason, retry_after) = self.closing.take().unwrap_or((code, reason, None));
        ConnectionLost::Closed { code, reason, retry_after }
    }

    /// The connection ended without a close frame: what the broker said about the close before, or else the cause.
    pub(crate) fn lost(&mut self, cause: ConnectionLost) -> ConnectionLost {
        match self.closing.take() {
            Some((code, reason, retry_after)) => ConnectionLost::Closed { code, reason, retry_after },
            None => cause,
        }
    }

    /// The connection is gone. What was asked on it fails; publications that were not sent wait for the next one.
    pub(crate) fn on_disconnected(&mut self, cause: &ConnectionLost) {
        self.is_connected = false;
        self.heartbeat = None;
        self.closing = None;
        self.writing.clear();
        self.renewal = Renewal::No;
        if let (ConnectionLost::Closed { code: CloseCode::Unauthenticated, .. }, Some(provider)) =
            (cause, &self.provider)
        {
            provider.forget();
        }
        self.table.disconnected();
        self.covered = None;
        let mut publications = Vec::new();
        let mut again = Vec::new();
        for (id, pending) in self.pending.drain() {
            match pending {
                Pending::Publish(publish) => publications.push((id, publish)),
                Pending::Flush(reply) => drop(reply.send(Err(cause.clone()))),
                // Reading changes nothing, so it can be asked for again.
                Pending::History(request) => again.push(Outgoing::History(request)),
                Pending::Subscribe { .. } | Pending::TakeBack { .. } | Pending::Refresh(_) => {}
            }
        }
        for outgoing in std::mem::take(&mut self.queue) {
            match outgoing {
                Outgoing::Publish(_) | Outgoing::History(_) => again.push(outgoing),
                // What it should confirm may have been lost.
                Outgoing::Flush(reply) => drop(reply.send(Err(cause.clone()))),
                Outgoing::Subscribe { .. }
                | Outgoing::Unsubscribe(_)
                | Outgoing::TakeBack { .. }
                | Outgoing::Refresh(_) => {}
            }
        }
        self.queue = again.into();
        self.keep_or_fail(publications, cause);
    }

    /// The application closes the client: no subscription gets anything any more, and once the broker has answered what was
    /// asked before, everything is said.
    pub(crate) fn begin_close(&mut self) {
        self.table.end(&ConnectionLost::ClosedByApplication);
        self.queue.push_back(Outgoing::Flush(oneshot::channel().0));
    }

    /// No connection will come any more.
    pub(crate) fn end(&mut self, cause: &ConnectionLost) {
        self.on_disconnected(cause);
        let mut discarded = 0;
        for outgoing in self.queue.drain(..) {
            match outgoing {
                Outgoing::Publish(Publish { reply: None, .. }) => discarded += 1,
                Outgoing::Publish(mut publish) => {
                    let error = match publish.lost.take() {
                        Some(lost) => PublishError::OutcomeUnknown(*lost),
                        None => PublishError::Ended(cause.clone()),
                    };
                    publish.answer(Err(error));
                }
                Outgoing::History(request) => drop(request.reply.send(Err(HistoryError::Ended(cause.clone())))),
                _ => {}
            }
        }
        if discarded > 0 {
            self.observer.tell(&Notice::PublicationsDiscarded { count: discarded, cause: cause.clone() });
        }
        self.table.end(cause);
    }
}
