//! Which messages of a stream are asked for.
//!
//! | name | value |
//! |---|---|
//! | `from` | the first sequence; without it, the oldest that is kept |
//! | `epoch` | what the sequence in `from` means; where it is over, a line tells, and it goes on where the same messages are |
//! | `last` | the newest so many that match, instead of `from` |
//! | `topic` | a pattern; without it, all topics |
//! | `through` | the last sequence; without it, the newest |
//! | `limit` | the most messages; a page may have fewer, and its last line says where it goes on |

use carillon_streams::{
    keeper::{HistoryStart, What},
    stream::{Epoch, Position, Start},
};
use carillon_wire::PatternBuf;

use crate::query::Query;

/// The names that are known.
pub(super) const KNOWN: &str = "from, epoch, last, topic, through, limit";
/// Every topic.
const ALL: &str = ">";

/// Which messages of a stream are asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    from: From,
    pub(super) topics: PatternBuf,
    through: Option<u64>,
    limit: Option<u32>,
}

#[derive(Debug)]
enum From {
    Beginning,
    Sequence { sequence: u64, epoch: Option<Epoch> },
    Newest(usize),
}

impl Wanted {
    /// Takes it out of a query.
    pub(super) fn take(query: &mut Query) -> Result<Self, String> {
        let epoch = query.take("epoch").map(|text| Epoch::new(&text).map_err(|error| error.to_string())).transpose()?;
        let from = match (query.take_number("from", 1)?, query.take_number("last", 1)?) {
            (Some(sequence), None) => From::Sequence { sequence, epoch },
            (None, Some(_) | None) if epoch.is_some() => {
                return Err("epoch tells what from means; give both".to_owned());
            }
            (None, Some(newest)) => From::Newest(usize::try_from(newest).unwrap_or(usize::MAX)),
            (None, None) => From::Beginning,
            (Some(_), Some(_)) => return Err("only one of from and last can be given".to_owned()),
        };
        let topics = query.take("topic").unwrap_or_else(|| ALL.to_owned());
        let limit = query.take_number("limit", 1)?.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
        Ok(Self {
            from,
            topics: PatternBuf::new(&topics).map_err(|error| format!("{topics:?} is no pattern of topics: {error}"))?,
            through: query.take_number("through", 0)?,
            limit,
        })
    }

    /// What to ask the keeper for, of a stream that has this epoch now.
    pub(super) fn what(&self, current: &Epoch) -> What {
        let start = match &self.from {
            From::Beginning => Start::Beginning,
            From::Newest(newest) => Start::Newest(*newest),
            From::Sequence { sequence, epoch } => Start::Behind(Position {
                epoch: epoch.as_ref().unwrap_or(current).clone(),
                sequence: sequence.saturating_sub(1),
            }),
        };
        What::History { start: HistoryStart::Start(start), through: self.through, max_messages: self.limit }
    }

    /// Whether an epoch was named, so that whoever asks wants to know when it is over.
    pub(super) fn names_epoch(&self) -> bool {
        matches!(self.from, From::Sequence { epoch: Some(_), .. })
    }
}
