//! The way from the keeper's threads to the shards.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use carillon_streams::keeper::{Event, Shards};

use crate::shard::queue::{Item, Sender};

/// The shards' queues, as the keeper's threads fill them. They may wait for room: a shard never waits for them.
pub(crate) struct Queues(Vec<Sender>);

impl Queues {
    pub(crate) fn new(senders: Vec<Sender>) -> Self {
        Self(senders)
    }
}

impl Shards for Queues {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn tell(&self, shard: usize, event: Event) {
        if let Some(sender) = self.0.get(shard) {
            wait_for(sender.send(Item::Stream(Box::new(event))));
        }
    }
}

/// Waits on a thread that has no runtime.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
