//! Attacks a broker, while a well-behaved pair measures what it costs them.
//!
//! It starts a broker of its own, with a configuration as one has that stands on the open internet, and attacks it in
//! turn with everything in `attacks/`. The pair must lose nothing, must not be disconnected, and its latency must stay
//! within twice the quiet one; the broker's memory must stay within what its configuration allows, and each attack must be
//! answered as it is documented.
//!
//! Everything happens on loopback, and is bounded in time and number.

mod attacks;
mod conduct;
mod hostile;
mod machine;
mod pair;
mod report;
mod scene;
mod settings;
mod site;
mod verdict;

use std::{
    io::{self, Error, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use carillon_benches::connection::Target;
use clap::Parser;
use tokio::task::LocalSet;

use self::{
    attacks::{ALL, Attack},
    scene::{Scene, Size, Tally},
    settings::Settings,
    site::{Credentials, authority},
    verdict::Check,
};

/// Of every phase of a connection, in the attacked broker.
const DEADLINE: Duration = Duration::from_secs(2);

#[derive(Parser)]
#[command(about = "Attacks a broker of its own, while a well-behaved pair measures what it costs them")]
struct Args {
    /// Which attacks; all of them where none is named
    names: Vec<String>,
    /// The broker's program
    #[arg(long, env = "CARILLON", default_value = "target/release/carillon")]
    carillon: PathBuf,
    /// How long each flood goes on
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// What is judged
    #[arg(long, value_enum, default_value = "all")]
    check: Check,
    /// How many attackers come
    #[arg(long, value_enum, default_value = "full")]
    size: Size,
    /// Threads of the broker that serve connections
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Tell the results as JSON
    #[arg(long)]
    json: bool,
    /// Tell what attacks there are, and end
    #[arg(long)]
    list: bool,
    /// This process is the attackers of a broker whose files are there
    #[arg(long, hide = true, requires = "address")]
    attacker_of: Option<PathBuf>,
    /// Where that broker listens
    #[arg(long, hide = true)]
    address: Option<SocketAddr>,
}

impl Args {
    fn settings(&self) -> Settings {
        Settings { shards: self.shards, deadline: DEADLINE }
    }

    fn attacks(&self) -> io::Result<Vec<&'static Attack>> {
        if self.names.is_empty() {
            return Ok(ATTACKS.iter().collect());
        }
        let find = |name: &String| {
            let found = ATTACKS.iter().find(|attack| attack.name == name);
            found.ok_or_else(|| Error::other(format!("there is no attack {name:?}; --list tells what there is")))
        };
        self.names.iter().map(find).collect()
    }
}

static ATTACKS: [Attack; 18] = ALL;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for attack in &ATTACKS {
            println!("{:<22} {} (bound: {})", attack.name, attack.does, attack.bound);
        }
        return ExitCode::SUCCESS;
    }
    let done = args.attacks().and_then(|attacks| match (&args.attacker_of, args.address, attacks.as_slice()) {
        (Some(site), Some(address), [attack]) => attack_from_here(&args, attack, site, address).map(|()| true),
        (None, _, attacks) => conduct::conduct(&args, attacks),
        _ => Err(Error::other("attackers make one attack")),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The attackers' process: attacks, tells what happened to them in a line of JSON, and keeps their connections until its
/// standard input ends.
fn attack_from_here(args: &Args, attack: &Attack, site: &Path, address: SocketAddr) -> io::Result<()> {
    // Where the pair could not raise its own, they have this one already.
    let _ = carillon_benches::machine::set_priority(machine::USUAL);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = Tally::default();
    let place = ATTACKS.iter().position(|other| other.name == attack.name).unwrap_or_default();
    let scene = Scene {
        attack: u8::try_from(place).map_err(Error::other)?,
        target: Target::new(address, &authority(site), false)?,
        credentials: Rc::new(Credentials::read(site)?),
        size: args.size,
        settings: Rc::new(args.settings()),
        until: Instant::now() + Duration::from_secs_f64(args.seconds),
        lasts: Duration::from_secs_f64(args.seconds),
        tally: tally.clone(),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, (attack.run)(scene))?;
    println!("{}", tally.to_json());
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
