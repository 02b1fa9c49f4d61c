//! Reads the fields of one message in order. The bytes were scanned before, so every value is whole; a field that is
//! missing or nil takes its default, and fields that this version does not know are left alone.

use rmp::{Marker, decode};

use crate::{ErrorCode, Headers, Id, MAX_EPOCH_BYTES, MAX_MESSAGE_ID_BYTES, MAX_STREAM_BYTES, headers::HeadersError};

pub(crate) const INTEGER: &str = "an integer from 0 to 2^53 - 1";
pub(crate) const CODE: &str = "a code's number";
const STREAM: &str = "a stream's name: 1 to 64 ASCII letters, digits, `-` and `_`";
const EPOCH: &str = "an epoch as the broker told it: 1 to 64 printable ASCII characters without spaces";

/// Why a field could not be read.
#[derive(Debug)]
pub(crate) struct FieldError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What is left of an array.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    left: u32,
    /// Where field 1 starts, for [`Fields::request_id`].
    after_op: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of_array(array: &'a [u8]) -> Option<Self> {
        let mut rest = array;
        let left = decode::read_array_len(&mut rest).ok()?;
        Some(Self { rest, left, after_op: rest })
    }

    /// The op: the first element, an integer from 0 to 127.
    pub(crate) fn op(&mut self) -> Option<u8> {
        self.left = self.left.checked_sub(1)?;
        let op: u8 = decode::read_int(&mut self.rest).ok()?;
        self.after_op = self.rest;
        (op < 0x80).then_some(op)
    }

    /// Field 1 as an id, whatever the message is; for the error that answers it.
    pub(crate) fn request_id(&self) -> Option<Id> {
        let mut rest = self.after_op;
        Id::new(decode::read_int(&mut rest).ok()?)
    }

    /// Whether the next field is there and not nil. A nil is passed over.
    fn present(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if self.rest.first() == Some(&Marker::Null.to_u8()) {
            self.rest = self.rest.get(1..).unwrap_or_default();
            return false;
        }
        true
    }

    /// An integer that fits `T` and stays below 2^53, as every integer of the protocol does.
    pub(crate) fn optional_int<T: TryFrom<u64>>(
        &mut self,
        field: &str,
        allowed: &str,
    ) -> Result<Option<T>, FieldError> {
        if !self.present() {
            return Ok(None);
        }
        decode::read_int::<u64, _>(&mut self.rest)
            .ok()
            .filter(|number| *number <= Id::MAX.get())
            .and_then(|number| T::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| wrong(field, allowed))
    }

    /// Any integer of the protocol; required.
    pub(crate) fn int(&mut self, field: &str) -> Result<u64, FieldError> {
        self.optional_int(field, INTEGER)?.ok_or_else(|| missing(field, INTEGER))
    }

    pub(crate) fn int_or_0(&mut self, field: &str) -> Result<u64, FieldError> {
        Ok(self.optional_int(field, INTEGER)?.unwrap_or_default())
    }

    /// A code's number; 0 where it is missing.
    pub(crate) fn code<T: TryFrom<u64> + Default>(&mut self, field: &str) -> Result<T, FieldError> {
        Ok(self.optional_int(field, CODE)?.unwrap_or_default())
    }

    /// Whether an integer is there that is not 0.
    pub(crate) fn flag(&mut self, field: &str) -> Result<bool, FieldError> {
        Ok(self.int_or_0(field)? != 0)
    }

    /// An integer that is not 0.
    pub(crate) fn optional_positive(&mut self, field: &str) -> Result<Option<u64>, FieldError> {
        let allowed = "an integer from 1 to 2^53 - 1";
        match self.optional_int(field, allowed)? {
            Some(0) => Err(wrong(field, allowed)),
            number => Ok(number),
        }
    }

    pub(crate) fn optional_id(&mut self, field: &str) -> Result<Option<Id>, FieldError> {
        match self.optional_int::<u64>(field, INTEGER)? {
            None => Ok(None),
            Some(number) => Id::new(number).map(Some).ok_or_else(|| wrong(field, INTEGER)),
        }
    }

    pub(crate) fn id(&mut self, field: &str) -> Result<Id, FieldError> {
        self.optional_id(field)?.ok_or_else(|| missing(field, INTEGER))
    }

    pub(crate) fn optional_str(&mut self, field: &str) -> Result<Option<&'a str>, FieldError> {
        if !self.present() {
            return Ok(None);
        }
        let length = decode::read_str_len(&mut self.rest).map_err(|_| wrong(field, "a string (MessagePack str)"))?;
        let text = self.take(length).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.map(Some).ok_or_else(|| wrong(field, "a string in valid UTF-8"))
    }

    pub(crate) fn str(&mut self, field: &str) -> Result<&'a str, FieldError> {
        self.optional_str(field)?.ok_or_else(|| missing(field, "a string"))
    }

    /// A text that publishers choose, and by which a stream knows a publication again.
    pub(crate) fn optional_message_id(&mut self) -> Result<Option<&'a str>, FieldError> {
        self.optional_str_where("message_id", "a string of 1 to 128 bytes", |text| {
            (1..=MAX_MESSAGE_ID_BYTES).contains(&text.len())
        })
    }

    pub(crate) fn optional_stream(&mut self) -> Result<Option<&'a str>, FieldError> {
        self.optional_str_where("stream", STREAM, |name| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (1..=MAX_STREAM_BYTES).contains(&name.len()) && name.bytes().all(allowed)
        })
    }

    pub(crate) fn stream(&mut self) -> Result<&'a str, FieldError> {
        self.optional_stream()?.ok_or_else(|| missing("stream", STREAM))
    }

    pub(crate) fn optional_epoch(&mut self) -> Result<Option<&'a str>, FieldError> {
        self.optional_str_where("epoch", EPOCH, |text| {
            (1..=MAX_EPOCH_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        })
    }

    pub(crate) fn epoch(&mut self) -> Result<&'a str, FieldError> {
        self.optional_epoch()?.ok_or_else(|| missing("epoch", EPOCH))
    }

    fn optional_str_where(
        &mut self,
        field: &str,
        allowed: &str,
        is_allowed: impl FnOnce(&str) -> bool,
    ) -> Result<Option<&'a str>, FieldError> {
        match self.optional_str(field)? {
            Some(text) if !is_allowed(text) => Err(wrong(field, allowed)),
            text => Ok(text),
        }
    }

    /// The bytes, empty where the field is missing. They are not copied.
    pub(crate) fn bin(&mut self, field: &str) -> Result<&'a [u8], FieldError> {
        if !self.present() {
            return Ok(&[]);
        }
        let length = decode::read_bin_len(&mut self.rest).map_err(|_| wrong(field, "bytes (MessagePack bin)"))?;
        self.take(length).ok_or_else(|| wrong(field, "bytes"))
    }

    /// The map, empty where the field is missing. It is checked, not copied.
    pub(crate) fn headers(&mut self) -> Result<Headers<'a>, FieldError> {
        if !self.present() {
            return Ok(Headers::EMPTY);
        }
        let length = crate::scan::value_len(self.rest).map_err(|_| wrong("headers", "a map"))?;
        let map = self.rest.get(..length).unwrap_or_default();
        self.rest = self.rest.get(length..).unwrap_or_default();
        Headers::from_msgpack(map).map_err(|error| match error {
            HeadersError::NotAMap => wrong("headers", "a map"),
            other => FieldError::new(ErrorCode::BadRequest, format!("headers: {other}")),
        })
    }

    /// The fields of an array within the message.
    pub(crate) fn optional_array(&mut self, field: &str) -> Result<Option<Self>, FieldError> {
        if !self.present() {
            return Ok(None);
        }
        let length = crate::scan::value_len(self.rest).map_err(|_| wrong(field, "an array"))?;
        let array = self.rest.split_off(..length).and_then(Self::of_array);
        array.map(Some).ok_or_else(|| wrong(field, "an array"))
    }

    fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        self.rest.split_off(..usize::try_from(length).ok()?)
    }
}

fn wrong(field: &str, allowed: &str) -> FieldError {
    FieldError::new(ErrorCode::BadRequest, format!("the field `{field}` must be {allowed}"))
}

pub(crate) fn missing(field: &str, allowed: &str) -> FieldError {
    FieldError::new(ErrorCode::BadRequest, format!("the field `{field}` is missing; it must be {allowed}"))
}
