//! What the broker says about streams: where a subscription is in one, what it lost, and pages of history.

use crate::{
    EpochReason, GapReason, Id, Resumed,
    broker_message::{EPOCH, GAP, MARKER, OK, PAGE},
    encode::{Array, field_count},
    fields::{CODE, FieldError, Fields, INTEGER},
};

/// A request was done, and where in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OkReply<'a> {
    /// The request's id.
    pub id: Id,
    /// The stream that a publication is in, or that a subscription with a start reads.
    pub stream: Option<&'a str>,
    /// The publication's; or the one behind which the subscription starts.
    pub sequence: Option<u64>,
    /// What the sequence means.
    pub epoch: Option<&'a str>,
    /// The stream had taken a publication with this message id before, and this is that one's sequence.
    pub is_duplicate: bool,
    /// Of a subscription that came back to a position; none for one that began anew.
    pub resumed: Option<Resumed>,
}

impl<'a> OkReply<'a> {
    /// The reply that tells nothing but that the request was done.
    pub const fn new(id: Id) -> Self {
        Self { id, stream: None, sequence: None, epoch: None, is_duplicate: false, resumed: None }
    }

    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            id: fields.id("id")?,
            stream: fields.optional_stream()?,
            sequence: fields.optional_int("sequence", INTEGER)?,
            epoch: fields.optional_epoch()?,
            is_duplicate: fields.flag("duplicate")?,
            resumed: fields.optional_int("resumed", CODE)?.filter(|number| *number != 0).map(Resumed::from_number),
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let given = [
            self.stream.is_some(),
            self.sequence.is_some(),
            self.epoch.is_some(),
            self.is_duplicate,
            self.resumed.is_some(),
        ];
        let mut array = Array::start(out, field_count(2, &given));
        array.int(OK).int(self.id.get()).optional_str(self.stream).optional_int(self.sequence);
        array.optional_str(self.epoch).flag(self.is_duplicate);
        array.optional_int(self.resumed.map(|resumed| resumed.number().into()));
    }
}

/// Messages of one subscription that are missing, at the place where they would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap<'a> {
    /// Whose; within a page of history, the id of the request.
    pub subscription: Id,
    /// Why.
    pub reason: GapReason,
    /// How many. Of a stream, all sequences of the range, whatever topics they had.
    pub count: u64,
    /// What of a stream; none for messages that no stream keeps.
    pub range: Option<GapRange<'a>>,
}

/// Sequences of a stream that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapRange<'a> {
    /// The first that is missing.
    pub first: u64,
    /// The last that is missing.
    pub last: u64,
    /// The stream's name.
    pub stream: &'a str,
}

impl<'a> Gap<'a> {
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            subscription: fields.id("subscription")?,
            reason: GapReason::from_number(fields.code("reason")?),
            count: fields.int_or_0("count")?,
            range: {
                let (first, last) = (fields.optional_int("first", INTEGER)?, fields.optional_int("last", INTEGER)?);
                match (first, last, fields.optional_stream()?) {
                    (Some(first), Some(last), Some(stream)) => Some(GapRange { first, last, stream }),
                    // A loss is one without its range too.
                    _ => None,
                }
            },
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut array = Array::start(out, if self.range.is_some() { 7 } else { 4 });
        array.int(GAP).int(self.subscription.get()).int(self.reason.number()).int(self.count);
        array.optional_int(self.range.map(|range| range.first)).optional_int(self.range.map(|range| range.last));
        array.optional_str(self.range.map(|range| range.stream));
    }
}

/// From here on a subscription reads a stream by itself, and the next deliveries are for it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker<'a> {
    /// Which.
    pub subscription: Id,
    /// The stream.
    pub stream: &'a str,
    /// How many of the next deliveries; 0: it has fallen behind, and nothing has been read yet.
    pub count: u64,
}

impl<'a> Marker<'a> {
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            subscription: fields.id("subscription")?,
            stream: fields.stream()?,
            count: fields.int_or_0("count")?,
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        Array::start(out, 4).int(MARKER).int(self.subscription.get()).str(self.stream).int(self.count);
    }
}

/// How far a subscription has all of a stream that it is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// Whose.
    pub subscription: Id,
    /// The stream.
    pub stream: &'a str,
    /// What the sequence means.
    pub epoch: &'a str,
    /// Complete up to here; 0: nothing is.
    pub sequence: u64,
}

impl<'a> Position<'a> {
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            subscription: fields.id("subscription")?,
            stream: fields.stream()?,
            epoch: fields.epoch()?,
            sequence: fields.int("sequence")?,
        })
    }

    pub(crate) fn encode(&self, op: u8, out: &mut Vec<u8>) {
        let mut array = Array::start(out, 5);
        array.int(op).int(self.subscription.get()).str(self.stream).str(self.epoch).int(self.sequence);
    }
}

/// From here on another epoch counts for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochChanged<'a> {
    /// Whose.
    pub subscription: Id,
    /// The stream.
    pub stream: &'a str,
    /// The one that counts.
    pub epoch: &'a str,
    /// Why.
    pub reason: EpochReason,
    /// Deliveries go on with this sequence.
    pub from: u64,
}

impl<'a> EpochChanged<'a> {
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            subscription: fields.id("subscription")?,
            stream: fields.stream()?,
            epoch: fields.epoch()?,
            reason: EpochReason::from_number(fields.code("reason")?),
            from: fields.int("from")?,
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut array = Array::start(out, 6);
        array.int(EPOCH).int(self.subscription.get()).str(self.stream).str(self.epoch);
        array.int(self.reason.number()).int(self.from);
    }
}

/// The reply to a request for history; its messages follow as deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<'a> {
    /// The request's id.
    pub id: Id,
    /// The stream.
    pub stream: &'a str,
    /// What the sequences mean.
    pub epoch: &'a str,
    /// How many of the next deliveries are the page's.
    pub count: u64,
    /// With the page, everything that was asked for is there up to here; the next page starts behind it.
    pub sequence: u64,
    /// Nothing more was asked for.
    pub is_end: bool,
    /// Of last values: they are those that were the last when the stream ended here.
    pub as_of: Option<u64>,
    /// How many GAPs are the page's, before, between or behind its deliveries: a page is over once all are there.
    pub gaps: u64,
}

impl<'a> Page<'a> {
    pub(crate) fn decode(fields: &mut Fields<'a>) -> Result<Self, FieldError> {
        Ok(Self {
            id: fields.id("id")?,
            stream: fields.stream()?,
            epoch: fields.epoch()?,
            count: fields.int_or_0("count")?,
            sequence: fields.int("sequence")?,
            is_end: fields.flag("is_end")?,
            as_of: fields.optional_int("as_of", INTEGER)?,
            gaps: fields.int_or_0("gaps")?,
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut array = Array::start(out, field_count(6, &[self.is_end, self.as_of.is_some(), self.gaps > 0]));
        array.int(PAGE).int(self.id.get()).str(self.stream).str(self.epoch).int(self.count).int(self.sequence);
        array.flag(self.is_end).optional_int(self.as_of).int(self.gaps);
    }
}
