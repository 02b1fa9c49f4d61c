//! Writing the index of a full segment while the log goes on.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::segment::Segment;

/// An index of fewer messages is written at once: that takes about a millisecond.
const WORTH_A_THREAD: u64 = 4096;

/// At most one index is written at a time. Dropping this waits for it, so that nobody opens the store meanwhile.
#[derive(Debug, Default)]
pub(super) struct Saving {
    thread: Option<JoinHandle<()>>,
}

impl Saving {
    /// Saves the index of a segment that gets no more records. Until it is saved, the one in memory serves.
    pub(super) fn save(&mut self, segment: &Arc<Segment>, log_len: u64) {
        if messages(segment) < WORTH_A_THREAD {
            segment.save_index(log_len);
            return;
        }
        // Segments are seldom full so soon one after the other.
        self.wait();
        let of_thread = Arc::clone(segment);
        let run = move || of_thread.save_index(log_len);
        match thread::Builder::new().name("index-writer".to_owned()).spawn(run) {
            Ok(thread) => self.thread = Some(thread),
            Err(_) => segment.save_index(log_len),
        }
    }

    /// Waits until it is written.
    pub(super) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // If it panicked, the index stays in memory, and the next start makes the file.
            let _ = thread.join();
        }
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        self.wait();
    }
}

fn messages(segment: &Segment) -> u64 {
    segment.summaries().iter().map(|summary| summary.count).sum()
}

#[cfg(test)]
mod tests {
    use super::super::disk::Disk;
    use super::super::faulty::FaultyDisk;
    use super::super::{Log, Options, Record};
    use super::WORTH_A_THREAD;
    use crate::stream::PageLimits;

    const LOG: &str = ".log";
    const INDEX: &str = ".idx";
    const ALL: PageLimits = PageLimits { messages: usize::MAX, bytes: u64::MAX, looked_at: usize::MAX };

    #[test]
    fn large_indexes_are_written_beside_the_log_and_all_is_read_meanwhile() {
        let disk = FaultyDisk::new();
        let options = Options { segment_bytes: 60 * WORTH_A_THREAD, reserve_bytes: 0 };
        let open = || Log::open(std::sync::Arc::new(disk.clone()), options).unwrap();
        let (mut log, _) = open();
        let end = 6 * WORTH_A_THREAD;
        for sequence in 1..=end {
            let (time_us, topic) = (sequence, ["a", "b"][usize::from(sequence % 2 == 0)]);
            let record = Record { stream: 1, sequence, time_us, topic, message_id: b"", delivery: &[7; 30] };
            log.append(&record).unwrap();
            if sequence % 512 == 0 {
                log.commit().unwrap();
                let all = log.reader().read(1, 1, u64::MAX, &ALL);
                assert_eq!((all.len() as u64, all.damaged()), (sequence, &[][..]));
            }
        }
        drop(log);
        let names = disk.list().unwrap();
        let logs: Vec<_> = names.iter().filter(|name| name.ends_with(LOG)).collect();
        let indexes = names.iter().filter(|name| name.ends_with(INDEX)).count();
        assert!(indexes >= 2 && indexes + 1 >= logs.len(), "{names:?}");
        let (log, recovered) = open();
        assert_eq!(recovered.damage, []);
        assert_eq!(log.reader().read(1, 1, u64::MAX, &ALL).len() as u64, end);
    }
}
