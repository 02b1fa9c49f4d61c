//! Finding out a segment's salt from its records, where both copies of its header are damaged.
//!
//! A checksum can be run backwards, so each record tells with which salt it was made. Bytes that are none tell any; what
//! is believed is what several records in a row say. Payloads may contain whole chains of forged records, but those
//! neither begin where the first record does nor end where the file ends.

use super::{header, record};

/// How many bytes are put through checksums at most.
const SEARCH_BYTES: usize = 64 << 20;
/// The polynomial of CRC-32C, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The salt of a segment, from all its bytes.
pub(super) fn recover(bytes: &[u8]) -> Option<u32> {
    let mut budget = SEARCH_BYTES;
    (header::BYTES..bytes.len()).find_map(|offset| {
        let salt = salt_at(bytes.get(offset..)?, &mut budget)?;
        let (records, end) = follow(bytes, offset, salt, &mut budget);
        (records > 1 && (offset == header::BYTES || end == bytes.len())).then_some(salt)
    })
}

/// How many sound records follow one another from an offset on, and where the last one ends.
fn follow(bytes: &[u8], mut offset: usize, salt: u32, budget: &mut usize) -> (u64, usize) {
    let mut records = 0;
    while let Some(Ok(read)) = bytes.get(offset..).map(|rest| record::read(rest, salt))
        && let Some(left) = budget.checked_sub(read.len)
    {
        (*budget, offset, records) = (left, offset + read.len, records + 1);
    }
    (records, offset)
}

/// The salt with which the record at the front of `bytes` was made, if it is one.
fn salt_at(bytes: &[u8], budget: &mut usize) -> Option<u32> {
    let record = bytes.get(..record::claimed_len(bytes)?).filter(|record| record::may_be_one(record))?;
    *budget = budget.checked_sub(record.len())?;
    let (checksum, covered) = record.split_first_chunk::<4>()?;
    let mut state = !u32::from_le_bytes(*checksum);
    for byte in covered.iter().rev() {
        for _ in 0..8 {
            let was_odd = state >> 31 == 1;
            state = if was_odd { ((state ^ POLYNOMIAL) << 1) | 1 } else { state << 1 };
        }
        state ^= u32::from(*byte);
    }
    Some(!state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Kind, Record, put};

    #[test]
    fn a_record_tells_its_salt() {
        let record =
            Record { stream: 7, sequence: 9, time_us: 1, topic: "a.b", message_id: b"id", delivery: b"payload" };
        for salt in [0, 1, 0xdead_beef, u32::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, salt, Kind::Message, true, &record);
            assert_eq!(salt_at(&bytes, &mut SEARCH_BYTES.clone()), Some(salt));
        }
    }
}
