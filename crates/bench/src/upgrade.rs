//! The HTTP request that asks for a WebSocket, and its answer.

use std::io::{self, Write};

use crate::Upgrade;

/// An answer's head has at most so many bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Appends the request.
pub(crate) fn request(upgrade: &Upgrade, authority: &str, more: &[(String, String)], out: &mut Vec<u8>) {
    let Upgrade { path, subprotocol, headers } = upgrade;
    let mut line = |line: std::fmt::Arguments<'_>| {
        // A `Vec` takes every byte.
        let _ = out.write_fmt(line);
        out.extend_from_slice(b"\r\n");
    };
    line(format_args!("GET {path} HTTP/1.1"));
    line(format_args!("Host: {authority}"));
    line(format_args!("Connection: Upgrade"));
    line(format_args!("Upgrade: websocket"));
    line(format_args!("Sec-WebSocket-Version: 13"));
    // The same for all: it tells the server's answer from a cache's, and there is none between here and there.
    line(format_args!("Sec-WebSocket-Key: Y2FyaWxsb24tYmVuY2gtMQ=="));
    if let Some(subprotocol) = subprotocol {
        line(format_args!("Sec-WebSocket-Protocol: {subprotocol}"));
    }
    for (name, value) in headers.iter().chain(more) {
        line(format_args!("{name}: {value}"));
    }
    line(format_args!(""));
}

/// Gathers the answer's head.
#[derive(Debug, Default)]
pub(crate) struct Answer(Vec<u8>);

impl Answer {
    /// Takes bytes; once the head is whole and agrees, returns those behind it.
    pub(crate) fn take<'a>(&mut self, bytes: &'a [u8], subprotocol: Option<&str>) -> io::Result<Option<&'a [u8]>> {
        const END: &[u8] = b"\r\n\r\n";
        let before = self.0.len();
        self.0.extend_from_slice(bytes);
        // The end may have begun in what came before.
        let from = before.saturating_sub(END.len() - 1);
        let found = self.0.get(from..).and_then(|new| new.windows(END.len()).position(|window| window == END));
        let Some(at) = found else {
            return if self.0.len() > MAX_HEAD_BYTES { Err(refused(&self.0)) } else { Ok(None) };
        };
        let end = from + at + END.len();
        self.0.truncate(end);
        let head = std::mem::take(&mut self.0);
        if !agrees(&head, subprotocol) {
            return Err(refused(&head));
        }
        Ok(bytes.get(end - before..))
    }
}

fn agrees(head: &[u8], subprotocol: Option<&str>) -> bool {
    let Ok(head) = str::from_utf8(head) else { return false };
    let mut lines = head.lines();
    let switches = lines.next().and_then(|line| line.split(' ').nth(1)) == Some("101");
    let chosen = lines
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-protocol").then(|| value.trim()));
    switches && (subprotocol.is_none() || chosen == subprotocol)
}

fn refused(head: &[u8]) -> io::Error {
    let first = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first.get(..200).unwrap_or(first));
    io::Error::other(format!("the server did not switch to the WebSocket that was asked for: {first}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SWITCHES: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-Websocket-protocol: mqtt\r\n\r\n";

    fn taken(pieces: &[&[u8]], subprotocol: Option<&str>) -> io::Result<Vec<u8>> {
        let (mut answer, mut is_whole, mut behind) = (Answer::default(), false, Vec::new());
        for piece in pieces {
            if is_whole {
                behind.extend_from_slice(piece);
            } else if let Some(rest) = answer.take(piece, subprotocol)? {
                is_whole = true;
                behind.extend_from_slice(rest);
            }
        }
        assert!(is_whole);
        Ok(behind)
    }

    proptest! {
        #[test]
        fn head_may_be_cut_anywhere(behind: Vec<u8>, cuts in prop::collection::vec(0..150usize, 0..4)) {
            let whole = [SWITCHES, &behind].concat();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &whole[cut[0]..cut[1]]).collect();
            prop_assert_eq!(taken(&pieces, Some("mqtt")).unwrap(), behind);
        }
    }

    #[test]
    fn another_status_or_subprotocol_is_refused() {
        let error = taken(&[b"HTTP/1.1 404 Not Found\r\n\r\n"], None).unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
        assert!(taken(&[SWITCHES], Some("carillon.v1")).is_err());
        assert!(taken(&[b"HTTP/1.1 101 X\r\n\r\n"], Some("carillon.v1")).is_err());
        assert!(taken(&[SWITCHES], None).is_ok());
    }
}
