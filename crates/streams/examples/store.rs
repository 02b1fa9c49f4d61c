//! Measures a store in a directory: appending, opening, replaying, the last of one topic; then a keeper of one stream
//! beside it: publishing into it, and catching up page by page, as a subscription does.
//!
//! `cargo run --release -p carillon-streams --example store -- DIRECTORY [MESSAGES [STREAMS]]`
//!
//! Times stand with how much of them the measuring thread was on a processor: on a busy machine that says more.

use std::error::Error;
use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carillon_streams::keeper::{self, Event, Found, Keeper, Shards, SubmissionHead, Submissions, What};
use carillon_streams::store::{Directory, IdWindow, Log, Options, Record};
use carillon_streams::stream::{
    DedupWindow, Definition, Durability, MAX_SEQUENCE, PageLimits, Read, Retention, Select, StreamName,
};
use carillon_wire::broker_message::{Delivery, InStream};
use carillon_wire::{Headers, Pattern, PatternBuf, Topic};

const TOPICS: u64 = 10_000;
const GROUP: u64 = 1_000;
const PAGE: PageLimits = PageLimits { messages: usize::MAX, bytes: 256 << 10, looked_at: usize::MAX };
const ALL: PageLimits = PageLimits { bytes: u64::MAX, ..PAGE };

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("say in which directory to measure; what is there is added to")?;
    let messages: u64 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    let streams: u32 = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let (mut log, _) = open(Path::new(&directory))?;
    append(&mut log, messages, streams)?;
    drop(log);
    let (mut log, (time, on_processor)) = open(Path::new(&directory))?;
    println!("open with {messages} messages: {time:?} ({on_processor:?} on a processor)");
    replay(&log, messages.min(1_000_000));
    one_topic(&log, messages)?;
    patterns(&log, messages)?;
    after_a_start(&mut log, messages);
    replay(&log, messages.min(1_000_000));
    drop(log);
    println!("peak memory of the store: {}", peak_memory());
    through_a_keeper(&Path::new(&directory).join("keeper"), messages.min(1_000_000))?;
    println!("peak memory with the keeper and its cache: {}", peak_memory());
    Ok(())
}

fn open(directory: &Path) -> Result<(Log, (Duration, Duration)), Box<dyn Error>> {
    let watch = Watch::start();
    let (log, recovered) = Log::open(Arc::new(Directory::open(directory)?), Options::default())?;
    let (time, on_processor) = watch.read();
    if !recovered.damage.is_empty() {
        println!("damage: {:?}", recovered.damage);
    }
    Ok((log, (time, on_processor)))
}

fn append(log: &mut Log, messages: u64, streams: u32) -> Result<(), Box<dyn Error>> {
    let delivery = [b'x'; 160];
    let topics: Vec<String> = (0..TOPICS).map(|topic| format!("sensors.room{topic}.temperature")).collect();
    let reader = log.reader();
    let last = |stream| reader.stream(stream).map_or(0, |stream| stream.last_sequence);
    let mut last_sequences: Vec<u64> = (1..=streams).map(last).collect();
    let mut places = (0..last_sequences.len()).cycle();
    let mut commits = Vec::new();
    let watch = Watch::start();
    for message in 1..=messages {
        let place = places.next().ok_or("no stream")?;
        let last = last_sequences.get_mut(place).ok_or("no stream")?;
        *last += 1;
        let topic = topics.get(usize::try_from(message.wrapping_mul(7919) % TOPICS)?).ok_or("no topic")?;
        let (stream, sequence) = (u32::try_from(place)? + 1, *last);
        let message_id = message.to_le_bytes();
        let record =
            Record { stream, sequence, time_us: sequence * 10, topic, message_id: &message_id, delivery: &delivery };
        log.append(&record)?;
        if message % GROUP == 0 {
            let commit = Instant::now();
            log.commit()?;
            commits.push(commit.elapsed());
        }
    }
    log.commit()?;
    let (time, on_processor) = watch.read();
    commits.sort_unstable();
    let slowest = commits.get(commits.len() * 99 / 100).copied().unwrap_or_default();
    let syncing: Duration = commits.iter().sum();
    println!(
        "append: {:.0} messages/s in groups of {GROUP} ({on_processor:?} on a processor); commits take {:.0} % of it, \
         their p99 {slowest:?}",
        rate(messages, time),
        100.0 * syncing.as_secs_f64() / time.as_secs_f64()
    );
    Ok(())
}

fn replay(log: &Log, messages: u64) {
    let reader = log.reader();
    let (mut from, mut read) = (1, 0);
    timed("replay, in pages of 256 KiB", || {
        while read < messages {
            let page = black_box(reader.read(1, from, u64::MAX, &PAGE));
            if page.is_empty() {
                break;
            }
            read += page.len() as u64;
            from = page.next_sequence();
        }
        read
    });
}

/// What has to be known before publications are taken.
fn after_a_start(log: &mut Log, messages: u64) {
    let window = IdWindow { from_time_us: messages * 5, max: 100_000 };
    timed("message ids of a window", || log.reader().message_ids(|_| Some(window)).map_or(0, |ids| ids.len()));
    let kept = |log: &Log| log.reader().stream(1).map_or(0, |stream| stream.totals.messages);
    timed("keep 500 messages of each topic", || {
        log.replace_all_beyond(1, NonZeroU32::MIN.saturating_add(499));
        kept(log)
    });
    let newest = NonZeroU64::new(messages / 3);
    let retention = Retention { max_messages: newest, ..Retention::default() };
    timed("what a bound of a third of the messages takes", || {
        log.cut(1, &retention, 0).map_or(0, |cut| cut.removed.messages)
    });
}

fn one_topic(log: &Log, messages: u64) -> Result<(), Box<dyn Error>> {
    let reader = log.reader();
    let topic = Pattern::new("sensors.room4711.temperature")?;
    timed("last of one topic", || reader.last_by_topic(1, topic, u64::MAX, 0, &ALL).len());
    timed("all of one topic", || reader.read_matching(1, topic, 1, u64::MAX, &ALL).len());
    timed("sequence by its time", || reader.sequence_at(1, messages * 5).unwrap_or(0));
    Ok(())
}

fn patterns(log: &Log, messages: u64) -> Result<(), Box<dyn Error>> {
    let reader = log.reader();
    let (all, few) = (Pattern::new("sensors.>")?, Pattern::new("sensors.room4711.>")?);
    timed("a page of the last of each topic", || reader.last_by_topic(1, all, u64::MAX, 0, &PAGE).len());
    timed("all of a pattern that one topic matches", || reader.read_matching(1, few, 1, u64::MAX, &ALL).len());
    for n in [10, 100_000] {
        timed("where the newest begin", || {
            messages - reader.position_before_newest(1, all, n, u64::MAX).map_or(0, |position| position.min(messages))
        });
    }
    Ok(())
}

/// Publishes into one stream, reads all of it page by page, and the last values in the same way.
fn through_a_keeper(directory: &Path, messages: u64) -> Result<(), Box<dyn Error>> {
    let definition = Definition {
        name: StreamName::new("sensors")?,
        patterns: vec![PatternBuf::new("sensors.>")?],
        durability: Durability::Disk,
        retention: Retention::default(),
        dedup: DedupWindow { time_us: 120_000_000, ids: 100_000 },
        max_topics: 100_000,
    };
    let options = keeper::Options {
        directory: Some(directory.to_owned()),
        page_bytes: 128 << 10,
        page_messages: 4_096,
        ..keeper::Options::default()
    };
    let answers = Arc::new(Answers::default());
    let shards = Arc::clone(&answers);
    let keeper = Keeper::open(vec![definition], options, Arc::new(()))?.start(shards)?;
    let watch = Watch::start();
    publish(&keeper, messages)?;
    while answers.count.load(Ordering::Acquire) < messages {
        std::thread::sleep(Duration::from_micros(100));
    }
    let (time, _) = watch.read();
    println!("publish to a keeper: {:.0} messages/s in submissions of {GROUP}", rate(messages, time));
    for (what, pattern) in [("all", "sensors.>"), ("one topic in 10,000", "sensors.room4711.>")] {
        let pattern = PatternBuf::new(pattern)?;
        timed(&format!("catch up with {what}, in pages of 128 KiB"), || catch_up(&keeper, &pattern, Select::All));
    }
    let select = Select::LastByTopic { as_of: messages };
    let all = PatternBuf::new("sensors.>")?;
    timed("catch up with the last of each topic", || catch_up(&keeper, &all, select));
    keeper.stop();
    Ok(())
}

fn publish(keeper: &Keeper, messages: u64) -> Result<(), Box<dyn Error>> {
    for begin in (0..messages).step_by(usize::try_from(GROUP)?) {
        let mut submissions = Submissions::new(0, 0);
        for message in begin..messages.min(begin + GROUP) {
            let topic = format!("sensors.room{}.temperature", message.wrapping_mul(7919) % TOPICS);
            let delivery = Delivery {
                topic: Topic::new(&topic)?,
                payload: &[b'x'; 128],
                time_us: 0,
                headers: Headers::EMPTY,
                in_stream: Some(InStream { stream: "sensors", sequence: 0 }),
            };
            let head =
                SubmissionHead { stream: 0, request: None, topic: &topic, message_id: None, expected_last: None };
            submissions.push(head, |out| delivery.encode_in_stream(out));
        }
        while let Err(refused) = keeper.try_submit(Durability::Disk, submissions) {
            submissions = refused;
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(())
}

fn catch_up(keeper: &Keeper, pattern: &PatternBuf, select: Select) -> u64 {
    let (mut after, mut count) = (0, 0);
    let read = |after| What::Page(Read { after, through: MAX_SEQUENCE, select });
    while let Ok(Found::Page(page)) = keeper.read_blocking(0, pattern, &read(after)) {
        count += page.message_count();
        if page.complete_through <= after {
            break;
        }
        after = page.complete_through;
    }
    count
}

/// Counts how many publications were answered.
#[derive(Default)]
struct Answers {
    count: AtomicU64,
}

impl Shards for Answers {
    fn count(&self) -> usize {
        1
    }

    fn tell(&self, _shard: usize, event: Event) {
        if let Event::Committed(committed) = event {
            let count: usize = committed.answers.iter().map(|answers| answers.answers.len()).sum();
            self.count.fetch_add(count as u64, Ordering::Release);
        }
    }
}

fn timed<T: std::fmt::Display>(what: &str, work: impl FnOnce() -> T) {
    let watch = Watch::start();
    let found = black_box(work());
    let (time, on_processor) = watch.read();
    println!("{what}: {time:?} ({on_processor:?} on a processor), found {found}");
}

/// Time that passes, and how much of it this thread is on a processor.
struct Watch {
    start: Instant,
    on_processor: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { start: Instant::now(), on_processor: time_on_processor() }
    }

    fn read(&self) -> (Duration, Duration) {
        (self.start.elapsed(), time_on_processor().saturating_sub(self.on_processor))
    }
}

/// 0 where the system does not tell.
fn time_on_processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn rate(messages: u64, time: Duration) -> f64 {
    messages as f64 / time.as_secs_f64()
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(|| "unknown".to_owned(), |peak| peak.trim().to_owned())
}
