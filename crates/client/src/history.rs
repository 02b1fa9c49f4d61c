//! What a stream keeps, page by page, without a subscription.

use std::{collections::VecDeque, sync::Arc};

use carillon_wire::PatternBuf;
use tokio::sync::oneshot;

use crate::{
    client::Client,
    command::{Command, HistoryRequest, PageStart},
    error::HistoryError,
    event::Gap,
    message::Message,
    position::Position,
    start::Start,
};

/// What a stream keeps, from a [`Start`] on. Made by [`Client::history`].
///
/// Nothing is read ahead: a page is asked for when it is wanted. When the connection is lost, a page is asked for again on the
/// next one.
///
/// ```no_run
/// # async fn example(client: carillon_client::Client) -> Result<(), carillon_client::HistoryError> {
/// use carillon_client::{HistoryItem, Start};
///
/// // The newest value of each sensor.
/// let mut values = client.history("sensors.>", Start::LastByTopic)?;
/// while let Some(item) = values.next().await? {
///     match item {
///         HistoryItem::Message(message) => println!("{}: {:?}", message.topic(), message.payload()),
///         missing => eprintln!("{missing:?}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is read before `next` or `next_page` is called"]
pub struct History {
    client: Client,
    pattern: PatternBuf,
    /// Where the next page starts; none after the last.
    from: Option<PageStart>,
    max_messages: Option<u64>,
    through: Option<u64>,
    /// What of the last page was not taken.
    items: VecDeque<HistoryItem>,
}

/// One of the things that are found in history, in the order of their sequences.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HistoryItem {
    /// A message that is kept.
    Message(Message),
    /// A range that was asked for and is lost.
    Gap(Gap),
    /// The position that history was to go on behind is of another epoch than the stream has now, or beyond its end. What
    /// was read before may be gone from the stream. Last values all come again behind this. Otherwise what follows is of this
    /// epoch, but need not join on to what was read before: read anew, or subscribe behind the position to be told from where
    /// on the stream is another.
    EpochChanged {
        /// The stream's name.
        stream: Arc<str>,
        /// The epoch that counts.
        epoch: Arc<str>,
    },
}

/// A part of what was asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The stream's name.
    pub stream: Arc<str>,
    /// In the order of their sequences.
    pub items: Vec<HistoryItem>,
    /// With this page, everything that was asked for is there up to here.
    pub position: Position,
    /// Nothing more was asked for.
    pub is_end: bool,
    /// Of last values: they are those that were the last when the stream ended at this sequence.
    pub as_of: Option<u64>,
}

impl History {
    pub(crate) fn new(client: Client, pattern: PatternBuf, start: Start) -> Self {
        let from = Some(PageStart::At(start));
        Self { client, pattern, from, max_messages: None, through: None, items: VecDeque::new() }
    }

    /// At most so many messages in a page, and at least 1. The broker has a limit of its own, which is all that counts without
    /// this.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = Some(messages.max(1));
        self
    }

    /// Up to this sequence. Without it, up to where the stream ends when a page is read: what is published meanwhile is read
    /// too.
    pub fn through(mut self, sequence: u64) -> Self {
        self.through = Some(sequence);
        self
    }

    /// The next page; `None` when the last one was given. A page may be empty. What [`next`](Self::next) has not taken of the
    /// page before is passed over.
    ///
    /// # Errors
    /// The broker's refusal, a page larger than [`receive_queue_bytes`](crate::ClientBuilder::receive_queue_bytes), or a client
    /// that has ended. The same page is asked for again by the next call.
    ///
    /// # Cancel safety
    /// When the future is dropped, the next call asks for the same page.
    pub async fn next_page(&mut self) -> Result<Option<HistoryPage>, HistoryError> {
        self.items.clear();
        let Some(start) = self.from.clone() else { return Ok(None) };
        let (reply, outcome) = oneshot::channel();
        let request = HistoryRequest {
            pattern: self.pattern.clone(),
            start: start.clone(),
            max_messages: self.max_messages,
            through: self.through,
            reply,
        };
        self.client.command(Command::History(Box::new(request))).map_err(HistoryError::Ended)?;
        let mut page = outcome.await.unwrap_or_else(|_| Err(HistoryError::Ended(self.client.end_cause())))?;
        let epoch = page.position.epoch_shared();
        if start.is_not_of(&page, self.through) {
            let change = HistoryItem::EpochChanged { stream: Arc::clone(&page.stream), epoch: Arc::clone(&epoch) };
            page.items.insert(0, change);
        }
        self.from = (!page.is_end).then(|| match page.as_of {
            Some(as_of) => PageStart::LastByTopic { epoch, as_of, after: page.position.sequence() },
            None => PageStart::At(Start::Behind(page.position.clone())),
        });
        Ok(Some(page))
    }

    /// The next message, or what is missing; `None` when everything that was asked for was given. It asks for pages by itself.
    ///
    /// # Errors
    /// As [`next_page`](Self::next_page).
    ///
    /// # Cancel safety
    /// When the future is dropped, nothing is lost.
    pub async fn next(&mut self) -> Result<Option<HistoryItem>, HistoryError> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            match self.next_page().await? {
                Some(page) => self.items = page.items.into(),
                None => return Ok(None),
            }
        }
    }
}
