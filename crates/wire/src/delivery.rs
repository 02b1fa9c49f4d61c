//! A message on its way to a reader, and what of it is known only when its stream has taken it.

use crate::{
    ErrorCode, Headers, Topic,
    broker_message::DELIVERY,
    encode::{Array, field_count},
    fields::{FieldError, Fields},
};

/// A message that matched at least one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Where it was published.
    pub topic: Topic<'a>,
    /// Opaque bytes.
    pub payload: &'a [u8],
    /// When the broker accepted it, in microseconds since 1970 began (UTC).
    pub time_us: u64,
    /// As published.
    pub headers: Headers<'a>,
    /// Its place in the stream that keeps it; none for a message that is not kept.
    pub in_stream: Option<InStream<'a>>,
}

/// Where a message is in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InStream<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// From 1, without holes, in the stream's epoch.
    pub sequence: u64,
}

/// How many bytes an integer has that may be written over.
const NUMBER_BYTES: usize = 8;
/// What stands before such an integer.
const NUMBER_MARKER: u8 = 0xcf;

impl<'a> Delivery<'a> {
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        let name = fields.str("topic")?;
        let topic = Topic::new(name)
            .map_err(|error| FieldError::new(ErrorCode::InvalidTopic, format!("the topic: {error}")))?;
        Ok(Self {
            topic,
            payload: fields.bin("payload")?,
            time_us: fields.int_or_0("time_us")?,
            headers: fields.headers()?,
            in_stream: match fields.optional_stream()? {
                Some(stream) => Some(InStream { stream, sequence: fields.int("sequence")? }),
                None => None,
            },
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if self.in_stream.is_some() {
            self.encode_in_stream(out);
            return;
        }
        let mut array = Array::start(out, field_count(4, &[!self.headers.is_empty()]));
        array.int(DELIVERY).str(self.topic.as_str()).bin(self.payload).int(self.time_us).headers(self.headers);
    }

    /// Appends the message in the form in which [`patch_delivery`] can write its time and its sequence: a publication is
    /// encoded where it arrives, but both are known only when its stream takes it.
    ///
    /// Returns the offset of the time's 8 bytes from where the message starts. The sequence is its last 8 bytes.
    pub fn encode_in_stream(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let mut array = Array::start(out, 7);
        array.int(DELIVERY).str(self.topic.as_str()).bin(self.payload).wide_int(self.time_us);
        let time_at = array.len() - start - NUMBER_BYTES;
        array.headers(self.headers);
        array.optional_str(self.in_stream.map(|place| place.stream));
        array.wide_int(self.in_stream.map_or(0, |place| place.sequence));
        time_at
    }
}

/// Writes time and sequence into a message that [`Delivery::encode_in_stream`] wrote: `bytes` is that message and nothing
/// else, `time_at` what it returned. Where there is no room for them at their places, nothing is written.
pub fn patch_delivery(bytes: &mut [u8], time_at: usize, time_us: u64, sequence: u64) -> Result<(), PatchError> {
    let (before, last) = bytes.split_last_chunk_mut::<NUMBER_BYTES>().ok_or(PatchError)?;
    let [before @ .., NUMBER_MARKER] = before else { return Err(PatchError) };
    let marker_at = time_at.checked_sub(1).ok_or(PatchError)?;
    let Some([NUMBER_MARKER, time @ ..]) = before.get_mut(marker_at..) else { return Err(PatchError) };
    *time.first_chunk_mut::<NUMBER_BYTES>().ok_or(PatchError)? = time_us.to_be_bytes();
    *last = sequence.to_be_bytes();
    Ok(())
}

/// Bytes that are not a delivery in the form whose time and sequence can be written, or another place of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no delivery with room for time and sequence at the places that were told")]
pub struct PatchError;
