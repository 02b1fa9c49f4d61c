//! Finds the messages of which there are millions, without looking at what does not matter.

const DELIVERY: u8 = 67;

/// The payload of a delivery in the form in which the broker writes it, without headers, and what is behind it. None where
/// it is something else, or not whole.
///
/// `[67, topic, payload, time]`, or `[67, topic, payload, time, nil, stream, sequence]`.
pub(super) fn delivery(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[head, DELIVERY], rest) = bytes.split_first_chunk()? else { return None };
    if !matches!(head, 0x94 | 0x97) {
        return None;
    }
    let rest = skip_scalar(rest)?;
    let (payload, rest) = match rest.split_first()? {
        (0xc4, rest) => split_counted::<1>(rest)?,
        (0xc5, rest) => split_counted::<2>(rest)?,
        (0xc6, rest) => split_counted::<4>(rest)?,
        _ => return None,
    };
    let rest = skip_scalar(rest)?;
    if head == 0x94 {
        return Some((payload, rest));
    }
    // Where there are headers they are a map, and then the specification's decoder takes it.
    Some((payload, skip_scalar(skip_scalar(skip_scalar(rest)?)?)?))
}

/// A short array without arrays or maps in it, and what is behind it. None where it is something else, or not whole.
pub(super) fn flat_array(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&head @ 0x90..=0x9f, mut rest) = bytes.split_first()? else { return None };
    for _ in 0..head & 0x0f {
        rest = skip_scalar(rest)?;
    }
    bytes.split_at_checked(bytes.len() - rest.len())
}

/// What is behind a value that is neither array nor map nor extension.
fn skip_scalar(bytes: &[u8]) -> Option<&[u8]> {
    let (&marker, rest) = bytes.split_first()?;
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(rest),
        0xa0..=0xbf => rest.get(usize::from(marker & 0x1f)..),
        0xcf | 0xcb | 0xd3 => rest.get(8..),
        0xcc | 0xd0 => rest.get(1..),
        0xcd | 0xd1 => rest.get(2..),
        0xce | 0xca | 0xd2 => rest.get(4..),
        0xc4 | 0xd9 => Some(split_counted::<1>(rest)?.1),
        0xc5 | 0xda => Some(split_counted::<2>(rest)?.1),
        0xc6 | 0xdb => Some(split_counted::<4>(rest)?.1),
        _ => None,
    }
}

/// So many bytes as a big-endian number of `N` bytes says, and what is behind them.
fn split_counted<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<N>()?;
    let count = count.iter().fold(0_usize, |count, digit| count << 8 | usize::from(*digit));
    rest.split_at_checked(count)
}
