//! The bound on what waits for a committer.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::inbox::{Item, bounded};
use super::*;

fn submissions(payload_bytes: usize) -> Submissions {
    let mut submissions = Submissions::new(0, 0);
    push(&mut submissions, head(0, "s.x"), &vec![0; payload_bytes]);
    submissions
}

#[test]
fn what_finds_no_room_waits_until_there_is_some() {
    let (inbox, outlet) = bounded(1_000);
    inbox.try_submit(submissions(600)).unwrap();
    let second = inbox.try_submit(submissions(600)).unwrap_err();
    let mut waits = pin!(inbox.clone().submit(second));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);

    let Some(Item::Submissions(first)) = outlet.take() else { panic!() };
    assert_eq!(waits.as_mut().poll(&mut context), Poll::Pending);
    assert!(outlet.take().is_none());
    drop(first);
    assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(()));
    assert!(matches!(outlet.take(), Some(Item::Submissions(_))));
}

#[test]
fn what_is_larger_than_the_queue_goes_alone() {
    let (inbox, outlet) = bounded(1_000);
    inbox.try_submit(submissions(100_000)).unwrap();
    assert!(inbox.try_submit(submissions(1)).is_err());
    drop(outlet.take());
    assert!(inbox.try_submit(submissions(1)).is_ok());
}

#[test]
fn an_operator_needs_no_room() {
    let (inbox, outlet) = bounded(1);
    inbox.try_submit(submissions(1)).unwrap();
    inbox.stop();
    assert!(matches!(outlet.take(), Some(Item::Submissions(_))));
    assert!(matches!(outlet.wait(Duration::ZERO), Some(Item::Stop)));
}
