//! Standard output, written by a thread of its own: a pipe that nobody reads must not keep the client from answering heartbeats.
//!
//! Under load many messages share one write; when none waits, what is there is written at once.

use std::{
    io::{self, Write},
    thread,
};

use tokio::sync::{mpsc, oneshot};

/// A buffer of this size is written even while more messages wait.
const LARGE_BYTES: usize = 64 * 1024;
/// So many buffers may wait for a slow reader; then messages wait in the client, and at last in the broker.
const BUFFERS_AHEAD: usize = 4;

/// What was formatted and not yet written.
pub(super) struct Output {
    buffer: Vec<u8>,
    full: mpsc::Sender<Vec<u8>>,
    end: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self::to(io::stdout)
    }

    fn to<W: Write>(open: impl FnOnce() -> W + Send + 'static) -> Self {
        let (full, buffers) = mpsc::channel(BUFFERS_AHEAD);
        let (ended, end) = oneshot::channel();
        thread::spawn(move || {
            let _ = ended.send(write_all(open(), buffers));
        });
        Self { buffer: Vec::new(), full, end }
    }

    /// Where to format to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Has everything written. False when nobody reads any more.
    pub(super) async fn flush(&mut self) -> bool {
        self.buffer.is_empty() || self.full.send(std::mem::take(&mut self.buffer)).await.is_ok()
    }

    /// Has everything written once it is much.
    pub(super) async fn flush_if_large(&mut self) -> bool {
        self.buffer.len() < LARGE_BYTES || self.flush().await
    }

    /// Waits until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.full.closed().await;
    }

    /// Waits until everything was written. That nobody wanted it is no error.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        self.flush().await;
        drop(self.full);
        match self.end.await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

fn write_all(mut out: impl Write, mut buffers: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(buffer) = buffers.blocking_recv() {
        out.write_all(&buffer)?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Pipe {
        written: Arc<Mutex<Vec<u8>>>,
        fails_with: Option<io::ErrorKind>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.fails_with {
                Some(kind) => Err(kind.into()),
                None => self.written.lock().unwrap().write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn outcome(pipe: &Pipe) -> io::Result<()> {
        let pipe = pipe.clone();
        let mut output = Output::to(move || pipe);
        for part in ["one ", "two "] {
            output.buffer().extend_from_slice(part.as_bytes());
            output.flush().await;
        }
        output.buffer().extend_from_slice(b"three");
        output.finish().await
    }

    #[tokio::test]
    async fn all_is_written_in_order_before_the_end() {
        let pipe = Pipe::default();
        outcome(&pipe).await.unwrap();
        assert_eq!(*pipe.written.lock().unwrap(), b"one two three");
    }

    #[tokio::test]
    async fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        let pipe = Pipe { fails_with: Some(io::ErrorKind::BrokenPipe), ..Pipe::default() };
        outcome(&pipe).await.unwrap();
        let disk = Pipe { fails_with: Some(io::ErrorKind::StorageFull), ..Pipe::default() };
        assert_eq!(outcome(&disk).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
