//! Until when: a moment as people write it.

use figment::value::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The key under which TOML's own dates come as a section.
const TOML_DATE: &str = "$__toml_private_datetime";

/// What is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a moment since 1970 with its time zone, as in \"2030-01-31T12:00:00Z\", or a number of unix seconds")]
pub(super) struct NotAMoment;

/// Reads RFC 3339, as text or as TOML's own date, or unix seconds.
pub(super) fn unix_seconds(value: &Value) -> Result<u64, NotAMoment> {
    match value {
        Value::String(_, text) => of_text(text),
        Value::Num(_, number) => {
            let number = number.to_i128().or_else(|| number.to_u128().and_then(|number| number.try_into().ok()));
            number.and_then(|number| number.try_into().ok()).ok_or(NotAMoment)
        }
        Value::Dict(_, date) => of_text(date.get(TOML_DATE).and_then(Value::as_str).ok_or(NotAMoment)?),
        _ => Err(NotAMoment),
    }
}

fn of_text(text: &str) -> Result<u64, NotAMoment> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotAMoment)?;
    moment.unix_timestamp().try_into().map_err(|_| NotAMoment)
}
