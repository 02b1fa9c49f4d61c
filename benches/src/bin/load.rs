//! Puts load on a broker that runs on this machine, checks that every delivery came once and in order, and tells what
//! it cost the broker's process.

use std::{
    io::{self, Error, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use carillon_benches::{
    connection::{Connection, Target},
    process::usage,
};
use carillon_wire::BrokerMessage;
use clap::{Parser, Subcommand};
use tokio::{sync::Semaphore, task::JoinSet, time};

/// Handshakes that are under way at once.
const CONNECTING: usize = 64;

#[derive(Parser)]
#[command(about = "Puts load on a broker on this machine and tells what it cost")]
struct Args {
    /// Where the broker listens.
    #[arg(long, default_value = "127.0.0.1:8443")]
    address: SocketAddr,
    /// The CA that its certificate is from.
    #[arg(long)]
    ca: PathBuf,
    /// The broker's process id.
    #[arg(long)]
    pid: u32,
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Connects, subscribes each connection to a topic of its own, and tells CPU and memory for each.
    Connect {
        /// How many.
        #[arg(long, default_value_t = 5000)]
        connections: usize,
        /// Resume sessions with tickets.
        #[arg(long)]
        resume: bool,
    },
    /// One publisher, many subscribers of one topic.
    FanOut {
        /// How many subscribers.
        #[arg(long, default_value_t = 1000)]
        subscribers: usize,
        /// How many messages.
        #[arg(long, default_value_t = 1000)]
        messages: u64,
        /// Messages for each second; 0 is as fast as the broker takes them.
        #[arg(long, default_value_t = 0)]
        rate: u64,
        /// Bytes of a payload, at least 8.
        #[arg(long, default_value_t = 128)]
        payload_bytes: usize,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.work {
        Work::Connect { connections, resume } => connect(&args, connections, resume).await,
        Work::FanOut { subscribers, messages, rate, payload_bytes } => {
            fan_out(&args, subscribers, messages, rate, payload_bytes.max(8)).await
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn open(target: &Target, count: usize, topic: impl Fn(usize) -> String) -> io::Result<Vec<Connection>> {
    let room = Arc::new(Semaphore::new(CONNECTING));
    let mut opening = JoinSet::new();
    for number in 0..count {
        let (target, room, topic) = (target.clone(), Arc::clone(&room), topic(number));
        opening.spawn(async move {
            let _room = room.acquire_owned().await.map_err(Error::other)?;
            let mut connection = target.connect(number).await?;
            connection.subscribe(&topic).await?;
            Ok::<_, Error>(connection)
        });
    }
    let mut connections = Vec::with_capacity(count);
    while let Some(connection) = opening.join_next().await {
        connections.push(connection.map_err(Error::other)??);
        progress("connected", connections.len() as u64, count as u64);
    }
    Ok(connections)
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
async fn connect(args: &Args, count: usize, resume: bool) -> io::Result<()> {
    let target = Target::new(args.address, &args.ca, resume)?;
    // So that what the broker makes once is not counted for each.
    let _warm = open(&target, 10, |number| format!("warm.{number}")).await?;
    let before = usage(args.pid)?;
    let started = Instant::now();
    let connections = open(&target, count, |number| format!("idle.connection.{number}")).await?;
    let seconds = started.elapsed().as_secs_f64();
    time::sleep(Duration::from_secs(2)).await;
    let after = usage(args.pid)?;
    println!("connections               {count} in {seconds:.1} s");
    println!(
        "broker CPU for a connect  {:.0} µs",
        after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / count as f64
    );
    println!(
        "resident for a connection {:.1} KiB (idle, subscribed)",
        after.resident_kib.saturating_sub(before.resident_kib) as f64 / count as f64
    );
    drop(connections);
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "for people to read")]
async fn fan_out(args: &Args, subscribers: usize, messages: u64, rate: u64, payload_bytes: usize) -> io::Result<()> {
    const TOPIC: &str = "bench.fan.out";
    let target = Target::new(args.address, &args.ca, false)?;
    let connections = open(&target, subscribers, |_| TOPIC.to_owned()).await?;
    let mut publisher = target.connect(0).await?;
    let delivered = Arc::new(AtomicU64::new(0));
    let expected = subscribers as u64 * messages;
    let mut readers = JoinSet::new();
    for connection in connections {
        readers.spawn(receive(connection, messages, Arc::clone(&delivered)));
    }
    let before = usage(args.pid)?;
    let started = Instant::now();
    let mut payload = vec![0; payload_bytes];
    for number in 0..messages {
        if let Some(due) = Duration::from_secs(1).checked_mul(u32::try_from(number).unwrap_or(u32::MAX))
            && rate > 0
        {
            time::sleep_until((started + due.div_f64(rate as f64)).into()).await;
        }
        if let Some(start) = payload.first_chunk_mut() {
            *start = number.to_be_bytes();
        }
        publisher.publish(TOPIC, &payload).await?;
        if rate == 0 {
            // Never further ahead than an outbox holds, so that nothing has to be dropped.
            while delivered.load(Ordering::Relaxed) + 2000 * (subscribers as u64) < number * subscribers as u64 {
                time::sleep(Duration::from_millis(1)).await;
            }
            if number % 64 == 63 {
                tokio::task::yield_now().await;
            }
        }
        progress("published", number + 1, messages);
    }
    publisher.settle().await?;
    let mut connections = Vec::new();
    while let Some(reader) = readers.join_next().await {
        connections.push(reader.map_err(Error::other)??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let after = usage(args.pid)?;
    let count = delivered.load(Ordering::Relaxed);
    if count != expected {
        return Err(Error::other(format!("{count} deliveries came of {expected}")));
    }
    println!("deliveries                {count}, none lost, in order");
    println!("deliveries/s              {:.0}", count as f64 / seconds);
    println!(
        "broker CPU for a delivery {:.0} ns",
        after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e9 / count as f64
    );
    println!("broker resident           {} KiB", after.resident_kib);
    Ok(())
}

/// Reads until all messages came. The first eight bytes of each are its number.
async fn receive(mut connection: Connection, messages: u64, delivered: Arc<AtomicU64>) -> io::Result<Connection> {
    let mut next = 0;
    while next < messages {
        let before = next;
        let mut heartbeat = None;
        connection
            .read(|message| match message {
                BrokerMessage::Delivery(delivery) => {
                    let number = delivery.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                    if number != Some(next) {
                        return Err(Error::other(format!("expected message {next}, got {number:?}")));
                    }
                    next += 1;
                    Ok(())
                }
                BrokerMessage::Heartbeat(number) => {
                    heartbeat = Some(number);
                    Ok(())
                }
                other => Err(Error::other(format!("unexpected {other:?}"))),
            })
            .await?;
        delivered.fetch_add(next - before, Ordering::Relaxed);
        if let Some(number) = heartbeat {
            connection.answer(number).await?;
        }
    }
    Ok(connection)
}

/// A line that is overwritten, where a person looks.
fn progress(what: &str, done: u64, of: u64) {
    if (done == of || done.is_multiple_of(100)) && io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r{what} {done} of {of}{}", if done == of { "\n" } else { "" });
    }
}
