use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderName},
};
use proptest::prelude::*;

use super::super::{Proxies, ProxyProtocol, X_FORWARDED_FOR};
use super::*;

const PROXY: &str = "10.0.0.1";

fn proxies(protocol: ProxyProtocol) -> Proxies {
    let trusted = ["10.0.0.0/8", "2001:db8:1::/48"];
    Proxies { trusted: trusted.map(|network| network.parse().unwrap()).to_vec(), protocol }
}

fn headers(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    headers
}

fn found(protocol: ProxyProtocol, peer: &str, lines: &[&str]) -> String {
    let name = if protocol == ProxyProtocol::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    proxies(protocol).client_address(peer.parse().unwrap(), &headers(&name, &lines)).to_string()
}

#[test]
fn the_first_untrusted_address_from_the_right_is_the_client() {
    for (lines, client) in [
        (&["192.0.2.7"][..], "192.0.2.7"),
        (&["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        (&["192.0.2.7, 10.0.0.2, 10.9.9.9"], "192.0.2.7"),
        (&["192.0.2.7,10.0.0.2\t,\t2001:db8:1::5"], "192.0.2.7"),
        (&["198.51.100.1", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        (&["192.0.2.7:4711"], "192.0.2.7"),
        (&["[2001:db8::7]:4711, [2001:db8:1::5]"], "2001:db8::7"),
        (&["2001:db8::7"], "2001:db8::7"),
        (&["::ffff:192.0.2.7"], "192.0.2.7"),
        (&["192.0.2.7, ::ffff:10.0.0.2"], "192.0.2.7"),
    ] {
        assert_eq!(found(ProxyProtocol::XForwardedFor, PROXY, lines), client, "{lines:?}");
    }
}

#[test]
fn an_entry_without_an_address_leaves_the_proxy_that_wrote_it() {
    for (lines, client) in [
        (&[][..], PROXY),
        (&[""], PROXY),
        (&["198.51.100.1, unknown"], PROXY),
        (&["198.51.100.1, "], PROXY),
        (&["198.51.100.1", ""], PROXY),
        (&["198.51.100.1, _hidden"], PROXY),
        (&["198.51.100.1, unix:"], PROXY),
        (&["198.51.100.1, 192.0.2.7:"], PROXY),
        (&["198.51.100.1, 192.0.2.7:123456"], PROXY),
        (&["198.51.100.1, 192.0.2.07"], PROXY),
        (&["198.51.100.1, fe80::1%eth0"], PROXY),
        (&["198.51.100.1, [2001:db8::7"], PROXY),
        (&["198.51.100.1, [2001:db8::7]x"], PROXY),
        (&["198.51.100.1, [192.0.2.7]"], PROXY),
        (&["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        // All are trusted: whoever is first in the list started it.
        (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ] {
        assert_eq!(found(ProxyProtocol::XForwardedFor, PROXY, lines), client, "{lines:?}");
    }
}

#[test]
fn forwarded_is_read_with_its_quotes_and_parameters() {
    for (lines, client) in [
        (&["for=192.0.2.7"][..], "192.0.2.7"),
        (&["For=192.0.2.7;proto=https;by=10.0.0.1"], "192.0.2.7"),
        (&["by=10.0.0.1; for=\"192.0.2.7:4711\" ;proto=https"], "192.0.2.7"),
        (&["for=\"[2001:db8::7]:4711\", for=10.0.0.2"], "2001:db8::7"),
        (&["for=\"[2001:db8::7]:_port\""], "2001:db8::7"),
        (&["for=192.0.2.7;host=\"a,b;c\\\",d\", for=\"10.0.0.2\""], "192.0.2.7"),
        (&["for=198.51.100.1", "for=192.0.2.7, for=10.0.0.2"], "192.0.2.7"),
        (&["for=\"192.0.2.\\7\""], "192.0.2.7"),
        (&["for=192.0.2.7;"], "192.0.2.7"),
        // From here on, no address.
        (&["for=198.51.100.1, for=unknown"], PROXY),
        (&["for=198.51.100.1, for=\"2001:db8::7\""], PROXY),
        (&["for=198.51.100.1, for=\"2001:db8::7:4711\""], PROXY),
        (&["for=198.51.100.1, for=_hidden"], PROXY),
        (&["for=198.51.100.1, for=\"_hidden:_port\""], PROXY),
        (&["for=198.51.100.1, proto=https"], PROXY),
        (&["for=198.51.100.1, for=192.0.2.7;for=192.0.2.8"], PROXY),
        (&["for=198.51.100.1, for=\"192.0.2.7"], PROXY),
        (&["for=198.51.100.1, for=192.0.2.7\""], PROXY),
        (&["for=198.51.100.1, for=\"192.0.2.7\"x"], PROXY),
        (&["for=198.51.100.1, 192.0.2.7"], PROXY),
        (&["for=198.51.100.1, "], PROXY),
        (&["for"], PROXY),
        (&["for="], PROXY),
    ] {
        assert_eq!(found(ProxyProtocol::Forwarded, PROXY, lines), client, "{lines:?}");
    }
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    for protocol in [ProxyProtocol::XForwardedFor, ProxyProtocol::Forwarded] {
        assert_eq!(found(protocol, "192.0.2.9", &["for=192.0.2.7", "192.0.2.7"]), "192.0.2.9");
    }
}

#[test]
fn only_the_configured_header_is_believed() {
    let mut both = headers(&X_FORWARDED_FOR, &[b"192.0.2.1"]);
    both.append(FORWARDED, HeaderValue::from_static("for=192.0.2.2"));
    for (protocol, client) in [
        (ProxyProtocol::None, PROXY),
        (ProxyProtocol::ProxyV2, PROXY),
        (ProxyProtocol::XForwardedFor, "192.0.2.1"),
        (ProxyProtocol::Forwarded, "192.0.2.2"),
    ] {
        let address = proxies(protocol).client_address(PROXY.parse().unwrap(), &both);
        assert_eq!(address.to_string(), client, "{protocol:?}");
    }
}

#[test]
fn a_list_that_goes_round_in_circles_ends() {
    let list = vec!["10.0.0.2"; 1000].join(",");
    assert_eq!(found(ProxyProtocol::XForwardedFor, PROXY, &["192.0.2.7", &list]), "10.0.0.2");
}

/// What a client may put into a header, made of what could change how the rest is read.
fn written_by_a_client() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(
        prop_oneof![
            Just(b"10.0.0.2".to_vec()),
            Just(b"203.0.113.66".to_vec()),
            Just(b"for=".to_vec()),
            Just(b"for=10.0.0.2".to_vec()),
            prop::sample::select(&b"\",;= \\[]:_\t\xff"[..]).prop_map(|byte| vec![byte]),
            prop::collection::vec(0x20_u8..0x7f, 0..4),
        ],
        0..12,
    );
    pieces.prop_map(|pieces| pieces.concat())
}

fn node_text(address: IpAddr, port: Option<u16>, quotes: bool) -> String {
    let host = match address {
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    let node = port.map_or(host.clone(), |port| format!("{host}:{port}"));
    if quotes { format!("\"{node}\"") } else { node }
}

proptest! {
    /// Each proxy appends whom it was connected from, to the last line or on a line of its own.
    #[test]
    fn whatever_a_client_writes_it_is_found_where_it_is(
        written in prop::collection::vec(written_by_a_client(), 0..4),
        client: IpAddr,
        others in prop::collection::vec((0_u8.., any::<bool>()), 0..4),
        port: Option<u16>,
        own_lines: bool,
        is_forwarded: bool,
    ) {
        let protocol = if is_forwarded { ProxyProtocol::Forwarded } else { ProxyProtocol::XForwardedFor };
        let name = if is_forwarded { FORWARDED } else { X_FORWARDED_FOR };
        let proxies = proxies(protocol);
        prop_assume!(!proxies.is_trusted(client));
        let hops = std::iter::once(client).chain(others.into_iter().map(|(number, is_v4)| {
            if is_v4 { IpAddr::from([10, 0, 0, number]) } else { format!("2001:db8:1::{number:x}").parse().unwrap() }
        }));
        let mut lines = written;
        for hop in hops {
            let entry = if is_forwarded {
                format!("for={};host=\"x,\\\"\";proto=https", node_text(hop, port, true))
            } else {
                node_text(hop, port, false)
            };
            match lines.last_mut().filter(|_| !own_lines) {
                Some(line) => {
                    line.extend_from_slice(b", ");
                    line.extend_from_slice(entry.as_bytes());
                }
                None => lines.push(entry.into_bytes()),
            }
        }
        let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
        let found = proxies.client_address(PROXY.parse().unwrap(), &headers(&name, &lines));
        prop_assert_eq!(found, client.to_canonical());
    }
}
