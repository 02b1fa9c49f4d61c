//! The Rust client of the Carillon message broker: connect over secure WebSocket, publish, subscribe, and come back by itself
//! when the connection is lost.
//!
//! ```no_run
//! use carillon_client::{Client, Event, SubscribeOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("wss://localhost:8443").ca_file("ca.pem").connect().await?;
//! let mut orders = client.subscribe("orders.*.created", SubscribeOptions::default()).await?;
//! client.publish_acknowledged("orders.eu.created", "an order").await?;
//! while let Some(event) = orders.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {} bytes", message.topic(), message.payload().len()),
//!         Event::Gap(_) | Event::Reconnected(_) => eprintln!("messages are missing: {event:?}"),
//!         other => eprintln!("{other:?}"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # Streams
//! What a stream keeps is published and read without a loss across lost connections and restarts of both sides:
//!
//! ```no_run
//! use carillon_client::{Client, Event, Position, Start, SubscribeOptions};
//!
//! # fn stored() -> Option<Position> { None }
//! # fn store(_: &Position) {}
//! # fn apply(_: &carillon_client::Message) {}
//! # fn start_over() {}
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! // Committed once, however often the connection breaks before the answer; and only if the topic is still at 41.
//! let ack = client
//!     .publication("orders.eu.7", "paid")
//!     .message_id("order-7-paid")
//!     .expected_sequence(41)
//!     .acknowledged()
//!     .await?;
//! println!("kept at {}", ack.kept.ok_or("no stream keeps this topic")?.position);
//!
//! // From where the application was when it stopped, or from the beginning.
//! let start = stored().map_or(Start::Beginning, Start::Behind);
//! let mut orders = client.subscribe("orders.>", SubscribeOptions::default().start(start)).await?;
//! while let Some(event) = orders.next().await {
//!     match event {
//!         Event::Message(message) => apply(&message),
//!         // Older than what the stream keeps: this application's state cannot be right any more.
//!         Event::Gap(_) | Event::EpochChanged(_) => start_over(),
//!         Event::Ended(ended) => return Err(ended.into()),
//!         // Back after a reconnect, or up to date: nothing is lost.
//!         _ => {}
//!     }
//!     if let Some(position) = orders.position() {
//!         store(position);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! [`Client::history`] reads what is kept without subscribing.
//!
//! # What it promises
//! - Nothing is lost in silence. Messages that are lost are an [`Event::Gap`] or an [`Event::EpochChanged`], a lost connection
//!   is an [`Event::Reconnected`] where it may have cost messages and an [`Event::Resumed`] where it has not, a refused publication
//!   is an error or a [`Notice`] and a count. [`Subscription::next_message`] gives messages alone, and what is missing as an error.
//! - A subscription with a [`Start`] resumes by itself, and no message comes twice. A publication with a
//!   [message id](Publication::message_id) is sent again by itself, and its stream keeps it once.
//! - Nothing grows without bound: the send queue, each subscription's queue, a page of history and a message from the broker have
//!   limits in bytes ([`ClientBuilder`]). At the limit publishing waits, and reading stops.
//! - It never hammers a broker: attempts to connect are spread by full jitter under a ceiling that doubles, and
//!   what the broker says about coming back is obeyed ([`ReconnectPolicy`]).
//!
//! # What it deliberately does not do
//! It keeps nothing on disk (where an application has come is the application's to store), repeats no publication without a message
//! id whose outcome is unknown, and does not know what is in a payload. It speaks only TLS.
//!
//! # Where to start reading
//! [`Client`] is the handle. Behind it, `driver` is the task that joins `session` (the protocol, without I/O or a clock) to
//! `connection` (TLS, the WebSocket upgrade, frames).

mod backoff;
mod builder;
mod client;
mod command;
mod connection;
mod driver;
mod endpoint;
mod error;
mod event;
mod history;
mod message;
mod observer;
mod position;
mod publication;
mod session;
mod start;
mod subscription;
mod token;

pub use backoff::ReconnectPolicy;
pub use builder::ClientBuilder;
pub use bytes::Bytes;
pub use carillon_wire::{
    CloseCode, EpochReason, ErrorCode, GapReason, Headers, NoticeKind, Overflow, Resumed as Resumption,
};
pub use client::{Client, SubscribeOptions};
pub use endpoint::UrlError;
pub use error::{ConnectError, ConnectionLost, HistoryError, PublishError, RefreshError, Refusal, SubscribeError};
pub use event::{CaughtUp, Ended, EpochChanged, Event, Gap, GapRange, Missing, Reconnected, Resumed};
pub use history::{History, HistoryItem, HistoryPage};
pub use message::Message;
pub use observer::{Counters, Notice};
pub use position::{InvalidPosition, Position};
pub use publication::{Ack, Kept, PendingAck, Publication};
pub use start::Start;
pub use subscription::Subscription;
