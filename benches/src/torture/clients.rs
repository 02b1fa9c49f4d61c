//! The room in which all clients of a run are: where the broker is, what is promised, and whether to go on.

use std::{
    cell::{Cell, RefCell},
    io,
    net::Ipv4Addr,
    rc::Rc,
    time::Duration,
};

use carillon_wire::{CloseCode, ErrorCode, broker_message::Closing};
use tokio::time::timeout;

use super::{books::Books, broker::PATIENCE, trouble::broken};
use crate::connection::{Connection, Target};

/// Between two attempts to reach a broker that is away.
pub(super) const AFTER_FAILURE: Duration = Duration::from_millis(15);

/// What the clients of a run share. They are all on one thread.
#[derive(Debug, Clone)]
pub(super) struct Room(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    target: RefCell<Option<Target>>,
    books: RefCell<Books>,
    /// The first promise that was broken.
    broken: RefCell<Option<String>>,
    is_over: Cell<bool>,
    /// Those who read are to wait, so that nobody but the check has been at the broker.
    is_checking: Cell<bool>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Rc::new(Shared {
            target: RefCell::new(None),
            books: RefCell::new(Books::new()),
            broken: RefCell::new(None),
            is_over: Cell::new(false),
            is_checking: Cell::new(false),
        }))
    }

    /// Where the broker is from now on.
    pub(super) fn set_target(&self, target: Option<Target>) {
        *self.0.target.borrow_mut() = target;
    }

    /// Works with the books. Nothing waits meanwhile.
    pub(super) fn books<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        work(&mut self.0.books.borrow_mut())
    }

    /// A new connection to the broker that is there now.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let target = self.0.target.borrow().clone();
        let target = target.ok_or_else(|| io::Error::other("there is no broker now"))?;
        match timeout(PATIENCE, target.connect_as(Ipv4Addr::LOCALHOST, None)).await {
            Ok(connection) => connection,
            Err(_) => Err(broken(format!("the broker at {} took no connection within {PATIENCE:?}", target.address))),
        }
    }

    /// Notes what was broken; the run ends with the first.
    pub(super) fn report(&self, error: &io::Error) {
        self.0.broken.borrow_mut().get_or_insert_with(|| error.to_string());
        self.end();
    }

    /// Whether all is well so far.
    pub(super) fn verdict(&self) -> io::Result<()> {
        self.0.broken.borrow().as_ref().map_or(Ok(()), |what| Err(broken(what)))
    }

    /// Tells the clients to go.
    pub(super) fn end(&self) {
        self.0.is_over.set(true);
    }

    /// Whether those who read are to wait.
    pub(super) fn set_checking(&self, is_checking: bool) {
        self.0.is_checking.set(is_checking);
    }

    pub(super) fn is_checking(&self) -> bool {
        self.0.is_checking.get()
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_over.get()
    }

    /// Waits until it is so, or a promise is broken: then, or when it takes too long, with what `missing` says.
    pub(super) async fn wait_until(
        &self,
        mut is_so: impl FnMut() -> bool,
        missing: impl FnOnce() -> String,
    ) -> io::Result<()> {
        let begun = tokio::time::Instant::now();
        while !is_so() {
            self.verdict()?;
            if begun.elapsed() > PATIENCE {
                return Err(broken(format!("after {PATIENCE:?}: {}", missing())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// What a broker that closes a connection may say. The rest is a defect of one of both.
pub(super) fn closing(closing: &Closing<'_>) -> io::Error {
    match closing.code {
        // A client that stalls, or a machine that does.
        CloseCode::Draining | CloseCode::HeartbeatTimeout | CloseCode::WriteTimeout | CloseCode::Overloaded => {
            io::Error::other(closing.reason.to_owned())
        }
        code => broken(format!("the broker closes a connection with {code}: {}", closing.reason)),
    }
}

/// Whether a refusal says that the same may be accepted later.
pub(super) fn may_try_again(code: ErrorCode) -> bool {
    (200..300).contains(&code.number())
}
