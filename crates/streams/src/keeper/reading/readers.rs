//! The reader threads, and the queue in front of them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use carillon_wire::PatternBuf;

use super::super::event::{Event, Shards};
use super::super::read::{Found, ReadFailed, ReadReply, ReadRequest, What};
use super::super::shared::Shared;
use super::Reading;

/// The threads that read. Clones are the same ones.
#[derive(Clone)]
pub(in super::super) struct Readers {
    reading: Arc<Reading>,
    queue: Arc<Queue>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// Requests that wait for a thread, in order. Unbounded: who asks bounds how many of theirs are under way.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<ReadRequest>,
    is_stopping: bool,
}

/// A request whose turn it is.
#[derive(Debug)]
enum Turn {
    Serve(ReadRequest),
    /// There is no time left for it.
    Refuse(ReadRequest),
}

impl Readers {
    /// Starts as many as the options say, at least one. They end with [`stop`](Self::stop).
    ///
    /// # Errors
    /// The operating system gives no thread; then none runs.
    pub(in super::super) fn start(shared: &Arc<Shared>, shards: &Arc<dyn Shards>) -> io::Result<Self> {
        let reading = Arc::new(Reading::new(Arc::clone(shared)));
        let readers = Self { reading, queue: Arc::default(), threads: Arc::default() };
        for number in 0..shared.options.reader_threads.max(1) {
            let (reading, queue, shards) =
                (Arc::clone(&readers.reading), Arc::clone(&readers.queue), Arc::clone(shards));
            let run = move || run(&reading, &queue, &*shards);
            match thread::Builder::new().name(format!("reader-{number}")).spawn(run) {
                Ok(thread) => lock(&readers.threads).push(thread),
                Err(error) => {
                    readers.stop();
                    return Err(error);
                }
            }
        }
        Ok(readers)
    }

    /// Has a request answered by [`Event::Read`]. Never blocks. After [`stop`](Self::stop) nobody answers.
    pub(in super::super) fn request(&self, request: ReadRequest) {
        let mut state = lock(&self.queue.state);
        if !state.is_stopping {
            state.waiting.push_back(request);
            drop(state);
            self.queue.changed.notify_one();
        }
    }

    /// Reads on the caller's thread; blocks on the disk.
    ///
    /// # Errors
    /// [`ReadFailed`].
    pub(in super::super) fn read_blocking(
        &self,
        stream: u32,
        pattern: &PatternBuf,
        what: &What,
    ) -> Result<Found, ReadFailed> {
        self.reading.find(stream, pattern, what, Instant::now())
    }

    /// Answers what waits with [`ReadFailed::Stopping`], and returns when all threads have ended: each reads to the end
    /// what it is at.
    pub(in super::super) fn stop(&self) {
        self.refuse();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // One that panicked has ended too.
            let _ = thread.join();
        }
    }

    /// From here on nothing more is read.
    pub(super) fn refuse(&self) {
        lock(&self.queue.state).is_stopping = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    /// Blocks until there is a request. `None`: no more will come.
    fn next(&self) -> Option<Turn> {
        let mut state = lock(&self.state);
        loop {
            if let Some(request) = state.waiting.pop_front() {
                if request.is_abandoned() {
                    continue;
                }
                return Some(if state.is_stopping { Turn::Refuse(request) } else { Turn::Serve(request) });
            }
            if state.is_stopping {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(reading: &Reading, queue: &Queue, shards: &dyn Shards) {
    while let Some(turn) = queue.next() {
        let (shard, reply) = match turn {
            Turn::Serve(request) => (request.shard, reading.serve(&request, Instant::now())),
            Turn::Refuse(request) => (request.shard, refusal(&request)),
        };
        shards.tell(shard, Event::Read(reply));
    }
}

fn refusal(request: &ReadRequest) -> ReadReply {
    ReadReply {
        ticket: request.ticket,
        request: request.request,
        stream: request.stream,
        found: Err(ReadFailed::Stopping),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
