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
        let expected = expected(room, &question, kept);
        let found: Vec<_> = found.messages.iter().map(|(sequence, ..)| *sequence).collect();
        // Retention may have taken some of the front meanwhile.
        let is_cut = room.books(|books| books.ledger(stream).newest.is_some());
        if found != expected && !(is_cut && expected.ends_with(&found)) {
            let differ = found.iter().zip(&expected).position(|(found, expected)| found != expected);
            let at = differ.unwrap_or(found.len().min(expected.len()));
            let (count, right) = (found.len(), expected.len());
            return Err(broken(format!(
                "{question:?} found {count} messages, where {right} are right; the first other one is {:?}, for {:?}",
                found.get(at),
                expected.get(at)
            )));
        }
    }
    Ok(())
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
