//! Tells how Carillon's cost grows: with subscribers, topics, patterns, payloads, shards and idle connections.
//!
//! For each point of a curve a broker is started, with all that production needs, on a processor of its own, and the load on
//! another one. What one thing costs must be flat, or fall; what all of them cost, linear; what is neither bends, and is
//! told with where it does. A point at which a delivery was missing, came twice or out of order, or at which a connection was
//! lost, does not count, and is measured once more.
//!
//! It does not compare Carillon with others, which `compare` does, nor time single steps, which the micro-benchmarks do.
//!
//! Start with `curve`, what is measured; then `measure`, one point, and `server`, the works; `table` (with `names`) and
//! `crowd`, the loads that are not `carillon_bench`'s; `shape`, what is flat; and `report`, `plots` (with `axis`) and `page`, how it is told.

mod axis;
mod crowd;
mod curve;
mod measure;
mod names;
mod page;
mod plots;
mod report;
mod results;
mod server;
mod shape;
mod table;

use std::{
    fs,
    io::{self, Error},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use carillon_bench::process::raise_file_limit;
use carillon_benches::{
    carillon,
    machine::{self, Description},
    numbers::short,
    site::Site,
};
use clap::Parser;

use self::{
    curve::{ALL, Curve},
    measure::{Bench, Reading},
    results::{Measured, Point, Results},
};

/// Those of the largest point.
const CONNECTIONS: u64 = 20_000;
/// Files that a process needs beside a connection for each subscriber.
const OTHER_FILES: u64 = 300;
/// What makes no sense with less.
const LEAST_FILES: u64 = 1000;
/// How often a point is tried.
const TRIES: usize = 2;
/// After this nothing more is begun.
const WHOLE: Duration = Duration::from_mins(18);

#[derive(Parser)]
#[command(
    about = "Tells how Carillon's cost grows: with subscribers, topics, patterns, payloads, shards, idle connections"
)]
struct Args {
    /// Carillon's program
    #[arg(long, env = "CARILLON", default_value = "target/release/carillon")]
    carillon: PathBuf,
    /// Which curves, by name; all of them where nothing is named
    #[arg(long, value_delimiter = ',')]
    curves: Vec<String>,
    /// Fewer and smaller points
    #[arg(long)]
    quick: bool,
    /// How long the measured part of each point takes
    #[arg(long, default_value_t = 4.0, value_parser = seconds)]
    seconds: f64,
    /// Write the results as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the results into curves.md in this directory, and plots beside it
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Tell what is measured, and end
    #[arg(long)]
    list: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.5..=30.0).contains(seconds));
    seconds.ok_or_else(|| "it must be a number from 0.5 to 30".to_owned())
}

impl Args {
    fn curves(&self) -> io::Result<Vec<&'static Curve>> {
        if self.curves.is_empty() {
            return Ok(ALL.iter().collect());
        }
        let find = |name: &String| {
            let found = ALL.iter().find(|curve| curve.name == name);
            found.ok_or_else(|| Error::other(format!("there is no curve {name:?}; --list tells what there is")))
        };
        self.curves.iter().map(find).collect()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for curve in &ALL {
            println!("{:<12} {}: {}", curve.name, curve.title, curve.work);
        }
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False: some points do not count.
fn run(args: &Args) -> io::Result<bool> {
    let curves = args.curves()?;
    if !args.carillon.exists() {
        let named = args.carillon.display();
        return Err(Error::other(format!("there is no {named}; `cargo build --release --package carillon` makes it")));
    }
    let connections = connections()?;
    machine::go_first();
    let site = Site::make("carillon-curves-", &args.carillon)?;
    let results = measure(args, &site, &curves, connections)?;
    print!("{}", report::table(&results));
    if let Some(path) = &args.json {
        fs::write(path, format!("{:#}\n", report::json(&results)))?;
    }
    if let Some(docs) = &args.docs {
        page::write(&results, docs)?;
    }
    Ok(results.curves.iter().all(|curve| curve.failures().next().is_none()))
}

/// How many connections a process may have here.
fn connections() -> io::Result<u64> {
    let files = raise_file_limit()?.unwrap_or(u64::MAX);
    if files < LEAST_FILES {
        return Err(Error::other(format!(
            "a process may open {files} files here, and at least {LEAST_FILES} are needed; allow more with `ulimit -Hn`, as root"
        )));
    }
    let connections = files - OTHER_FILES;
    if connections < CONNECTIONS {
        eprintln!(
            "a process may open {files} files here, so curves end at {connections} connections; allow {} with `ulimit -Hn`, \
             as root, for all of them",
            CONNECTIONS + OTHER_FILES
        );
    }
    Ok(connections)
}

fn measure(args: &Args, site: &Site, curves: &[&'static Curve], connections: u64) -> io::Result<Results> {
    let (server_on, load_on) = machine::processors()?;
    machine::enter(&load_on)?;
    // After this thread has moved to its processor: threads that it starts go with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (server_on, load_on, shared) = (&server_on, &load_on, server_on == load_on);
    let bench = Bench { site, runtime: &runtime, seconds: args.seconds, server_on, load_on };
    let begun = Instant::now();
    let mut measured = Vec::new();
    for &curve in curves {
        let mut points = Vec::new();
        for at in curve.points_within(args.quick, connections) {
            let read = if begun.elapsed() > WHOLE {
                Err(format!("left out: the whole run has {} minutes", WHOLE.as_secs() / 60))
            } else {
                try_point(&bench, curve, at)
            };
            tell(curve, at, &read);
            points.push(Point { at, read });
        }
        measured.push(Measured { curve, points });
    }
    Ok(Results {
        machine: Description::read()?,
        date: machine::today(),
        version: carillon::version(site),
        seconds: args.seconds,
        shared,
        curves: measured,
    })
}

fn try_point(bench: &Bench<'_>, curve: &Curve, at: u64) -> Result<Reading, String> {
    let mut why = String::new();
    for _ in 0..TRIES {
        match bench.point(curve, at) {
            Ok(reading) => return Ok(reading),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn tell(curve: &Curve, at: u64, read: &Result<Reading, String>) {
    let said = match read {
        Ok(reading) => {
            let figures = curve.figures.iter().filter_map(|figure| {
                let found = reading.figures.get(&figure.quantity)?;
                Some(format!("{} {} {}", figure.quantity.name(), report::value(*found), figure.quantity.unit()))
            });
            let others = format!("others {:.2} cores", reading.others);
            let all: Vec<_> = figures.chain([others]).chain(reading.warnings.iter().cloned()).collect();
            all.join("; ")
        }
        Err(why) => format!("does not count: {why}"),
    };
    eprintln!("{} {}: {said}", curve.name, short(at, curve.growing.is_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn a_curve_that_is_not_there_is_told() {
        let args = Args::parse_from(["curves", "--curves", "topics,tpics"]);
        assert!(args.curves().unwrap_err().to_string().contains("tpics"));
        assert_eq!(Args::parse_from(["curves"]).curves().unwrap().len(), ALL.len());
    }
}
