//! The bounded queue in front of a committer.
//!
//! What is bounded is bytes: who finds no room waits. Requests of the operator take no room.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Submissions, admin::AdminRequest};

/// Something for a committer.
pub(super) enum Item {
    Submissions(Queued),
    Admin(AdminRequest),
    /// Nothing follows.
    Stop,
}

/// Publications in the queue; they give their room back when this is dropped.
pub(super) struct Queued {
    pub(super) submissions: Submissions,
    pub(super) room: OwnedSemaphorePermit,
}

/// The sending end.
#[derive(Clone)]
pub(super) struct Inbox {
    room: Arc<Semaphore>,
    capacity: usize,
    queue: mpsc::Sender<Item>,
}

/// The receiving end, the committer's own.
pub(super) struct Outlet(mpsc::Receiver<Item>);

/// A queue that holds this many bytes.
pub(super) fn bounded(capacity_bytes: usize) -> (Inbox, Outlet) {
    let capacity = capacity_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    // Unbounded in itself: no publication enters it without room.
    let (sender, receiver) = mpsc::channel();
    (Inbox { room: Arc::new(Semaphore::new(capacity)), capacity, queue: sender }, Outlet(receiver))
}

impl Inbox {
    /// Puts publications into the queue if there is room now.
    pub(super) fn try_submit(&self, submissions: Submissions) -> Result<(), Submissions> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.weight(&submissions)) {
            Ok(room) => {
                self.push(Item::Submissions(Queued { submissions, room }));
                Ok(())
            }
            Err(_) => Err(submissions),
        }
    }

    /// Waits for room, first come first served. Dropped before it is ready, it has submitted nothing.
    pub(super) async fn submit(self, submissions: Submissions) {
        // The semaphore is never closed.
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(self.weight(&submissions)).await {
            self.push(Item::Submissions(Queued { submissions, room }));
        }
    }

    /// Whether somebody is there to take it.
    pub(super) fn request(&self, request: AdminRequest) -> bool {
        self.queue.send(Item::Admin(request)).is_ok()
    }

    pub(super) fn stop(&self) {
        self.push(Item::Stop);
    }

    /// What is larger than the whole queue takes all of it.
    fn weight(&self, submissions: &Submissions) -> u32 {
        u32::try_from(submissions.size_bytes().min(self.capacity)).unwrap_or(u32::MAX)
    }

    fn push(&self, item: Item) {
        // Where nobody takes it any more, the broker has stopped, and with it whoever waits for an answer.
        let _ = self.queue.send(item);
    }
}

impl Outlet {
    /// The next one, if it is there within the time.
    pub(super) fn wait(&self, at_most: Duration) -> Option<Item> {
        match self.0.recv_timeout(at_most) {
            Ok(item) => Some(item),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Item::Stop),
        }
    }

    /// The next one, if it is there already.
    pub(super) fn take(&self) -> Option<Item> {
        match self.0.try_recv() {
            Ok(item) => Some(item),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Item::Stop),
        }
    }
}
