//! What the operator of an application should know about its client, and what nobody awaits.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carillon_wire::NoticeKind;

use crate::error::{ConnectError, ConnectionLost, RefreshError, Refusal};

/// Something that happened to a client beside what its calls return.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// The connection was lost. Publications without acknowledgement that were sent shortly before may be lost with it.
    Disconnected {
        /// Why.
        cause: ConnectionLost,
        /// When the client connects again; none when it does not.
        retry_in: Option<Duration>,
    },
    /// An attempt to connect again failed.
    ReconnectFailed {
        /// Why.
        error: Arc<ConnectError>,
        /// When the next attempt is made; none when there is none.
        retry_in: Option<Duration>,
    },
    /// The client is connected again.
    Reconnected {
        /// How many attempts it took.
        attempts: u64,
        /// From the moment when the loss was noticed.
        downtime: Duration,
    },
    /// The broker told what is about to happen to the connection. That the credentials run out is told here only to a
    /// client without a [`token_provider`](crate::ClientBuilder::token_provider): one with it gets others by itself.
    Broker {
        /// What.
        kind: NoticeKind,
        /// The same in the broker's words.
        message: String,
        /// When, from the moment when the broker told it; none where it did not say.
        due_in: Option<Duration>,
    },
    /// The credentials of the connection run out, and they were not renewed. The connection goes on until then.
    RefreshFailed(RefreshError),
    /// A publication without acknowledgement was refused: nobody got it.
    PublicationRefused(Refusal),
    /// The client ended, and these publications without acknowledgement still waited to be sent: nobody got them.
    PublicationsDiscarded {
        /// How many.
        count: u64,
        /// Why the client ended.
        cause: ConnectionLost,
    },
}

/// What a client has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Publications without acknowledgement that were refused.
    pub publications_refused: u64,
    /// Publications without acknowledgement that were never sent, because the client ended before.
    pub publications_discarded: u64,
    /// Connections that were made after the first one.
    pub reconnects: u64,
    /// Publications with a message id that were sent again, because the connection was lost before the reply came.
    pub publications_sent_again: u64,
    /// Messages that a subscription with a start had seen already, and did not get again. The broker sends none, so they mean a
    /// defect.
    pub messages_passed_over: u64,
}

/// Called with each notice.
pub(crate) type NoticeHandler = Box<dyn Fn(&Notice) + Send + Sync>;

/// Counts, logs and passes on notices.
#[derive(Default)]
pub(crate) struct Observer {
    publications_refused: AtomicU64,
    publications_discarded: AtomicU64,
    reconnects: AtomicU64,
    publications_sent_again: AtomicU64,
    messages_passed_over: AtomicU64,
    handler: Option<NoticeHandler>,
}

impl Observer {
    pub(crate) fn new(handler: Option<NoticeHandler>) -> Self {
        Self { handler, ..Self::default() }
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            publications_refused: self.publications_refused.load(Ordering::Relaxed),
            publications_discarded: self.publications_discarded.load(Ordering::Relaxed),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            publications_sent_again: self.publications_sent_again.load(Ordering::Relaxed),
            messages_passed_over: self.messages_passed_over.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count_sent_again(&self) {
        self.publications_sent_again.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_passed_over(&self) {
        if self.messages_passed_over.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "the broker sent a message again; it and further ones are passed over, and will only be counted"
            );
        }
    }

    pub(crate) fn tell(&self, notice: &Notice) {
        match notice {
            Notice::Disconnected { cause: ConnectionLost::ClosedByApplication, .. } => return,
            Notice::Disconnected { cause, retry_in: Some(wait) } => {
                tracing::warn!("{cause}; connecting again in {wait:.1?}");
            }
            Notice::Disconnected { cause, retry_in: None } => tracing::debug!("{cause}; not connecting again"),
            Notice::ReconnectFailed { error, retry_in: Some(wait) } => {
                tracing::warn!("{error}; connecting again in {wait:.1?}");
            }
            Notice::ReconnectFailed { error, retry_in: None } => tracing::debug!("{error}; not connecting again"),
            Notice::Reconnected { downtime, .. } => {
                self.reconnects.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("connected again after {downtime:.1?}");
            }
            Notice::Broker { message, due_in: Some(due_in), .. } => {
                tracing::warn!("the broker tells: {message} (in {due_in:.1?})");
            }
            Notice::Broker { message, due_in: None, .. } => tracing::warn!("the broker tells: {message}"),
            Notice::RefreshFailed(error) => tracing::warn!("{error}"),
            Notice::PublicationRefused(refusal) => {
                // One line tells the operator; a line for each could fill a disk.
                if self.publications_refused.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("a publication was refused, and further ones will only be counted: {refusal}");
                }
            }
            Notice::PublicationsDiscarded { count, cause } => {
                self.publications_discarded.fetch_add(*count, Ordering::Relaxed);
                tracing::warn!("{count} publications were not sent: {cause}");
            }
        }
        if let Some(handler) = &self.handler {
            handler(notice);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("counters", &self.counters()).finish_non_exhaustive()
    }
}
