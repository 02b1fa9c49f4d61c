//! Where a subscription starts, as it is written on the command line.

use carillon_client::Start;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const ALLOWED: &str =
    "a start is `now`, `last`, `beginning`, a time with its zone as in 2030-01-31T12:00:00Z, or EPOCH:SEQUENCE";

/// Reads a start.
pub(super) fn start(text: &str) -> Result<Start, String> {
    match text {
        "now" => return Ok(Start::Now),
        "last" => return Ok(Start::LastByTopic),
        "beginning" => return Ok(Start::Beginning),
        _ => {}
    }
    // Before positions: a time ends like one when its zone is written in numbers.
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Start::Since(time.into()));
    }
    // A time without its zone would be a position in an epoch that there never was.
    if looks_like_a_date(text) {
        return Err(ALLOWED.to_owned());
    }
    text.parse().map(Start::Behind).map_err(|_| ALLOWED.to_owned())
}

fn looks_like_a_date(text: &str) -> bool {
    let (year, rest) = text.split_at_checked(4).unwrap_or_default();
    !year.is_empty() && year.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with('-')
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn starts_are_words_times_and_positions() {
        let since = |seconds| Ok(Start::Since(UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(start("now"), Ok(Start::Now));
        assert_eq!(start("last"), Ok(Start::LastByTopic));
        assert_eq!(start("beginning"), Ok(Start::Beginning));
        assert_eq!(start("2023-11-14T22:13:20Z"), since(1_700_000_000));
        assert_eq!(start("2023-11-14T23:13:20+01:00"), since(1_700_000_000));
        assert_eq!(start("4f2a:17"), Ok(Start::Behind("4f2a:17".parse().unwrap())));
        for text in ["", "end", "17", "2023-11-14T22:13", "2023-11-14T22:13:20", "4f2a:", "4f2a:x"] {
            assert!(start(text).is_err(), "{text}");
        }
    }
}
