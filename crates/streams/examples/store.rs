//! Measures a store in a directory: appending, opening, replaying, the last of one topic.
//!
//! `cargo run --release -p carillon-streams --example store -- DIRECTORY [MESSAGES [STREAMS]]`

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carillon_streams::store::{Directory, Log, Options, Record};

const TOPICS: u64 = 10_000;
const GROUP: u64 = 1_000;
const PAGE_BYTES: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("say in which directory to measure; what is there is added to")?;
    let messages: u64 = arguments.next().map_or(Ok(1_000_000), |count| count.parse())?;
    let streams: u32 = arguments.next().map_or(Ok(1), |count| count.parse())?;
    let (mut log, _) = open(Path::new(&directory))?;
    append(&mut log, messages, streams)?;
    drop(log);
    let (log, open_time) = open(Path::new(&directory))?;
    println!("open with {messages} messages: {open_time:?}");
    replay(&log, messages.min(1_000_000));
    one_topic(&log, messages);
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
        let page = black_box(reader.read(1, from, PAGE_BYTES));
        if page.is_empty() {
            break;
        }
        read += page.len() as u64;
        from = page.next_sequence();
    }
    println!("replay: {read} messages in {:?}", start.elapsed());
}

fn one_topic(log: &Log, messages: u64) {
    let reader = log.reader();
    let start = Instant::now();
    let page = black_box(reader.last_of_topic(1, "sensors.room4711.temperature"));
    println!("last of one topic: {:?}, found {}", start.elapsed(), page.len());
    let start = Instant::now();
    let page = black_box(reader.read_topics(1, &["sensors.room4711.temperature"], 1, usize::MAX));
    println!("all {} of one topic: {:?}", page.len(), start.elapsed());
    let start = Instant::now();
    let sequence = black_box(reader.sequence_at(1, messages * 5));
    println!("sequence {sequence} by its time: {:?}", start.elapsed());
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
