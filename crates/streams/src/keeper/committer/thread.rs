//! The thread around a committer: takes what waits, and between two groups does the rest.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::Committer;
use crate::keeper::Submissions;
use crate::keeper::admin::AdminRequest;
use crate::keeper::inbox::{Item, Outlet, Queued};

/// A group has at most about this much, so that nobody waits long for its first message.
const GROUP_BYTES: usize = 4 << 20;
const GROUP_MESSAGES: usize = 16_384;
/// Between two looks at retention.
const MAINTENANCE: Duration = Duration::from_secs(1);
/// Between two steps of compaction while publications keep coming: so it gets on, and costs them little.
const COMPACTION_UNDER_LOAD: Duration = Duration::from_millis(25);

/// Between the end of a compaction and the next look at whether there is something to compact.
const COMPACTION_PAUSE: Duration = Duration::from_secs(10);

/// Starts it. It ends at [`Item::Stop`], or when nobody is left who could send anything.
pub(in crate::keeper) fn spawn(committer: Committer, outlet: Outlet) -> io::Result<JoinHandle<()>> {
    let name = format!("committer-{}", committer.durability);
    thread::Builder::new().name(name).spawn(move || Work::new(committer, outlet).run())
}

struct Work {
    committer: Committer,
    outlet: Outlet,
    maintained: Instant,
    compacted: Instant,
    has_to_compact: bool,
}

/// What was taken from the inbox.
#[derive(Default)]
struct Taken {
    submissions: Vec<Submissions>,
    /// Room in the inbox, which is given back when the group is through.
    room: Vec<tokio::sync::OwnedSemaphorePermit>,
    bytes: usize,
    messages: usize,
    /// To be done behind the group.
    then: Option<Then>,
}

enum Then {
    Admin(AdminRequest),
    Stop,
}

impl Work {
    fn new(committer: Committer, outlet: Outlet) -> Self {
        let now = Instant::now();
        Self { committer, outlet, maintained: now, compacted: now, has_to_compact: true }
    }

    fn run(mut self) {
        loop {
            let Taken { submissions, room, then, .. } = self.take();
            let is_idle = submissions.is_empty() && then.is_none();
            if !submissions.is_empty() {
                self.committer.step(now_us(), submissions);
            }
            drop(room);
            match then {
                Some(Then::Admin(request)) => self.committer.administer(now_us(), request),
                Some(Then::Stop) => break,
                None => {}
            }
            self.do_the_rest(is_idle);
        }
        self.committer.close();
    }

    /// Waits for something, and takes all that waits behind it, up to the bounds of a group.
    fn take(&self) -> Taken {
        let mut taken = Taken::default();
        let at_most = if self.has_to_compact { Duration::ZERO } else { MAINTENANCE };
        let mut next = self.outlet.wait(at_most.saturating_sub(self.maintained.elapsed()));
        while let Some(item) = next {
            match item {
                Item::Submissions(queued) => taken.add(queued),
                Item::Admin(request) => taken.then = Some(Then::Admin(request)),
                Item::Stop => taken.then = Some(Then::Stop),
            }
            if taken.is_full() {
                break;
            }
            next = self.outlet.take();
        }
        taken
    }

    fn do_the_rest(&mut self, is_idle: bool) {
        if self.maintained.elapsed() >= MAINTENANCE {
            self.committer.maintain(now_us());
            self.maintained = Instant::now();
            self.has_to_compact |= self.compacted.elapsed() >= COMPACTION_PAUSE;
        }
        if self.has_to_compact && (is_idle || self.compacted.elapsed() >= COMPACTION_UNDER_LOAD) {
            self.has_to_compact = self.committer.compact(now_us());
            self.compacted = Instant::now();
        }
    }
}

impl Taken {
    fn add(&mut self, Queued { submissions, room }: Queued) {
        self.bytes += submissions.size_bytes();
        self.messages += submissions.len();
        self.submissions.push(submissions);
        self.room.push(room);
    }

    fn is_full(&self) -> bool {
        self.then.is_some() || self.bytes >= GROUP_BYTES || self.messages >= GROUP_MESSAGES
    }
}

/// Microseconds since 1970.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
