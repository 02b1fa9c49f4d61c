//! What a client's handshakes told of it, before its first message.

use std::net::IpAddr;

use carillon_access::identity::Secret;

use crate::{quota::Entered, tls::ClientChain};

/// Who stands at the door.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The other end of its socket: the client, or the last proxy on the way.
    pub(crate) peer: IpAddr,
    /// The client's address, which a trusted proxy may have told.
    pub(crate) address: IpAddr,
    /// Its place among the connections of that address; `None` where there was none left.
    pub(crate) counted: Option<Entered>,
    /// What stood behind `Bearer` in its HTTP request's `Authorization`, until the client connects.
    pub(crate) authorization: Option<Secret>,
    /// The certificate that it has shown, until the client connects.
    pub(crate) certificate: Option<ClientChain>,
}
