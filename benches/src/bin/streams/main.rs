//! Measures what streams cost and how fast they are, against their goals.
//!
//! It starts a broker of its own, with TLS, permissions, quotas and metrics, on a processor that it has to itself, and puts
//! load on it from another one. Every acknowledgement and every delivery is counted, and of a subscription to a whole
//! stream the sequences are looked at: a hole or a repeat ends the run. What is measured stands in `measures/`, one file
//! each.
//!
//! It does not look at what survives a crash: that is the program `torture`.
//!
//! Figures are of the broker's process alone, from `/proc`. Beside each stands how busy the processors were with other
//! work, because that is what makes a latency or a rate worthless.

mod bench;
mod measures;
mod meter;
mod publishers;
mod reader;
mod report;
mod site;

use std::{
    io::{self, Error},
    path::PathBuf,
    process::ExitCode,
};

use carillon_benches::machine;
use clap::{Parser, ValueEnum};
use tokio::task::LocalSet;

use self::{
    bench::Bench,
    measures::{ALL, Measure},
};

/// For the most connections that are made, and some to spare. The broker needs as many.
const OPEN_FILES: u64 = 7_000;

#[derive(Parser)]
#[command(about = "Measures streams against their goals, with a broker of its own")]
struct Args {
    /// What to measure; all of it where nothing is named
    names: Vec<String>,
    /// The broker's program
    #[arg(long, env = "CARILLON", default_value = "target/release/carillon")]
    carillon: PathBuf,
    /// Where the broker's data goes; a temporary directory is made in it
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    directory: PathBuf,
    /// Threads of the broker that serve connections: a number, or auto
    #[arg(long, default_value = "1")]
    shards: String,
    /// Who runs where
    #[arg(long, value_enum, default_value = "apart")]
    processors: Processors,
    /// Messages that are kept before what is measured with many
    #[arg(long, default_value_t = 10_000_000)]
    kept: u64,
    /// Connections that publish
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Publications in flight, all connections together; one row of the table for each number
    #[arg(long, value_delimiter = ',', default_value = "1024,4096")]
    in_flight: Vec<usize>,
    /// Topics, of which each publication takes another
    #[arg(long, default_value_t = 10_000)]
    topics: usize,
    /// Bytes of a payload, at least 8
    #[arg(long, default_value_t = 128)]
    payload_bytes: usize,
    /// Publications have ids, by which a stream knows what it has already
    #[arg(long)]
    message_ids: bool,
    /// How long a load is measured
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Tell the results as JSON
    #[arg(long)]
    json: bool,
    /// Tell what is measured, and end
    #[arg(long)]
    list: bool,
}

/// Who runs where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Processors {
    /// The broker on the first processor, the load on the second.
    Apart,
    /// Both wherever the system puts them.
    Shared,
}

impl Args {
    fn measures(&self) -> io::Result<Vec<&'static Measure>> {
        if self.names.is_empty() {
            return Ok(ALL.iter().collect());
        }
        let find = |name: &String| {
            let found = ALL.iter().find(|measure| measure.name == name);
            found.ok_or_else(|| Error::other(format!("nothing measures {name:?}; --list tells what there is")))
        };
        self.names.iter().map(find).collect()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for measure in &ALL {
            println!("{:<12} {}", measure.name, measure.goal);
        }
        return ExitCode::SUCCESS;
    }
    match args.measures().and_then(|measures| run(args, &measures)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args, measures: &[&'static Measure]) -> io::Result<()> {
    machine::raise_open_files(OPEN_FILES)?;
    machine::go_first();
    let json = args.json;
    let mut bench = Bench::new(args)?;
    // After the bench, which has moved this thread to its processor: those that the runtime starts go with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let mut all = Vec::new();
    if !json {
        report::heading();
    }
    for measure in measures {
        eprintln!("{}: {}", measure.name, measure.goal);
        let found = local.block_on(&runtime, (measure.run)(&mut bench))?;
        for finding in found {
            if !json {
                report::line(measure, &finding);
            }
            all.push(report::to_json(measure, &finding));
        }
    }
    if json {
        println!("{}", serde_json::Value::Array(all));
    }
    Ok(())
}
