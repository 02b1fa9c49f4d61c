//! The other ways to ask for history, compared with what the whole stream was found to be.

use std::{collections::HashMap, io};

use carillon_wire::PatternBuf;
use rand::{Rng, rngs::StdRng};

use super::{
    check::matches,
    clients::Room,
    history::{self, Found, From, Question},
    plan::{Keeps, REGIONS, STREAMS},
    trouble::broken,
};
use crate::connection::Connection;

/// Asks for a few things of a stream, of which `kept` is all, or the end.
pub(super) async fn ask(
    room: &Room,
    connection: &mut Connection,
    stream: usize,
    kept: &Found,
    random: &mut StdRng,
) -> io::Result<()> {
    // Compaction may take away what was read a moment ago.
    if matches!(STREAMS[stream].keeps, Keeps::NewestOfTopic(_)) || kept.messages.is_empty() {
        return Ok(());
    }
    for _ in 0..3 {
        let question = make(stream, kept, random);
        let found = history::read(room, connection, &question).await?;
        let is_newer = found.end > kept.end;
        if is_newer && matches!(question.from, From::Newest(_) | From::LastByTopic) {
            // What was published meanwhile stands in the place of what was known.
            continue;
        }
        let right = expected(room, &question, kept);
        let has_retention = room.books(|books| books.ledger(stream).has_retention());
        if let Err((found_one, right_one)) = agree(&found, &right, kept.end, has_retention) {
            let (count, right, gaps) = (found.messages.len(), right.len(), &found.gaps);
            return Err(broken(format!(
                "{question:?} found {count} messages and {gaps:?} lost, where {right} messages are right; the first other \
                 one is {found_one:?}, for {right_one:?}"
            )));
        }
    }
    Ok(())
}

/// What was found is what is right, but for what was published behind `known_end`, and what retention took since: of the
/// front, or between two pages. Else the first that differ.
fn agree(found: &Found, right: &[u64], known_end: u64, has_retention: bool) -> Result<(), (Option<u64>, Option<u64>)> {
    let first = found.messages.first().map_or(u64::MAX, |(first, ..)| *first);
    let is_taken = |sequence: u64| {
        has_retention
            && (sequence < first || found.gaps.iter().any(|(first, last)| (*first..=*last).contains(&sequence)))
    };
    let mut found_known =
        found.messages.iter().map(|(sequence, ..)| *sequence).filter(|at| *at <= known_end).peekable();
    for sequence in right {
        if found_known.next_if_eq(sequence).is_none() && !is_taken(*sequence) {
            return Err((found_known.next(), Some(*sequence)));
        }
    }
    found_known.next().map_or(Ok(()), |other| Err((Some(other), None)))
}

fn make(stream: usize, kept: &Found, random: &mut StdRng) -> Question {
    let plan = &STREAMS[stream];
    let topic = random.random_range(0..plan.topics);
    let pattern = match random.random_range(0..4) {
        0 => plan.pattern(),
        1 => format!("{}.r{}.*", plan.name, random.random_range(0..REGIONS)),
        _ => plan.topic(topic),
    };
    let (sequence, _, time_us) = kept.messages[random.random_range(0..kept.messages.len())];
    let first = kept.messages.first().map_or(1, |(first, ..)| *first);
    let is_all = first == 1;
    let from = match random.random_range(0..4) {
        0 if is_all => From::LastByTopic,
        1 if is_all => From::Newest(random.random_range(1..300)),
        // Others of the same time may be before what was read.
        2 if is_all || kept.messages.first().is_some_and(|(_, _, first_us)| *first_us < time_us) => From::Time(time_us),
        _ => From::Behind(kept.epoch.as_str().into(), sequence),
    };
    let through = match from {
        From::Behind(..) | From::Time(_) => Some(kept.end.saturating_sub(random.random_range(0..50)).max(sequence)),
        _ => None,
    };
    let page_messages = [None, Some(random.random_range(1..500))][random.random_range(0..2)];
    // Small pages of a long history would take their time.
    let page_messages = page_messages.map(|page: u64| page.max(kept.messages.len() as u64 / 50));
    Question { stream, pattern, from, through, page_messages }
}

fn expected(room: &Room, question: &Question, kept: &Found) -> Vec<u64> {
    let Ok(pattern) = PatternBuf::new(&question.pattern) else { return Vec::new() };
    let is_match = |number: u32| matches(&pattern, &room.books(|books| books.topic(number)));
    let through = question.through.unwrap_or(u64::MAX);
    let matching = kept.messages.iter().filter(|(sequence, number, _)| *sequence <= through && is_match(*number));
    match &question.from {
        From::Beginning => matching.map(|(sequence, ..)| *sequence).collect(),
        From::Behind(_, behind) => matching.map(|(sequence, ..)| *sequence).filter(|at| at > behind).collect(),
        From::Time(from_us) => {
            matching.filter(|(_, _, time_us)| time_us >= from_us).map(|(sequence, ..)| *sequence).collect()
        }
        From::Newest(n) => {
            let all: Vec<_> = matching.map(|(sequence, ..)| *sequence).collect();
            let skip = all.len().saturating_sub(usize::try_from(*n).unwrap_or(usize::MAX));
            all.into_iter().skip(skip).collect()
        }
        From::LastByTopic => {
            let topic = |number: u32| room.books(|books| books.topic_number(number));
            let last: HashMap<_, _> = matching.map(|(sequence, number, _)| (topic(*number), *sequence)).collect();
            let mut last: Vec<_> = last.into_values().collect();
            last.sort_unstable();
            last
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sequences: &[u64], gaps: &[(u64, u64)]) -> Found {
        let messages = sequences.iter().map(|sequence| (*sequence, 0, 0)).collect();
        Found { messages, gaps: gaps.to_vec(), ..Found::default() }
    }

    #[test]
    fn what_is_newer_and_what_retention_took_may_differ_and_nothing_else() {
        let right = [4, 5, 8, 9];
        let agree = |sequences: &[u64], gaps: &[(u64, u64)], keeps| agree(&found(sequences, gaps), &right, 9, keeps);
        assert!(agree(&[4, 5, 8, 9], &[], false).is_ok());
        assert!(agree(&[4, 5, 8, 9, 12], &[], false).is_ok());
        assert!(agree(&[8, 9], &[], true).is_ok());
        assert!(agree(&[4, 9], &[(5, 8)], true).is_ok());
        assert!(agree(&[], &[], true).is_ok());

        assert_eq!(agree(&[8, 9], &[], false), Err((Some(8), Some(4))));
        assert_eq!(agree(&[4, 8, 9], &[], true), Err((Some(8), Some(5))));
        assert_eq!(agree(&[4, 5, 8], &[], true), Err((None, Some(9))));
        assert_eq!(agree(&[4, 5, 7, 8, 9], &[], true), Err((Some(7), Some(8))));
        assert_eq!(agree(&[4, 5, 8, 9, 9], &[], true), Err((Some(9), None)));
    }
}
