//! Measures a store in a directory: appending, opening, replaying, the last of one topic.
//!
//! `cargo run --release -p carillon-streams --example store -- DIRECTORY [MESSAGES [STREAMS]]`

use std::error::Error;
use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carillon_streams::store::{Directory, IdWindow, Log, Options, Record};
use carillon_streams::stream::{PageLimits, Retention};
use carillon_wire::Pattern;

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
    let (mut log, open_time) = open(Path::new(&directory))?;
    println!("open with {messages} messages: {open_time:?}");
    after_a_start(&mut log, messages);
    replay(&log, messages.min(1_000_000));
    one_topic(&log, messages)?;
    patterns(&log, messages)?;
    println!("peak memory: {}", peak_memory());
    Ok(())
}

fn open(directory: &Path) -> Result<(Log, Duration), Box<dyn Error>> {
    let start = Instant::now();
    let (log, recovered) = Log::open(Arc::new(Directory::open(directory)?), Options::default())?;
    let time = start.elapsed();
    if !recovered.damage.is_empty() {
        println!("damage: {:?}", recovered.damage);
    }
    Ok((log, time))
}

fn append(log: &mut Log, messages: u64, streams: u32) -> Result<(), Box<dyn Error>> {
    let delivery = [b'x'; 160];
    let topics: Vec<String> = (0..TOPICS).map(|topic| format!("sensors.room{topic}.temperature")).collect();
    let reader = log.reader();
    let last = |stream| reader.stream(stream).map_or(0, |stream| stream.last_sequence);
    let mut last_sequences: Vec<u64> = (1..=streams).map(last).collect();
    let mut places = (0..last_sequences.len()).cycle();
    let mut commits = Vec::new();
    let start = Instant::now();
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
    let time = start.elapsed();
    commits.sort_unstable();
    let slowest = commits.get(commits.len() * 99 / 100).copied().unwrap_or_default();
    let syncing: Duration = commits.iter().sum();
    println!(
        "append: {:.0} messages/s in groups of {GROUP}; commits take {:.0} % of it, their p99 {slowest:?}",
        rate(messages, time),
        100.0 * syncing.as_secs_f64() / time.as_secs_f64()
    );
    Ok(())
}

fn replay(log: &Log, messages: u64) {
    let reader = log.reader();
    let (mut from, mut read, start) = (1, 0, Instant::now());
    while read < messages {
        let page = black_box(reader.read(1, from, u64::MAX, &PAGE));
        if page.is_empty() {
            break;
        }
        read += page.len() as u64;
        from = page.next_sequence();
    }
    println!("replay: {read} messages in {:?}", start.elapsed());
}

/// What has to be known before publications are taken.
fn after_a_start(log: &mut Log, messages: u64) {
    let window = IdWindow { from_time_us: messages * 5, max: 100_000 };
    timed("message ids of a window", || log.reader().message_ids(|_| Some(window)).len());
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
    timed("sequence by its time", || reader.sequence_at(1, messages * 5));
    Ok(())
}

fn patterns(log: &Log, messages: u64) -> Result<(), Box<dyn Error>> {
    let reader = log.reader();
    let (all, few) = (Pattern::new("sensors.>")?, Pattern::new("sensors.room4711.>")?);
    timed("a page of the last of each topic", || reader.last_by_topic(1, all, u64::MAX, 0, &PAGE).len());
    timed("all of a pattern that one topic matches", || reader.read_matching(1, few, 1, u64::MAX, &ALL).len());
    for n in [10, 100_000] {
        timed("where the newest begin", || messages - reader.position_before_newest(1, all, n, u64::MAX).min(messages));
    }
    Ok(())
}

fn timed<T: std::fmt::Display>(what: &str, work: impl FnOnce() -> T) {
    let start = Instant::now();
    let found = black_box(work());
    println!("{what}: {:?}, found {found}", start.elapsed());
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
