//! A client that reads: it resumes whenever it was disconnected, and is disturbed on purpose.

use std::{cell::RefCell, io, rc::Rc, time::Duration};

use carillon_wire::{ClientMessage, Id, Overflow, PatternBuf, client_message::Subscribe};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use tokio::time::{sleep, timeout};

use super::{
    clients::{AFTER_FAILURE, Room},
    plan::{REGIONS, STREAMS},
    subscription::{Begin, Dispatch, Subscription},
    trouble::is_broken,
};
use crate::connection::Connection;

/// A subscriber with its subscriptions, which others look at.
pub(super) type Subscriptions = Rc<RefCell<Vec<Subscription>>>;

/// How a client disturbs itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// It reads nothing for up to so long.
    pub(super) stall: Duration,
    /// One of so many reads is followed by a stall; 0: none is.
    pub(super) stall_one_of: u32,
    /// It goes, without a word, after up to so long.
    pub(super) stay: Duration,
    /// And comes back after up to so long.
    pub(super) away: Duration,
}

impl Habits {
    /// For a look at the end.
    pub(super) const CALM: Self =
        Self { stall: Duration::ZERO, stall_one_of: 0, stay: Duration::from_hours(1), away: Duration::ZERO };
}

/// All of a stream, and up to two subscriptions more as nobody would think of them.
pub(super) fn subscriptions(stream: usize, random: &mut StdRng, now_us: u64) -> Vec<Subscription> {
    let all = PatternBuf::new(&STREAMS[stream].pattern()).ok();
    let all = all.map(|pattern| Subscription::new(stream, pattern, Begin::Beginning));
    let more = (0..random.random_range(0..=2)).filter_map(|_| some_subscription(random, now_us));
    all.into_iter().chain(more).collect()
}

fn some_subscription(random: &mut StdRng, now_us: u64) -> Option<Subscription> {
    let stream = random.random_range(0..STREAMS.len());
    let plan = &STREAMS[stream];
    let region = random.random_range(0..REGIONS);
    let topic = random.random_range(1..plan.topics);
    let pattern = match random.random_range(0..5) {
        0 | 1 => plan.pattern(),
        2 => format!("{}.r{region}.*", plan.name),
        3 => format!("{}.*.t{topic}", plan.name),
        _ => plan.topic(topic),
    };
    let newest = random.random_range(1..2000);
    let begins = [Begin::Beginning, Begin::Now, Begin::Newest(newest), Begin::Since(now_us)];
    let begin = *begins.choose(random)?;
    Some(Subscription::new(stream, PatternBuf::new(&pattern).ok()?, begin))
}

/// Reads until the room is closed, coming back whenever the connection ends.
pub(super) async fn read_on(room: Room, subscriptions: Subscriptions, habits: Rc<RefCell<Habits>>, mut random: StdRng) {
    while !room.is_over() {
        if room.is_checking() {
            sleep(AFTER_FAILURE).await;
            continue;
        }
        match converse(&room, &subscriptions, &habits, &mut random).await {
            Err(error) if is_broken(&error) => return room.report(&error),
            // It went by itself.
            Ok(()) => {
                let away = habits.borrow().away.mul_f64(random.random());
                sleep(away).await;
            }
            Err(_) => sleep(AFTER_FAILURE).await,
        }
    }
}

async fn converse(
    room: &Room,
    subscriptions: &Subscriptions,
    habits: &RefCell<Habits>,
    random: &mut StdRng,
) -> io::Result<()> {
    let mut connection = room.connect().await?;
    let mut requests = Vec::new();
    for (index, subscription) in subscriptions.borrow_mut().iter_mut().enumerate() {
        subscription.reconnected();
        let (pattern, start) = (subscription.pattern.as_pattern(), Some(subscription.start()));
        let id = Id::from(u32::try_from(index).unwrap_or(u32::MAX));
        ClientMessage::Subscribe(Subscribe { id, pattern, overflow: Overflow::DropOldest, start })
            .encode(&mut requests);
    }
    connection.send_encoded(&requests).await?;
    let mut dispatch = Dispatch::default();
    let begun = tokio::time::Instant::now();
    let stay = habits.borrow().stay.mul_f64(random.random());
    while !room.is_over() && begun.elapsed() < stay.max(Duration::from_millis(1)) {
        read(room, &mut connection, &mut dispatch, subscriptions).await?;
        let now = *habits.borrow();
        if now.stall_one_of > 0 && random.random_range(0..now.stall_one_of) == 0 {
            sleep(now.stall.mul_f64(random.random())).await;
        }
    }
    Ok(())
}

async fn read(
    room: &Room,
    connection: &mut Connection,
    dispatch: &mut Dispatch,
    subscriptions: &Subscriptions,
) -> io::Result<()> {
    let read = connection.read(|message| {
        let subscriptions = &mut *subscriptions.borrow_mut();
        dispatch.on_message(room, subscriptions, &message)
    });
    // So that it looks whether to go, even where nothing comes.
    if let Ok(read) = timeout(Duration::from_millis(200), read).await {
        read?;
    }
    for number in std::mem::take(&mut dispatch.heartbeats) {
        connection.answer(number).await?;
    }
    Ok(())
}
