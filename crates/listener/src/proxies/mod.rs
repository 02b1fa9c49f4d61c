//! Whose word is taken for a client's address.
//!
//! Behind a proxy every connection comes from the proxy, so the proxy has to tell where its client is. Whoever is not
//! listed could tell anything, and is not believed. One way to tell is believed, not several: a proxy that fills one in
//! passes the others on as its client sent them.
//!
//! This finds addresses and decides nothing by them. Start with [`Proxies`]; `forwarded` reads what stands in an HTTP
//! request, [`header`] what stands in front of a TLS handshake.

mod cidr;
mod forwarded;
pub mod header;

use std::net::IpAddr;

use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderName},
};

pub use cidr::{Cidr, CidrError};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies in front of this broker. By default there are none, and every client is where its socket comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The networks that proxies are in. Everybody in them can be whoever they like.
    pub trusted: Vec<Cidr>,
    /// How these proxies tell where a client is.
    pub protocol: ProxyProtocol,
}

/// How a proxy tells where its client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Not at all.
    #[default]
    None,
    /// In `X-Forwarded-For` of the HTTP request, to which each proxy on the way appends whom it heard it from.
    XForwardedFor,
    /// The same in `Forwarded` (RFC 7239).
    Forwarded,
    /// In a header of PROXY protocol version 2, ahead of the TLS handshake. A trusted proxy must send one.
    ProxyV2,
}

impl Proxies {
    /// Whether this address is one of a proxy, whose connections are not one client's.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a socket from this address must start with a PROXY header.
    pub(crate) fn asks_for_header(&self, peer: IpAddr) -> bool {
        self.protocol == ProxyProtocol::ProxyV2 && self.is_trusted(peer)
    }

    /// Where the client is by the headers of a request that came from `peer`, which may be a proxy.
    pub(crate) fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let is_trusted = |address| self.is_trusted(address);
        match self.protocol {
            ProxyProtocol::XForwardedFor => {
                forwarded::client(peer, is_trusted, forwarded::x_forwarded_for(headers.get_all(X_FORWARDED_FOR)))
            }
            ProxyProtocol::Forwarded => {
                forwarded::client(peer, is_trusted, forwarded::forwarded(headers.get_all(FORWARDED)))
            }
            ProxyProtocol::None | ProxyProtocol::ProxyV2 => peer,
        }
    }
}
