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
//!         missing => eprintln!("messages are missing: {missing:?}"),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # What it promises
//! - Nothing is lost in silence. Messages that the broker dropped are an [`Event::Gap`], a lost connection is an
//!   [`Event::Reconnected`], a refused publication is an error or a [`Notice`] and a count.
//! - Nothing grows without bound: the send queue, each subscription's queue and a message from the broker have limits in bytes
//!   ([`ClientBuilder`]). At the limit publishing waits, and reading stops.
//! - It never hammers a broker: attempts to connect are spread by full jitter under a ceiling that doubles, and
//!   what the broker says about coming back is obeyed ([`ReconnectPolicy`]).
//!
//! # What it deliberately does not do
//! It keeps nothing on disk, repeats no publication whose outcome is unknown, and does not know what is in a payload. It speaks
//! only TLS.
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
