//! Standard input, read by a thread of its own: a read of a terminal or a pipe cannot be taken back, so the asynchronous runtime
//! must not wait for one when the command is over.

use std::{
    io::{self, BufRead, Read},
    thread,
};

use carillon_client::Bytes;
use tokio::sync::{mpsc, oneshot};

/// More than any broker takes by default; what never ends must not fill the memory.
const MAX_INPUT_BYTES: u64 = 64 * 1024 * 1024;
/// So many lines are read ahead.
const LINES_AHEAD: usize = 256;

/// Why there is nothing to publish.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// Reading failed.
    #[error("standard input cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Not a message.
    #[error("a message from standard input has more than {MAX_INPUT_BYTES} bytes; is a newline missing?")]
    TooLong,
}

/// Everything that standard input has.
pub(super) async fn whole_stdin() -> Result<Bytes, InputError> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        // Nobody waits any more when the time is over.
        let _ = sender.send(whole(io::stdin().lock(), MAX_INPUT_BYTES));
    });
    receiver.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::BrokenPipe).into()))
}

fn whole(input: impl Read, max_bytes: u64) -> Result<Bytes, InputError> {
    let mut bytes = Vec::new();
    input.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes { Err(InputError::TooLong) } else { Ok(bytes.into()) }
}

/// The lines of standard input as they come; an error is the last.
pub(super) fn lines_of_stdin() -> mpsc::Receiver<Result<Bytes, InputError>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = next_line(&mut input, MAX_INPUT_BYTES).transpose() {
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                break;
            }
        }
    });
    receiver
}

/// The next line without its newline; the last one may lack it.
fn next_line(input: &mut impl BufRead, max_bytes: u64) -> Result<Option<Bytes>, InputError> {
    let mut line = Vec::new();
    if input.take(max_bytes + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 > max_bytes {
        return Err(InputError::TooLong);
    }
    Ok(Some(line.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Bytes> {
        std::iter::from_fn(|| next_line(&mut input, 8).unwrap()).collect()
    }

    #[test]
    fn each_line_is_a_message_and_an_empty_line_an_empty_one() {
        assert_eq!(lines(b"one\n\ntwo"), ["one", "", "two"]);
        assert_eq!(lines(b"one\n"), ["one"]);
        assert_eq!(lines(b"\n"), [""]);
        assert_eq!(lines(b""), [""; 0]);
    }

    #[test]
    fn lines_need_not_be_text_and_keep_all_but_the_newline() {
        assert_eq!(lines(b"\xff\r\n"), [b"\xff\r".as_slice()]);
    }

    #[test]
    fn a_line_that_does_not_end_is_refused_at_the_limit() {
        assert_eq!(lines(b"12345678\n"), ["12345678"]);
        assert!(matches!(next_line(&mut b"123456789".as_slice(), 8), Err(InputError::TooLong)));
        assert!(matches!(next_line(&mut io::BufReader::new(io::repeat(b'x')), 8), Err(InputError::TooLong)));
    }

    #[test]
    fn whole_input_is_one_message_with_its_newlines() {
        assert_eq!(whole(b"a\nb\n".as_slice(), 8).unwrap(), "a\nb\n");
        assert!(matches!(whole(io::repeat(b'x'), 8), Err(InputError::TooLong)));
    }
}
