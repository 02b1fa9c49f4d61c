//! How the lines of a request's head end.
//!
//! hyper takes LF for the end of a line, as it may (RFC 9112, section 2.2). A proxy that takes it for a part of a value
//! passes it on, and then its client has written header lines that the proxy never saw: an address in
//! `X-Forwarded-For`, for one. So a head with LF alone is noticed here, and refused.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that looks at the head of a request on its way to hyper.
pub(super) struct WatchedLines<'a, S> {
    stream: S,
    head: Head,
    has_bare_lf: &'a Cell<bool>,
}

/// What was read of a head.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    place: Place,
    after_cr: bool,
}

/// Where in a head the next byte is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// In front of the request line, where empty lines may stand.
    #[default]
    Before,
    Line,
    /// Behind the end of a line: another end is the head's.
    NextLine,
    Behind,
}

impl<'a, S> WatchedLines<'a, S> {
    /// Sets `has_bare_lf` once a line of the head has ended with LF alone.
    pub(super) fn new(stream: S, has_bare_lf: &'a Cell<bool>) -> Self {
        Self { stream, head: Head::default(), has_bare_lf }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl Head {
    /// Whether a line of the head ends with LF alone in these bytes. What is behind the head is nobody's line.
    fn has_bare_lf(&mut self, bytes: &[u8]) -> bool {
        let mut found = false;
        for byte in bytes {
            self.place = match (byte, self.place) {
                (_, Place::Behind) => break,
                (b'\n', place) => {
                    found |= !self.after_cr;
                    match place {
                        Place::Before => Place::Before,
                        Place::Line => Place::NextLine,
                        Place::NextLine | Place::Behind => Place::Behind,
                    }
                }
                (b'\r', place) => place,
                _ => Place::Line,
            };
            self.after_cr = *byte == b'\r';
        }
        found
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedLines<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.head.has_bare_lf(buf.filled().get(before..).unwrap_or_default()) {
            self.has_bare_lf.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedLines<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_lf_is_found_in_the_head_and_not_behind_it_however_the_bytes_come() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nbehind\nit\n\n", false),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n\n", false),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nX: a\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\nbehind", true),
            ("\r\n\nGET / HTTP/1.1\r\n\r\n", true),
        ] {
            for piece_bytes in [1, 2, 3, text.len()] {
                let mut head = Head::default();
                let found = text.as_bytes().chunks(piece_bytes).any(|piece| head.has_bare_lf(piece));
                assert_eq!(found, expected, "{text:?} in pieces of {piece_bytes}");
            }
        }
    }
}
