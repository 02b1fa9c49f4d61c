//! What the first bytes of each payload tell: when it was due, who published it, and which of their messages it is.
//!
//! | bytes | what, little endian |
//! |---|---|
//! | 0 to 7 | when it was due: nanoseconds of `CLOCK_MONOTONIC` |
//! | 8 and 9 | the publisher's number |
//! | 10 to 15 | the message's number, from 0, for each publisher and topic |
//!
//! A latency counts from when a message was due, not from when it was written: a broker that stalls would otherwise hold
//! the publisher back, and hide how long all that was due meanwhile had to wait (coordinated omission).

/// How many bytes a stamp has; no payload is shorter.
pub const STAMP_BYTES: usize = 16;

/// Numbers of messages stay below this.
const NUMBER_MASK: u64 = (1 << 48) - 1;

/// Which message a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When it was due: nanoseconds of `CLOCK_MONOTONIC`.
    pub due_ns: u64,
    /// Who published it.
    pub publisher: u16,
    /// From 0, for each publisher and topic; below 2^48.
    pub number: u64,
}

/// Writes over the first bytes of a payload. One that is too short for a stamp stays as it is.
pub fn write(payload: &mut [u8], stamp: Stamp) {
    let Some(bytes) = payload.first_chunk_mut::<STAMP_BYTES>() else { return };
    let place =
        u128::from(stamp.due_ns) | u128::from(stamp.publisher) << 64 | u128::from(stamp.number & NUMBER_MASK) << 80;
    *bytes = place.to_le_bytes();
}

/// Reads the stamp of a payload; none where it is too short for one.
pub fn read(payload: &[u8]) -> Option<Stamp> {
    let whole = u128::from_le_bytes(*payload.first_chunk::<STAMP_BYTES>()?);
    #[allow(clippy::cast_possible_truncation, reason = "each takes its own bits")]
    Some(Stamp { due_ns: whole as u64, publisher: (whole >> 64) as u16, number: (whole >> 80) as u64 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(due_ns: u64, publisher: u16, number in 0..=NUMBER_MASK, more in 0..64usize) {
            let stamp = Stamp { due_ns, publisher, number };
            let mut payload = vec![0xff; STAMP_BYTES + more];
            write(&mut payload, stamp);
            prop_assert_eq!(read(&payload), Some(stamp));
            prop_assert_eq!(&payload[..8], &due_ns.to_le_bytes()[..]);
            prop_assert_eq!(&payload[8..10], &publisher.to_le_bytes()[..]);
            prop_assert_eq!(&payload[10..16], &number.to_le_bytes()[..6]);
        }
    }

    #[test]
    fn short_payload_has_no_stamp() {
        let mut payload = [7; STAMP_BYTES - 1];
        write(&mut payload, Stamp { due_ns: 0, publisher: 0, number: 0 });
        assert_eq!((payload, read(&payload)), ([7; STAMP_BYTES - 1], None));
    }
}
