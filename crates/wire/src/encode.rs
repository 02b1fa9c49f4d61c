//! Writes messages. What is said often, or has fields that can be left out at its end, is written field by field, as an
//! `Array`; what always has the same few fields goes through serde, as a tuple.

use rmp::encode;
use serde::Serialize;

use crate::Headers;

/// Appends a tuple of integers, strings and options as one array.
pub(crate) fn control(out: &mut Vec<u8>, message: &impl Serialize) {
    let written = rmp_serde::encode::write(out, message);
    // Only a type without a MessagePack form, or a writer that fails, gives an error; neither is possible here.
    debug_assert!(written.is_ok(), "a control message is a tuple of plain values");
}

/// How many fields an array has of which `always` are written, and of the optional ones behind them those up to the
/// last that is given.
pub(crate) fn field_count(always: u32, given: &[bool]) -> u32 {
    let optional = given.iter().rposition(|is_given| *is_given).map_or(0, |last| last + 1);
    always.saturating_add(u32::try_from(optional).unwrap_or(u32::MAX))
}

/// An array being written. Fields beyond its length are not: an encoder names all fields, and the length cuts the nils at
/// the end. Writing into a `Vec` cannot fail, so the results of `rmp` carry nothing.
pub(crate) struct Array<'v> {
    out: &'v mut Vec<u8>,
    left: u32,
}

impl<'v> Array<'v> {
    pub(crate) fn start(out: &'v mut Vec<u8>, fields: u32) -> Self {
        let _ = encode::write_array_len(out, fields);
        Self { out, left: fields }
    }

    fn field(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            write(self.out);
        }
        self
    }

    pub(crate) fn int(&mut self, number: impl Into<u64>) -> &mut Self {
        let number = number.into();
        self.field(|out| drop(encode::write_uint(out, number)))
    }

    /// In nine bytes whatever the number is, so that it can be written over.
    pub(crate) fn wide_int(&mut self, number: u64) -> &mut Self {
        self.field(|out| drop(encode::write_u64(out, number)))
    }

    pub(crate) fn optional_int(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.int(number),
            None => self.nil(),
        }
    }

    /// 1 for true, nil for false.
    pub(crate) fn flag(&mut self, is_set: bool) -> &mut Self {
        self.optional_int(is_set.then_some(1))
    }

    pub(crate) fn str(&mut self, text: &str) -> &mut Self {
        self.field(|out| drop(encode::write_str(out, text)))
    }

    pub(crate) fn optional_str(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.str(text),
            None => self.nil(),
        }
    }

    pub(crate) fn bin(&mut self, bytes: &[u8]) -> &mut Self {
        self.field(|out| drop(encode::write_bin(out, bytes)))
    }

    /// They are MessagePack already; nil where there are none.
    pub(crate) fn headers(&mut self, headers: Headers<'_>) -> &mut Self {
        if headers.is_empty() { self.nil() } else { self.field(|out| out.extend_from_slice(headers.as_msgpack())) }
    }

    /// A value that `write` writes; nil where there is none.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(T, &mut Vec<u8>)) -> &mut Self {
        match value {
            Some(value) => self.field(|out| write(value, out)),
            None => self.nil(),
        }
    }

    /// How many bytes there are, those before the array too.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    fn nil(&mut self) -> &mut Self {
        self.field(|out| drop(encode::write_nil(out)))
    }
}
