//! Addresses, as far as they tell clients apart.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Whom an address stands for: an IPv4 address for itself, an IPv6 address for its /64, because whoever has one has
/// all 2^64 of them.
///
/// An IPv4 address in IPv6's clothes, mapped (`::ffff:0:0/96`) or translated (`64:ff9b::/96`), is the IPv4 address;
/// otherwise all of IPv4 would be one /64.
///
/// ```
/// use carillon_access::quota::Network;
///
/// let network = |address: &str| address.parse().map(Network::of);
/// assert_eq!(network("2001:db8::1")?, network("2001:db8::2:0:0:1")?);
/// assert_ne!(network("2001:db8::1")?, network("2001:db8:0:1::1")?);
/// assert_eq!(network("2001:db8::1")?.to_string(), "2001:db8::/64");
/// assert_eq!(network("::ffff:192.0.2.1")?.to_string(), "192.0.2.1/32");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(Prefix);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Prefix {
    V4(Ipv4Addr),
    /// The upper half of the address.
    V6([u16; 4]),
}

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(v4) => Prefix::V4(v4),
            IpAddr::V6(v6) => match v6.segments() {
                [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    Prefix::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
                }
                [s0, s1, s2, s3, ..] => Prefix::V6([s0, s1, s2, s3]),
            },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Prefix::V4(v4) => write!(f, "{v4}/32"),
            Prefix::V6([s0, s1, s2, s3]) => write!(f, "{}/64", Ipv6Addr::new(s0, s1, s2, s3, 0, 0, 0, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_share_a_network() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("64:ff9b::192.0.2.1", "192.0.2.1/32"),
            ("64:ff9b:1::192.0.2.1", "64:ff9b:1::/64"),
            ("::1", "::/64"),
            ("::192.0.2.1", "::/64"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(Network::of(address.parse().unwrap()).to_string(), network, "{address}");
        }
    }
}
