//! Tortures a broker of its own, and tells whether its streams kept what they promised: see `carillon_benches::torture`.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use carillon_benches::torture::{self, FileSystem, Options, Summary, Torture};
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Tortures a broker of its own, and tells whether its streams kept what they promised")]
struct Args {
    /// The broker's program
    #[arg(long, global = true, env = "CARILLON", default_value = "target/debug/carillon")]
    broker: PathBuf,
    /// Repeats the choices of a run that told this seed
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Where a run cannot be made, fail rather than say so and succeed
    #[arg(long, global = true, env = "CI")]
    strict: bool,
    #[command(subcommand)]
    how: How,
}

#[derive(Subcommand, Clone, Copy)]
enum How {
    /// Kill it under load
    Kill {
        /// How often
        #[arg(long, default_value_t = 100)]
        rounds: u32,
    },
    /// Cut the power of its disk under load (as root)
    Power {
        /// How often
        #[arg(long, default_value_t = 100)]
        rounds: u32,
        /// What is on the disk
        #[arg(long, value_enum, default_value = "ext4")]
        file_system: Disk,
    },
    /// Let its writes fail (with strace)
    Faults,
    /// Let its disk run full (as root)
    Full,
    /// Disturb many clients, and restart it, for minutes
    Chaos {
        /// How long
        #[arg(long, default_value_t = 3.0)]
        minutes: f64,
        /// How many
        #[arg(long, default_value_t = 50)]
        clients: usize,
    },
}

#[derive(ValueEnum, Clone, Copy)]
enum Disk {
    Ext4,
    Xfs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(seed_of_now);
    let options = Options { broker: args.broker.clone(), seed, is_quiet: false, keeps_files: true };
    eprintln!("--seed {seed}");
    match run(&options, args.how) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(Torture::Broken(what)) => {
            eprintln!("BROKEN: {what}");
            ExitCode::FAILURE
        }
        Err(Torture::NotMade(why)) => {
            eprintln!("not made: {why}");
            if args.strict { ExitCode::from(2) } else { ExitCode::SUCCESS }
        }
    }
}

fn run(options: &Options, how: How) -> Result<Summary, Torture> {
    match how {
        How::Kill { rounds } => torture::kill(options, rounds),
        How::Power { rounds, file_system } => {
            let file_system = match file_system {
                Disk::Ext4 => FileSystem::Ext4,
                Disk::Xfs => FileSystem::Xfs,
            };
            torture::power(options, rounds, file_system)
        }
        How::Faults => torture::faults(options),
        How::Full => torture::disk_full(options),
        How::Chaos { minutes, clients } => torture::chaos(options, Duration::from_secs_f64(minutes * 60.0), clients),
    }
}

/// Short enough to be typed.
fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.subsec_nanos().into())
}
