//! Writes messages. What is said often (publications and deliveries) is written field by field; what is said seldom
//! goes through serde, as tuples.

use rmp::encode;
use serde::Serialize;

/// Appends a tuple of integers, strings and options as one array.
pub(crate) fn control(out: &mut Vec<u8>, message: &impl Serialize) {
    let written = rmp_serde::encode::write(out, message);
    // Only a type without a MessagePack form, or a writer that fails, gives an error; neither is possible here.
    debug_assert!(written.is_ok(), "a control message is a tuple of plain values");
}

/// An array being written. Writing into a `Vec` cannot fail, so the results of `rmp` carry nothing.
pub(crate) struct Array<'v>(&'v mut Vec<u8>);

impl<'v> Array<'v> {
    pub(crate) fn start(out: &'v mut Vec<u8>, fields: u32) -> Self {
        let _ = encode::write_array_len(out, fields);
        Self(out)
    }

    pub(crate) fn int(&mut self, number: u64) -> &mut Self {
        let _ = encode::write_uint(self.0, number);
        self
    }

    pub(crate) fn optional_int(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.int(number),
            None => self.nil(),
        }
    }

    pub(crate) fn str(&mut self, text: &str) -> &mut Self {
        let _ = encode::write_str(self.0, text);
        self
    }

    pub(crate) fn optional_str(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.str(text),
            None => self.nil(),
        }
    }

    pub(crate) fn bin(&mut self, bytes: &[u8]) -> &mut Self {
        let _ = encode::write_bin(self.0, bytes);
        self
    }

    /// What is MessagePack already.
    pub(crate) fn raw(&mut self, msgpack: &[u8]) -> &mut Self {
        self.0.extend_from_slice(msgpack);
        self
    }

    fn nil(&mut self) -> &mut Self {
        let _ = encode::write_nil(self.0);
        self
    }
}
