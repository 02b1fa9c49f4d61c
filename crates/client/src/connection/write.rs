//! Writing: one WebSocket message for each batch, and a flush behind it, because TLS may hold the last bytes back otherwise.

use std::convert::Infallible;

use bytes::Bytes;
use carillon_wire::CloseCode;
use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, WebSocketWrite};
use tokio::{io::AsyncWrite, sync::mpsc};

/// The longest reason that fits into a close frame beside its code.
const MAX_REASON_BYTES: usize = 123;
/// A buffer that grew beyond this for one large message is given back.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// One frame to be written.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Messages, back to back.
    Batch(Vec<u8>),
    /// The answer to a ping.
    Pong(Bytes),
    /// The last frame.
    Close(CloseCode, String),
}

/// Writes what comes, one at a time, and answers each with an empty buffer to fill next, or with why it failed.
pub(crate) async fn write_loop<W: AsyncWrite + Unpin>(
    mut frames: WebSocketWrite<W>,
    mut work: mpsc::Receiver<Outgoing>,
    done: mpsc::Sender<Result<Vec<u8>, String>>,
) -> Infallible {
    while let Some(outgoing) = work.recv().await {
        let mut buffer = Vec::new();
        let frame = match outgoing {
            Outgoing::Batch(batch) => {
                buffer = batch;
                // Masked in place.
                Frame::binary(Payload::BorrowedMut(&mut buffer))
            }
            Outgoing::Pong(payload) => Frame::new(true, OpCode::Pong, None, Payload::Owned(payload.to_vec())),
            Outgoing::Close(code, reason) => Frame::close(code.number(), shortened(&reason).as_bytes()),
        };
        let written = write(&mut frames, frame).await;
        buffer.clear();
        if buffer.capacity() > KEPT_BUFFER_BYTES {
            buffer = Vec::new();
        }
        let _ = done.send(written.map(|()| buffer).map_err(|error| error.to_string())).await;
    }
    std::future::pending().await
}

pub(super) async fn write<W: AsyncWrite + Unpin>(
    frames: &mut WebSocketWrite<W>,
    frame: Frame<'_>,
) -> Result<(), WebSocketError> {
    frames.write_frame(frame).await?;
    frames.flush().await
}

fn shortened(reason: &str) -> &str {
    let end = (0..=MAX_REASON_BYTES.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fastwebsockets::{Role, after_handshake_split};
    use tokio::io::{AsyncReadExt, BufWriter, duplex, empty};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_written_does_not_stay_in_a_buffer_below() {
        let (here, mut there) = duplex(1024);
        // Holds what it gets until it is flushed, as TLS may.
        let (_, writer) = after_handshake_split(empty(), BufWriter::new(here), Role::Client);
        let (work, from_work) = mpsc::channel(1);
        let (into_done, mut done) = mpsc::channel::<Result<Vec<u8>, String>>(1);
        let exchange = async {
            for outgoing in [Outgoing::Batch(vec![1]), Outgoing::Close(CloseCode::Normal, String::new())] {
                work.send(outgoing).await.unwrap();
                let buffer = done.recv().await.unwrap().unwrap();
                assert!(buffer.is_empty());
                let arrived = tokio::time::timeout(Duration::from_secs(1), there.read(&mut [0; 64])).await;
                assert!(arrived.unwrap().unwrap() > 0);
            }
        };
        tokio::select! {
            () = exchange => {}
            never = write_loop(writer, from_work, into_done) => match never {},
        }
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(100);
        assert_eq!(shortened(&long), "ä".repeat(61));
    }
}
