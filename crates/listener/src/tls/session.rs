//! Both directions of a connection after the handshake, and all that may be said beside application data: key updates,
//! alerts, and what is refused. No I/O.

use std::ops::Range;

use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ExtractedSecrets,
    kernel::KernelConnection,
    server::{ServerConnectionData, UnbufferedServerConnection},
};

use super::{
    gather::Gather,
    record::{MAX_OVERHEAD_BYTES, MAX_PLAIN_BYTES, Opened, Opener, Refused, SealError, Sealer},
};

/// Records without plain text that may come in a row. They cost their sender less than their receiver.
const EMPTY_RECORDS_IN_A_ROW: u8 = 32;
/// Key updates that may come between application data.
const KEY_UPDATES_IN_A_ROW: u8 = 32;
/// Alerts that end nothing and may be passed over, in the whole connection.
const WARNINGS: u8 = 4;
/// Levels of an alert.
const WARNING: u8 = 1;
const FATAL: u8 = 2;
/// Types of handshake messages.
const CLIENT_HELLO: u8 = 1;
const KEY_UPDATE: u8 = 24;
/// What a key update asks for (RFC 8446, section 4.6.3).
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;
/// A key update: its type, its length in three bytes, what it asks for.
const KEY_UPDATE_BYTES: usize = 5;
/// Room for a sealed alert or key update.
pub(super) const MAX_CONTROL_BYTES: usize = KEY_UPDATE_BYTES + MAX_OVERHEAD_BYTES;

/// A connection's keys, and what was said of them.
pub(super) struct Session {
    sealer: Sealer,
    opener: Opener,
    /// Makes the next keys. There are none in TLS 1.2.
    rekeying: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// The front of a key update that comes in several records.
    key_update: Vec<u8>,
    /// A key update was answered, and the answer may not have left yet.
    is_answered: bool,
    empty_records: u8,
    key_updates: u8,
    warnings: u8,
    /// The client was told that nothing is negotiated again.
    is_renegotiation_refused: bool,
    /// Nothing more is sealed.
    is_closed: bool,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Application data; where it lies, and how long its record was.
    Data { plain: Range<usize>, record_bytes: usize },
    /// Something else, of so many bytes, that is done.
    Done(usize),
    /// The client says no more.
    Closed,
    /// No whole record has come.
    Incomplete,
}

/// Why reading cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the client broke TLS: {0}")]
    Refused(#[from] Refused),
    #[error("the client gave up: {0:?}")]
    Alert(AlertDescription),
    #[error(transparent)]
    Key(#[from] SealError),
}

fn unexpected(what: &'static str) -> ReadError {
    Refused::new(AlertDescription::UnexpectedMessage, what).into()
}

impl Session {
    /// Takes over from a handshake that is done and has nothing left to send.
    pub(super) fn take_over(tls: UnbufferedServerConnection) -> Result<Self, rustls::Error> {
        let (ExtractedSecrets { tx, rx }, kernel) = tls.dangerous_into_kernel_connection()?;
        let suite = kernel.negotiated_cipher_suite();
        let version = kernel.protocol_version();
        let unusable = |error: SealError| rustls::Error::General(error.to_string());
        let sealer = Sealer::new(suite, tx).map_err(unusable)?;
        let opener = Opener::new(version, rx).map_err(unusable)?;
        let rekeying = opener.is_tls13().then(|| Box::new(kernel));
        Ok(Self { rekeying, ..Self::of_keys(sealer, opener) })
    }

    /// Starts with keys that stay.
    pub(super) fn of_keys(sealer: Sealer, opener: Opener) -> Self {
        Self {
            sealer,
            opener,
            rekeying: None,
            key_update: Vec::new(),
            is_answered: false,
            empty_records: 0,
            key_updates: 0,
            warnings: 0,
            is_renegotiation_refused: false,
            is_closed: false,
        }
    }

    /// Reads the record at the front of `received`, in place. What it makes the broker say goes behind `answers`, and has
    /// to be sent before anything that is sealed later.
    ///
    /// After an error nothing may be read any more, and [`Session::end`] tells the client.
    pub(super) fn read(&mut self, received: &mut [u8], answers: &mut Vec<u8>) -> Result<Read, ReadError> {
        let Some(Opened { kind, plain, record_bytes }) = self.opener.open(received)? else {
            return Ok(Read::Incomplete);
        };
        let content = received.get(plain.clone()).unwrap_or_default();
        if !self.key_update.is_empty() && kind != ContentType::Handshake {
            return Err(unexpected("a record stands inside a handshake message"));
        }
        if content.is_empty() {
            self.empty_records += 1;
            if self.empty_records > EMPTY_RECORDS_IN_A_ROW {
                return Err(unexpected("too many empty records in a row"));
            }
        } else {
            self.empty_records = 0;
        }
        match kind {
            ContentType::ApplicationData => {
                if content.is_empty() {
                    return Ok(Read::Done(record_bytes));
                }
                self.key_updates = 0;
                return Ok(Read::Data { plain, record_bytes });
            }
            ContentType::Alert => {
                if self.read_alert(content)? {
                    return Ok(Read::Closed);
                }
            }
            ContentType::Handshake if self.opener.is_tls13() => self.read_key_update(content, answers)?,
            ContentType::Handshake => self.refuse_renegotiation(content, answers)?,
            _ => return Err(unexpected("a record has a type that none has now")),
        }
        Ok(Read::Done(record_bytes))
    }

    /// Tells whether the client has closed.
    fn read_alert(&mut self, content: &[u8]) -> Result<bool, ReadError> {
        let &[level, description] = content else {
            return Err(Refused::new(AlertDescription::DecodeError, "an alert has not two bytes").into());
        };
        let description = AlertDescription::from(description);
        // TLS 1.3 has one warning beside closing (RFC 8446, section 6).
        let is_warning = level == WARNING && (!self.opener.is_tls13() || description == AlertDescription::UserCanceled);
        match description {
            AlertDescription::CloseNotify => Ok(true),
            _ if !is_warning => Err(ReadError::Alert(description)),
            _ if self.warnings == WARNINGS => Err(unexpected("too many warnings")),
            _ => {
                self.warnings += 1;
                Ok(false)
            }
        }
    }

    /// Reads what may be a part of a key update, the one handshake message that a client of TLS 1.3 sends now. Nothing
    /// stands behind one in its record: that would be sealed with the key that it ends.
    fn read_key_update(&mut self, content: &[u8], answers: &mut Vec<u8>) -> Result<(), ReadError> {
        if content.is_empty() {
            return Err(unexpected("a handshake message is empty"));
        }
        if self.key_update.len() + content.len() > KEY_UPDATE_BYTES {
            return Err(unexpected("a handshake message other than a key update, or behind one"));
        }
        self.key_update.extend_from_slice(content);
        match self.key_update.as_slice() {
            [KEY_UPDATE, 0, 0, 1, UPDATE_NOT_REQUESTED] => self.update_keys(false, answers),
            [KEY_UPDATE, 0, 0, 1, UPDATE_REQUESTED] => self.update_keys(true, answers),
            [KEY_UPDATE, 0, 0, 1, _] => {
                Err(Refused::new(AlertDescription::IllegalParameter, "a key update asks for nothing known").into())
            }
            begun if begun.iter().zip([KEY_UPDATE, 0, 0, 1]).all(|(byte, expected)| *byte == expected) => Ok(()),
            [KEY_UPDATE, ..] => {
                Err(Refused::new(AlertDescription::DecodeError, "a key update has not one byte inside").into())
            }
            _ => Err(unexpected("a handshake message other than a key update")),
        }
    }

    fn update_keys(&mut self, is_answer_asked: bool, answers: &mut Vec<u8>) -> Result<(), ReadError> {
        self.key_update = Vec::new();
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_IN_A_ROW {
            return Err(unexpected("too many key updates without application data"));
        }
        let kernel = self.rekeying.as_mut().ok_or(SealError::Cipher)?;
        let secrets = kernel.update_rx_secret().map_err(|_| SealError::Cipher)?;
        self.opener = Opener::new(kernel.protocol_version(), secrets)?;
        // One answer does for all that came before it left.
        if is_answer_asked && !self.is_answered && !self.is_closed {
            let mut out = [0; MAX_CONTROL_BYTES];
            let sealed = self.update_sealing_key(&mut out)?;
            answers.extend_from_slice(out.get(..sealed).unwrap_or_default());
            self.is_answered = true;
        }
        Ok(())
    }

    /// What was put into answers has left.
    pub(super) fn on_answers_sent(&mut self) {
        self.is_answered = false;
    }

    /// In TLS 1.2: says once that nothing is negotiated again, and lets the client go on without.
    fn refuse_renegotiation(&mut self, content: &[u8], answers: &mut Vec<u8>) -> Result<(), ReadError> {
        let is_whole = matches!(
            content,
            [CLIENT_HELLO, high, middle, low, body @ ..]
                if u32::from_be_bytes([0, *high, *middle, *low]) as usize == body.len()
        );
        if !is_whole || self.is_renegotiation_refused {
            return Err(unexpected("a handshake message after the handshake"));
        }
        self.is_renegotiation_refused = true;
        self.alert(WARNING, AlertDescription::NoRenegotiation, answers);
        Ok(())
    }

    /// Seals application data into records at the front of `out`, as many as have room there; returns the bytes of the
    /// records. In TLS 1.3 the key is replaced before it is used up.
    pub(super) fn seal(&mut self, data: &mut Gather<'_>, out: &mut [u8]) -> Result<usize, SealError> {
        let mut sealed = 0;
        while data.left() > 0 {
            let room = out.get_mut(sealed..).unwrap_or_default();
            if room.len() < data.left().min(MAX_PLAIN_BYTES) + MAX_OVERHEAD_BYTES + MAX_CONTROL_BYTES {
                break;
            }
            // The last record that a key protects tells of the next key.
            sealed += match self.sealer.records_left() {
                1 if self.rekeying.is_some() => self.update_sealing_key(room)?,
                0 if sealed == 0 => return Err(SealError::UsedUp),
                0 => break,
                _ => self.sealer.seal(ContentType::ApplicationData, data, room)?,
            };
        }
        Ok(sealed)
    }

    /// Tells the client that the next record is sealed with the next key, and takes that.
    fn update_sealing_key(&mut self, out: &mut [u8]) -> Result<usize, SealError> {
        let kernel = self.rekeying.as_mut().ok_or(SealError::UsedUp)?;
        let message = [KEY_UPDATE, 0, 0, 1, UPDATE_NOT_REQUESTED];
        let sealed = self.sealer.seal(ContentType::Handshake, &mut Gather::from(&message[..]), out)?;
        let secrets: (u64, ConnectionTrafficSecrets) = kernel.update_tx_secret().map_err(|_| SealError::Cipher)?;
        self.sealer = Sealer::new(kernel.negotiated_cipher_suite(), secrets)?;
        Ok(sealed)
    }

    #[cfg(test)]
    pub(super) fn leave_records(&mut self, records: u64) {
        self.sealer.leave_records(records);
    }

    /// Whether nothing more is sealed, because the client was told so, or cannot be told any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Says that nothing more will be said, if that was not said before.
    pub(super) fn close(&mut self, answers: &mut Vec<u8>) {
        self.alert(WARNING, AlertDescription::CloseNotify, answers);
        self.is_closed = true;
    }

    /// Tells the client why reading ended, unless it was the client who ended it.
    pub(super) fn end(&mut self, error: &ReadError, answers: &mut Vec<u8>) {
        match error {
            ReadError::Refused(refused) => self.alert(FATAL, refused.alert, answers),
            ReadError::Key(_) => self.alert(FATAL, AlertDescription::InternalError, answers),
            ReadError::Alert(_) => {}
        }
        self.is_closed = true;
    }

    /// Something that was sealed will never leave, so nothing may follow it.
    pub(super) fn abandon(&mut self) {
        self.is_closed = true;
    }

    fn alert(&mut self, level: u8, description: AlertDescription, answers: &mut Vec<u8>) {
        if self.is_closed {
            return;
        }
        let alert = [level, u8::from(description)];
        let mut out = [0; MAX_CONTROL_BYTES];
        // A cipher that refuses ends the connection without a word.
        if let Ok(sealed) = self.sealer.seal(ContentType::Alert, &mut Gather::from(&alert[..]), &mut out) {
            answers.extend_from_slice(out.get(..sealed).unwrap_or_default());
        }
    }
}
