//! Compares Carillon with what a user could install instead, and with the floor.
//!
//! Each server in turn is started on a processor that it has to itself, does one work, and is ended; then the next one does
//! the same work; and all of it again, round after round. All have the same certificate, TLS 1.3 and X25519, and each is
//! configured as well as its manual allows for this work. What counts is the median over the rounds: of figures, and of the ratios within
//! each round, because a machine's mood changes between two rounds more than within one.
//!
//! A run in which a delivery was missing, came twice or out of order, or in which a connection was lost, does not count: the
//! server drowned, and that is told with what happened.
//!
//! It does not compare what the servers can do, or how they behave in trouble; nor more than one core of each.
//!
//! Start with `works`, what is measured and what Carillon is to reach; then `servers`, how each is configured; `dialects`, how
//! each is spoken to; `measure`, one run; `results`, what all runs say together; and `report`, `plots` and `page`, how it is told.

mod dialects;
mod install;
mod measure;
mod page;
mod plots;
mod report;
mod results;
mod rounds;
mod servers;
mod site;
mod works;

use std::{
    fs,
    io::{self, Error},
    path::PathBuf,
    process::ExitCode,
};

use carillon_benches::machine;
use clap::Parser;

use self::{
    servers::Server,
    works::{ALL, Work},
};

/// For the most connections that are made, and some to spare. A server needs as many, and some two for each.
const OPEN_FILES: u64 = 12_000;

#[derive(Parser)]
#[command(about = "Compares Carillon with nats-server, Mosquitto, nginx with Nchan, and the floor")]
struct Args {
    /// Carillon's program
    #[arg(long, env = "CARILLON", default_value = "target/release/carillon")]
    carillon: PathBuf,
    /// The floor's program; the one beside this program where it is not named
    #[arg(long)]
    floor: Option<PathBuf>,
    /// How many rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What is measured, by name; all of it where nothing is named
    #[arg(long, value_delimiter = ',')]
    works: Vec<String>,
    /// Who is measured; all who can be
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Server>,
    /// How long the measured part of each run takes, about
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Write the results as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the results into benchmarks.md in this directory, and plots beside it
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Install nothing; servers that are not there are left out
    #[arg(long)]
    no_install: bool,
    /// Tell what is measured, and end
    #[arg(long)]
    list: bool,
}

impl Args {
    fn works(&self) -> io::Result<Vec<&'static Work>> {
        if self.works.is_empty() {
            return Ok(ALL.iter().collect());
        }
        let find = |name: &String| {
            let found = ALL.iter().find(|work| work.name == name);
            found.ok_or_else(|| Error::other(format!("there is no work {name:?}; --list tells what there is")))
        };
        self.works.iter().map(find).collect()
    }

    fn floor(&self) -> io::Result<PathBuf> {
        match &self.floor {
            Some(floor) => Ok(floor.clone()),
            None => Ok(std::env::current_exe()?.with_file_name("floor")),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for work in &ALL {
            println!("{:<12} {}", work.name, work.what);
        }
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let works = args.works()?;
    let asked = if args.servers.is_empty() { Server::ALL.to_vec() } else { args.servers.clone() };
    let servers = install::available(&asked, args.no_install)?;
    machine::raise_open_files(OPEN_FILES)?;
    machine::go_first();
    let site = site::Site::make(&args.carillon, &args.floor()?)?;
    let results = rounds::run(&site, &works, &servers, args.rounds, args.seconds)?;
    print!("{}", report::table(&results));
    if let Some(path) = &args.json {
        fs::write(path, format!("{:#}\n", report::json(&results)))?;
    }
    if let Some(docs) = &args.docs {
        page::write(&results, docs)?;
    }
    Ok(())
}
