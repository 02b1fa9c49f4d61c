//! Whether a quiet broker has what it promised.

use std::{collections::HashMap, io};

use carillon_wire::{PatternBuf, TopicBuf};
use rand::{Rng, rngs::StdRng};

use super::{
    clients::Room,
    history::{self, Found, From, Question},
    plan::{Keeps, STREAMS},
    queries,
    subscriber::Subscriptions,
    subscription::Subscription,
    trouble::broken,
};
use crate::connection::Connection;

/// Looks at everything: each stream, from its beginning where `is_whole`; then each of the subscribers, once it has caught
/// up.
pub(super) async fn everything(
    room: &Room,
    subscribers: &[Subscriptions],
    is_whole: bool,
    random: &mut StdRng,
) -> io::Result<()> {
    streams(room, is_whole, random).await?;
    room.set_checking(false);
    settled(room, subscribers).await?;
    for subscriber in subscribers {
        for subscription in subscriber.borrow_mut().iter_mut() {
            look_at_subscription(room, subscription)?;
        }
    }
    room.verdict()
}

/// Looks at each stream, and asks it this and that.
pub(super) async fn streams(room: &Room, is_whole: bool, random: &mut StdRng) -> io::Result<()> {
    let mut connection = room.connect().await?;
    for stream in 0..STREAMS.len() {
        let kept = look_at(room, &mut connection, stream, is_whole, random).await?;
        queries::ask(room, &mut connection, stream, &kept, random).await?;
    }
    Ok(())
}

/// Reads a stream, from its beginning or from somewhere before what is new, and compares.
async fn look_at(
    room: &Room,
    connection: &mut Connection,
    stream: usize,
    is_whole: bool,
    random: &mut StdRng,
) -> io::Result<Found> {
    let plan = &STREAMS[stream];
    let (epoch, end) = room.books(|books| (books.ledger(stream).epoch(), books.ledger(stream).end()));
    let from = match epoch {
        Some(epoch) if !is_whole => From::Behind(epoch, end.saturating_sub(random.random_range(0..5000))),
        _ => From::Beginning,
    };
    let question = Question { stream, pattern: plan.pattern(), from, through: None, page_messages: None };
    let found = history::read(room, connection, &question).await?;
    room.books(|books| {
        books.admit(stream, &found.epoch)?;
        let ledger = books.ledger(stream);
        if ledger.epoch().is_none_or(|epoch| *epoch != *found.epoch) {
            return Err(broken(format!("{} has the epoch {} again, in another run", plan.name, found.epoch)));
        }
        // What was acknowledged while it was read may be behind its end.
        if found.end < end {
            let (name, known, end) = (plan.name, end, found.end);
            let first = (end + 1..=known).find_map(|sequence| Some((sequence, ledger.at(sequence)?)));
            let how = first.map(|(sequence, number)| format!("{number} at {sequence}, {}", books.how_known(number)));
            return Err(broken(format!("{name} ends at {end}, and was known up to {known}: {how:?}")));
        }
        Ok(())
    })?;
    let begun = match &question.from {
        From::Behind(_, sequence) => *sequence,
        _ => 0,
    };
    room.books(|books| match plan.keeps {
        Keeps::NewestOfTopic(_) => newest_are_there(&found, begun, &books.replaced_before(stream), |sequence| {
            books.ledger(stream).at(sequence).map(|number| books.topic_number(number))
        }),
        _ => is_without_holes(&found, begun, books.ledger_mut(stream)),
    })
    .map_err(|what| broken(format!("{}: {what}", plan.name)))?;
    Ok(found)
}

/// What was read begins behind `begun`, or behind what retention has taken from the front, and goes to the end.
fn is_without_holes(found: &Found, begun: u64, ledger: &mut super::books::Ledger) -> Result<(), String> {
    // Retention may go on between two pages: then what it took stands between them.
    let (before, first) = match (found.messages.first(), found.gaps.as_slice()) {
        (Some((first, ..)), []) => (None, *first),
        (first, [(gap, last)]) => {
            (first.map(|(first, ..)| *first).filter(|first| first < gap).zip(Some(*gap)), last + 1)
        }
        (None, []) => (None, found.end + 1),
        (_, gaps) => return Err(format!("it is said to be lost: {gaps:?}")),
    };
    let expected = found.end + 1 - first;
    let whole = before.map_or(0..0, |(first, gap)| first..gap).chain(first..=found.end);
    if !found.messages.iter().map(|(sequence, ..)| *sequence).eq(whole) {
        let count = found.messages.len();
        return Err(format!("{count} messages were read from {first} to {}; there are holes", found.end));
    }
    if first == begun + 1 {
        return Ok(());
    }
    // Before what was read, retention was at work, which keeps so many.
    let Some(keeps) = ledger.newest else {
        return Err(format!("it begins at {first}, and {} was asked for", begun + 1));
    };
    if expected < keeps || first < ledger.first {
        return Err(format!("{expected} messages from {first} on are kept, where {keeps} should be"));
    }
    ledger.first = first;
    Ok(())
}

/// Of each topic, the newest that count are there; what was replaced may be gone.
fn newest_are_there(
    found: &Found,
    begun: u64,
    replaced_before: &HashMap<u16, u64>,
    topic_at: impl Fn(u64) -> Option<u16>,
) -> Result<(), String> {
    if !found.gaps.is_empty() {
        return Err(format!("it is said to be lost: {:?}", found.gaps));
    }
    let mut read = found.messages.iter().map(|(sequence, ..)| *sequence).peekable();
    for sequence in begun + 1..=found.end {
        if read.next_if_eq(&sequence).is_some() {
            continue;
        }
        // A message that nobody was told of is missing because others replaced it, which its topic would tell.
        if let Some(topic) = topic_at(sequence)
            && replaced_before.get(&topic).is_none_or(|before| sequence >= *before)
        {
            return Err(format!("{sequence} is missing, one of the newest of its topic"));
        }
    }
    read.next().map_or(Ok(()), |sequence| Err(format!("{sequence} is there, behind the end")))
}

/// Waits until each subscription has everything there is.
pub(super) async fn settled(room: &Room, subscribers: &[Subscriptions]) -> io::Result<()> {
    let late = || {
        let all = subscribers.iter().map(|subscriber| subscriber.borrow());
        let describe = |it: &Subscription| {
            let ledger = room.books(|books| (books.ledger(it.stream).epoch(), books.ledger(it.stream).end()));
            let is_there =
                it.at.as_ref().is_some_and(|(epoch, at)| Some(epoch) == ledger.0.as_ref() && *at >= ledger.1);
            (!is_there).then(|| format!("{} is at {:?}, and the stream at {ledger:?}", it.pattern.as_str(), it.at))
        };
        all.flat_map(|subscriber| subscriber.iter().filter_map(describe).collect::<Vec<_>>()).next()
    };
    room.wait_until(|| late().is_none(), || late().unwrap_or_default()).await
}

/// It got what there was for it since it was looked at, in order, and nothing else.
fn look_at_subscription(room: &Room, it: &mut Subscription) -> io::Result<()> {
    let Some((_, at)) = &it.at else { return Ok(()) };
    let mut got = it.got.iter().peekable();
    let checked = room.books(|books| {
        let replaced_before = books.replaced_before(it.stream);
        for sequence in it.checked + 1..=*at {
            let known = books.ledger(it.stream).at(sequence);
            let is_lost = it.gaps.iter().any(|(first, last)| (*first..=*last).contains(&sequence));
            let got = got.next_if(|(got, _)| *got == sequence).map(|(_, number)| *number);
            let is_replaced = known.is_some_and(|number| {
                replaced_before.get(&books.topic_number(number)).is_some_and(|before| sequence < *before)
            });
            let is_wanted = known.is_some_and(|number| matches(&it.pattern, &books.topic(number)));
            match (known, got) {
                (_, Some(_)) if is_lost => return Err(format!("{sequence} was delivered and said to be lost")),
                (Some(known), Some(got)) if known != got => {
                    return Err(format!("{sequence} was {got}, and is {known}"));
                }
                (_, None) if is_wanted && !is_lost && !is_replaced => {
                    let others = known.map(|known| books.others_of_topic(it.stream, known)).unwrap_or_default();
                    return Err(format!(
                        "{sequence}, publication {known:?}, never came; the last others of its topic are at {others:?}"
                    ));
                }
                _ => {}
            }
        }
        got.next().map_or(Ok(()), |(sequence, _)| Err(format!("{sequence} came and cannot have")))
    });
    checked
        .map_err(|what| broken(format!("a subscription to {} that has come to {at}: {what}", it.pattern.as_str())))?;
    it.checked = *at;
    it.got.clear();
    it.gaps.clear();
    Ok(())
}

/// Whether a pattern matches a topic.
pub(super) fn matches(pattern: &PatternBuf, topic: &str) -> bool {
    TopicBuf::new(topic).is_ok_and(|topic| pattern.as_pattern().matches(topic.as_topic()))
}
