//! What a client's handshakes told of it, before its first message.

use std::net::IpAddr;

use carillon_access::identity::Secret;

/// Who stands at the door.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The client's address.
    pub(crate) address: IpAddr,
    /// What stood behind `Bearer` in its HTTP request's `Authorization`, until the client connects.
    pub(crate) authorization: Option<Secret>,
}
