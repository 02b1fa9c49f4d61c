//! Networks as operators write them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// IPv4 addresses in IPv6 start with this many bits of `::ffff:0:0`.
const MAPPED_BITS: u8 = 96;

/// A network: an address and how many of its leading bits count. An address alone is a network of one.
///
/// IPv4 addresses mapped into IPv6 (`::ffff:192.0.2.1`) are the IPv4 addresses, here and in what is compared.
///
/// ```
/// use carillon_listener::proxies::Cidr;
///
/// let network: Cidr = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse()?) && network.contains("::ffff:10.1.2.3".parse()?));
/// assert!(!network.contains("11.0.0.0".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Without host bits, and never a mapped one.
    network: IpAddr,
    prefix: u8,
}

/// Why a text names no network. It is shown to whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidrError {
    /// No address, or no number behind `/`.
    #[error(
        "{0:?} is no network; expected an address, or an address and the length of its prefix, such as \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\""
    )]
    Malformed(String),
    /// More bits than the address has.
    #[error("{text:?} has a prefix of {prefix} bits, and an address of that kind has {most}")]
    PrefixTooLong {
        /// What was written.
        text: String,
        /// The bits asked for.
        prefix: u8,
        /// The bits there are.
        most: u8,
    },
    /// Bits behind the prefix, so that it is not clear what was meant.
    #[error(
        "{text:?} has bits set behind its prefix; write \"{network}\" for the whole network, or \"{address}\" for this address alone"
    )]
    HostBits {
        /// What was written.
        text: String,
        /// The network that the address is in.
        network: Cidr,
        /// The address.
        address: IpAddr,
    },
    /// A prefix of an IPv4 address in IPv6 that leaves IPv4 open.
    #[error("{0:?} would hold all of IPv4 and more; write IPv4 networks as \"10.0.0.0/8\"")]
    MoreThanIpv4(String),
}

impl Cidr {
    /// Whether an address is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => mask_v4(address, self.prefix) == network,
            (IpAddr::V6(network), IpAddr::V6(address)) => mask_v6(address, self.prefix) == network,
            _ => false,
        }
    }

    /// How many leading bits are fixed: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether its addresses are IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }
}

fn mask_v4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(prefix.into());
    address & Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}

fn mask_v6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let host_bits = 128_u32.saturating_sub(prefix.into());
    address & Ipv6Addr::from_bits(u128::MAX.checked_shl(host_bits).unwrap_or(0))
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => mask_v4(address, prefix).into(),
        IpAddr::V6(address) => mask_v6(address, prefix).into(),
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let malformed = || CidrError::Malformed(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => {
                // The standard library would take a plus sign, too.
                let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
                let prefix: u8 = prefix.parse().ok().filter(|_| is_number).ok_or_else(malformed)?;
                (address, Some(prefix))
            }
        };
        let written: IpAddr = address.parse().map_err(|_| malformed())?;
        let most = bits(written);
        let mut prefix = prefix.unwrap_or(most);
        if prefix > most {
            return Err(CidrError::PrefixTooLong { text: text.to_owned(), prefix, most });
        }
        let address = written.to_canonical();
        if address != written {
            prefix = prefix.checked_sub(MAPPED_BITS).ok_or_else(|| CidrError::MoreThanIpv4(text.to_owned()))?;
        }
        let network = Self { network: mask(address, prefix), prefix };
        if network.network != address {
            return Err(CidrError::HostBits { text: text.to_owned(), network, address });
        }
        Ok(network)
    }
}

/// As it is parsed; a network of one address is that address.
impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(self.network) {
            return write!(f, "{}", self.network);
        }
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Cidr>().unwrap_err().to_string()
    }

    #[test]
    fn networks_hold_their_first_and_last_address_and_no_other() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.6/31", ["192.0.2.6", "192.0.2.7"], ["192.0.2.5", "192.0.2.8"]),
            ("::ffff:10.0.0.0/104", ["10.0.0.0", "::ffff:10.255.255.255"], ["11.0.0.0", "::10.0.0.1"]),
            ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db7::", "2001:db9::"]),
            ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["::2", "127.0.0.1"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::1"]),
            ("::/0", ["::", "2001:db8::1"], ["0.0.0.0", "::ffff:10.0.0.1"]),
        ] {
            let parsed: Cidr = network.parse().unwrap();
            for address in inside {
                assert!(parsed.contains(address.parse().unwrap()), "{address} in {network}");
            }
            for address in outside {
                assert!(!parsed.contains(address.parse().unwrap()), "{address} in {network}");
            }
        }
    }

    #[test]
    fn bits_behind_the_prefix_are_refused_with_both_meanings() {
        let told = error("10.1.2.3/8");
        assert!(told.contains("\"10.0.0.0/8\"") && told.contains("\"10.1.2.3\""), "{told}");
        let told = error("2001:db8::1/32");
        assert!(told.contains("\"2001:db8::/32\"") && told.contains("\"2001:db8::1\""), "{told}");
        assert!(error("::ffff:10.1.2.3/104").contains("\"10.0.0.0/8\""));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/x",
            "10.0.0.0/+8",
            "10.0.0/8",
            "10.0.0.0/8/8",
            "10.0.0.0/256",
            "localhost",
            "[::1]",
            " 10.0.0.1",
            "fe80::1%eth0",
        ] {
            assert!(error(text).contains(&format!("{text:?} is no network")), "{text}");
        }
        assert!(error("10.0.0.0/33").contains("33 bits") && error("10.0.0.0/33").contains("has 32"));
        assert!(error("::/129").contains("has 128"));
        assert!(error("::ffff:0.0.0.0/90").contains("all of IPv4"));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_same_network_and_bits_behind_the_prefix_do_not_count(
            address: IpAddr,
            prefix in 0_u8..=128,
            flipped in 0_u8..128,
        ) {
            let address = address.to_canonical();
            let prefix = prefix.min(bits(address));
            let network = Cidr { network: mask(address, prefix), prefix };
            // A prefix too short to tell IPv4 in IPv6 from the rest of it is told apart, not shown.
            if let Ok(parsed) = network.to_string().parse::<Cidr>() {
                prop_assert_eq!(parsed, network);
            } else {
                prop_assert!(network.network.to_canonical() != network.network);
            }
            let flipped = flipped % bits(address);
            let other = match address {
                IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() ^ (1 << (31 - flipped)))),
                IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() ^ (1 << (127 - flipped)))),
            };
            // Flipping the bits of a mapped address' own prefix is another kind of address.
            prop_assume!(other.is_ipv4() || other.to_canonical() == other);
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.contains(other), flipped >= prefix);
        }
    }
}
