//! Finds where a MessagePack value ends, and whether it is well formed, without building anything from it.

use crate::{MAX_DEPTH, decode::Malformed};

/// Length in bytes of the value at the start of `bytes`.
///
/// Work is bounded by the bytes that are there: a declared length is only ever compared with what is left, and the
/// values of nested containers are counted on a stack of [`MAX_DEPTH`] entries.
pub(crate) fn value_len(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut rest = bytes;
    // How many values each open container still lacks; the first is the value itself.
    let mut lacking = [0u64; MAX_DEPTH + 1];
    let mut depth = 0;
    if let Some(first) = lacking.first_mut() {
        *first = 1;
    }
    loop {
        let Some(open) = lacking.get_mut(depth) else {
            return Err(Malformed::TooDeep);
        };
        if *open == 0 {
            match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return Ok(bytes.len() - rest.len()),
            }
            continue;
        }
        *open -= 1;
        let inner = match skip_head(&mut rest)? {
            Head::Scalar => continue,
            Head::Bytes(length) => {
                let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
                rest = rest.get(length..).ok_or(Malformed::Truncated)?;
                continue;
            }
            Head::Values(count) => count,
        };
        // Each value takes a byte at least, so a count beyond the rest can be refused before it is walked.
        if inner > rest.len() as u64 {
            return Err(Malformed::Truncated);
        }
        depth += 1;
        match lacking.get_mut(depth) {
            Some(slot) => *slot = inner,
            None => return Err(Malformed::TooDeep),
        }
    }
}

/// What follows the head of a value.
enum Head {
    /// Nothing.
    Scalar,
    /// So many bytes.
    Bytes(u64),
    /// So many values.
    Values(u64),
}

fn skip_head(rest: &mut &[u8]) -> Result<Head, Malformed> {
    let marker = *rest.split_off_first().ok_or(Malformed::Truncated)?;
    let mut number = |width: usize| -> Result<u64, Malformed> {
        let digits = rest.split_off(..width).ok_or(Malformed::Truncated)?;
        Ok(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
    };
    Ok(match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Head::Scalar,
        0x80..=0x8f => Head::Values(u64::from(marker & 0x0f) * 2),
        0x90..=0x9f => Head::Values(u64::from(marker & 0x0f)),
        0xa0..=0xbf => Head::Bytes(u64::from(marker & 0x1f)),
        0xc1 => return Err(Malformed::ReservedByte),
        0xc4 | 0xd9 => Head::Bytes(number(1)?),
        0xc5 | 0xda => Head::Bytes(number(2)?),
        0xc6 | 0xdb => Head::Bytes(number(4)?),
        // Extension types carry one byte of type before their data.
        0xc7 => Head::Bytes(number(1)? + 1),
        0xc8 => Head::Bytes(number(2)? + 1),
        0xc9 => Head::Bytes(number(4)? + 1),
        0xcc | 0xd0 => Head::Bytes(1),
        0xcd | 0xd1 => Head::Bytes(2),
        0xca | 0xce | 0xd2 => Head::Bytes(4),
        0xcb | 0xcf | 0xd3 => Head::Bytes(8),
        0xd4..=0xd8 => Head::Bytes(1 + (1 << (marker - 0xd4))),
        0xdc => Head::Values(number(2)?),
        0xdd => Head::Values(number(4)?),
        0xde => Head::Values(number(2)? * 2),
        0xdf => Head::Values(number(4)? * 2),
    })
}
