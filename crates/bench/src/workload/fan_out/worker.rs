//! What one thread of the load does: its subscribers and its publishers.

use std::{cell::RefCell, io, rc::Rc, sync::Arc};

use tokio::{sync::watch, task::spawn_local};

use super::{part::Part, publisher};
use crate::{
    Dialect, Heard, Role, RunError,
    check::{Checked, Checker},
    connection::{Connection, Opener},
    latency::Tally,
    workload::opening::open_many,
};

/// The subscribers and publishers of one thread.
pub(super) struct Worker<D> {
    thread: usize,
    pub(super) opener: Opener<D>,
    pub(super) topics: Arc<[String]>,
    seats: RefCell<Vec<Rc<Seat>>>,
    pub(super) tally: RefCell<Tally>,
    /// The part that publishers go through.
    part: watch::Sender<Option<Arc<Part>>>,
}

/// A subscriber's place.
struct Seat {
    number: usize,
    /// What it has got in the current part.
    now: RefCell<Option<(Arc<Part>, Checker)>>,
}

impl<D: Dialect> Worker<D> {
    pub(super) fn new(thread: usize, opener: Opener<D>, topics: Arc<[String]>) -> Self {
        Self {
            thread,
            opener,
            topics,
            seats: RefCell::default(),
            tally: RefCell::default(),
            part: watch::Sender::new(None),
        }
    }

    /// Opens this thread's share of the connections.
    pub(super) async fn open(self: Rc<Self>, subscribers: usize, publishers: usize) -> Result<(), RunError> {
        let threads = self.opener.load().threads;
        let worker = &self;
        let subscribed = |number: usize, connection| {
            let seat = Rc::new(Seat { number, now: RefCell::new(None) });
            worker.seats.borrow_mut().push(Rc::clone(&seat));
            spawn_local(subscribe(Rc::clone(worker), seat, connection));
        };
        let numbers = (self.thread..subscribers).step_by(threads);
        let open = async |opener: Opener<D>, topics: Arc<[String]>, number: usize| {
            let topic = topics.get(number % topics.len()).map_or("", String::as_str);
            opener.open_subscribed(number, topic).await
        };
        open_many(&self.opener, Arc::clone(&self.topics), numbers, open, subscribed).await?;

        let publishing = |number: usize, connection| {
            spawn_local(publish(Rc::clone(worker), number - subscribers, connection));
        };
        let numbers = (self.thread..publishers).step_by(threads).map(move |publisher| subscribers + publisher);
        let open = async move |opener: Opener<D>, topics: Arc<[String]>, number: usize| {
            let topic = topics.get((number - subscribers) % topics.len()).map_or("", String::as_str);
            opener.open(number, Role::Publisher { topic }).await
        };
        open_many(&self.opener, Arc::clone(&self.topics), numbers, open, publishing).await
    }

    /// Counts anew. Nothing of this part is published before every thread has done so.
    pub(super) fn prepare(&self, part: &Arc<Part>) {
        let publishers = u16::try_from(part.plan.publishers).unwrap_or(u16::MAX);
        for seat in self.seats.borrow().iter() {
            let checker = Checker::new(publishers, part.start_ns);
            *seat.now.borrow_mut() = Some((Arc::clone(part), checker));
        }
        *self.tally.borrow_mut() = Tally::default();
    }

    /// Has this thread's publishers begin.
    pub(super) fn begin(&self, part: Arc<Part>) {
        self.part.send_replace(Some(part));
    }

    /// What was measured in the part.
    pub(super) fn result(&self) -> (Checked, Tally) {
        let mut checked = Checked::default();
        for seat in self.seats.borrow().iter() {
            if let Some((_, checker)) = seat.now.borrow().as_ref() {
                checked.add(checker.checked());
            }
        }
        (checked, self.tally.take())
    }
}

async fn subscribe<D: Dialect>(worker: Rc<Worker<D>>, seat: Rc<Seat>, mut connection: Connection<D>) {
    let Err(error) = read(&worker, &seat, &mut connection).await;
    worker.opener.load().count_lost(&error);
}

/// Reads until the connection is lost.
async fn read<D: Dialect>(
    worker: &Worker<D>,
    seat: &Seat,
    connection: &mut Connection<D>,
) -> io::Result<std::convert::Infallible> {
    loop {
        connection.wait().await?;
        let mut now = seat.now.borrow_mut();
        let Some((part, checker)) = now.as_mut() else {
            connection.read(&mut |_, _| Ok(()))?;
            continue;
        };
        let latencies = &mut worker.tally.borrow_mut().latencies;
        let mut last_ns = None;
        connection.read(&mut |now_ns, heard| {
            match heard {
                Heard::Delivery(payload) => {
                    if let Some(due_ns) = checker.take(payload) {
                        latencies.record(now_ns.saturating_sub(due_ns));
                        last_ns = Some(now_ns);
                    }
                }
                Heard::Gap(messages) => checker.told_lost(messages),
                _ => {}
            }
            Ok(())
        })?;
        if let Some(last_ns) = last_ns {
            part.has_got(seat.number, checker.checked().delivered, last_ns);
        }
    }
}

async fn publish<D: Dialect>(worker: Rc<Worker<D>>, number: usize, mut connection: Connection<D>) {
    let parts = worker.part.subscribe();
    let Err(error) = publisher::publish(&worker, number, &mut connection, parts).await;
    worker.opener.load().count_lost(&error);
}
