//! Reads the fields of one message in order. The bytes were scanned before, so every value is whole; a field that is
//! missing or nil takes its default, and fields that this version does not know are left alone.

use rmp::{Marker, decode};

use crate::{ErrorCode, Headers, Id, headers::HeadersError};

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

    pub(crate) fn optional_id(&mut self, field: &str) -> Result<Option<Id>, FieldError> {
        let allowed = "an integer from 0 to 2^53 - 1";
        match self.optional_int::<u64>(field, allowed)? {
            None => Ok(None),
            Some(number) => Id::new(number).map(Some).ok_or_else(|| wrong(field, allowed)),
        }
    }

    pub(crate) fn id(&mut self, field: &str) -> Result<Id, FieldError> {
        self.optional_id(field)?.ok_or_else(|| missing(field, "an integer from 0 to 2^53 - 1"))
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

    /// Whether the next field is there and not nil; its value is passed over whatever it is.
    pub(crate) fn is_given(&mut self) -> bool {
        if !self.present() {
            return false;
        }
        let length = crate::scan::value_len(self.rest).unwrap_or(self.rest.len());
        self.rest = self.rest.get(length..).unwrap_or_default();
        true
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
