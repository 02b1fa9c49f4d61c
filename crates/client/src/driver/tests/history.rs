//! History: pages, and what is asked for when there are more.

use carillon_wire::{
    BrokerMessage, ErrorCode, GapReason, Id,
    broker_message::{Gap, GapRange, Page},
};

use super::{peer::*, *};
use crate::{
    error::HistoryError,
    history::{History, HistoryItem},
    start::Start,
};

fn page(id: u64, epoch: &'static str, count: u64, sequence: u64, is_end: bool) -> Page<'static> {
    Page { id: Id::new(id).unwrap(), stream: STREAM, epoch, count, sequence, is_end, as_of: None, gaps: 0 }
}

/// Hears a request for a page that starts there. Gives its id.
async fn hear_history(peer: &mut Peer<DuplexStream>, expected: &str) -> u64 {
    match peer.hear().await {
        Said::History { id, start, .. } if start == expected => id,
        other => panic!("expected history from {expected}, not {other:?}"),
    }
}

/// The items until the end, in few words.
async fn read_all(mut history: History) -> Result<Vec<String>, HistoryError> {
    let mut items = Vec::new();
    while let Some(item) = history.next().await? {
        items.push(match item {
            HistoryItem::Message(message) => message.position().unwrap().to_string(),
            HistoryItem::Gap(gap) => gap.range.map(|range| format!("lost {}-{}", range.first, range.last)).unwrap(),
            HistoryItem::EpochChanged { epoch, .. } => format!("epoch {epoch}"),
        });
    }
    Ok(items)
}

/// The items of last values in two pages: one that ends at 12, as of 30, and what the broker says to the request for the
/// next one.
async fn read_last_values(second: impl FnOnce(u64) -> Vec<BrokerMessage<'static>>) -> Vec<String> {
    let (_broker, mut peer, client) = connected().await;
    let history = client.history("a.*", Start::LastByTopic).unwrap();
    let (items, ()) = tokio::join!(read_all(history), async {
        let id = hear_history(&mut peer, "last values").await;
        let first = Page { as_of: Some(30), ..page(id, "e1", 1, 12, false) };
        peer.say(&[BrokerMessage::Page(first), kept("a.b", b"", 12)]).await;
        let id = hear_history(&mut peer, "last values e1 30 12").await;
        peer.say(&second(id)).await;
    });
    items.unwrap()
}

fn lost(id: u64, first: u64, last: u64) -> BrokerMessage<'static> {
    let range = Some(GapRange { first, last, stream: STREAM });
    let (reason, count) = (GapReason::Damage, last - first + 1);
    BrokerMessage::Gap(Gap { subscription: Id::new(id).unwrap(), reason, count, range })
}

#[tokio::test(start_paused = true)]
async fn pages_follow_each_other_and_gaps_and_epochs_are_items() {
    let (_broker, mut peer, client) = connected().await;
    let history = client.history("a.*", Start::Newest(9)).unwrap().max_messages(2).through(40);
    let (items, ()) = tokio::join!(read_all(history), async {
        let Said::History { id, pattern, start, max_messages, through } = peer.hear().await else { panic!() };
        assert_eq!((pattern.as_str(), start.as_str(), max_messages, through), ("a.*", "newest 9", Some(2), Some(40)));
        let page_1 = BrokerMessage::Page(Page { gaps: 2, ..page(id, "e1", 2, 14, false) });
        peer.say(&[page_1, kept("a.b", b"", 7), lost(id, 8, 9), kept("a.b", b"", 12)]).await;
        // It is over with its last gap, however it is cut.
        peer.say(&[lost(id, 13, 14)]).await;
        let id = hear_history(&mut peer, "behind e1:14").await;
        peer.say(&[BrokerMessage::Page(page(id, "e2", 1, 3, true))]).await;
        peer.say(&[kept("a.b", b"", 3)]).await;
    });
    assert_eq!(items.unwrap(), ["e1:7", "lost 8-9", "e1:12", "lost 13-14", "epoch e2", "e2:3"]);
}

#[tokio::test(start_paused = true)]
async fn last_values_go_on_as_of_the_same_sequence() {
    let second = |id| vec![BrokerMessage::Page(Page { as_of: Some(30), ..page(id, "e1", 0, 30, true) })];
    assert_eq!(read_last_values(second).await, ["e1:12"]);
}

#[tokio::test(start_paused = true)]
async fn last_values_that_begin_anew_are_told_before_they_come() {
    // The stream ends before 30 now.
    let page = |id| Page { as_of: Some(20), ..page(id, "e1", 1, 20, true) };
    let second = |id| vec![BrokerMessage::Page(page(id)), kept("a.b", b"", 12)];
    assert_eq!(read_last_values(second).await, ["e1:12", "epoch e1", "e1:12"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_a_lost_connection_cut_is_asked_for_again() {
    let (mut broker, mut peer, client) = connected().await;
    let history = client.history("a.*", Start::Beginning).unwrap();
    let (items, ()) = tokio::join!(read_all(history), async {
        let id = hear_history(&mut peer, "beginning").await;
        peer.say(&[BrokerMessage::Page(page(id, "e1", 2, 2, true)), kept("a.b", b"", 1)]).await;
        drop(peer);
        let mut peer = broker.welcome().await;
        let id = hear_history(&mut peer, "beginning").await;
        peer.say(&[BrokerMessage::Page(page(id, "e1", 2, 2, true)), kept("a.b", b"", 1), kept("a.b", b"", 2)]).await;
    });
    assert_eq!(items.unwrap(), ["e1:1", "e1:2"]);
}

#[tokio::test(start_paused = true)]
async fn refusals_and_pages_beyond_the_bound_are_errors() {
    let settings = Settings { receive_queue_bytes: 2000, ..settings() };
    let (_broker, mut peer, client) = connected_with(settings).await;
    let history = client.history("a.*", Start::Newest(1)).unwrap();
    let (items, ()) = tokio::join!(read_all(history), async {
        let id = hear_history(&mut peer, "newest 1").await;
        peer.say(&[refuse(Some(id), ErrorCode::NoStream)]).await;
    });
    assert!(matches!(items, Err(HistoryError::Refused(refusal)) if refusal.code == ErrorCode::NoStream));
    let history = client.history("a.*", Start::Beginning).unwrap();
    let (items, ()) = tokio::join!(read_all(history), async {
        let id = hear_history(&mut peer, "beginning").await;
        let payload = [0; 1000];
        peer.say(&[BrokerMessage::Page(page(id, "e1", 3, 3, true))]).await;
        for sequence in 1..=3 {
            peer.say(&[kept("a.b", &payload, sequence)]).await;
        }
    });
    assert!(matches!(items, Err(HistoryError::PageTooLarge { max_bytes: 2000 })));
    assert!(matches!(client.history("a..b", Start::Now), Err(HistoryError::InvalidPattern { .. })));
}
