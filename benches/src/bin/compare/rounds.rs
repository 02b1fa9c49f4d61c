//! All rounds: each work by each server in turn, and again.

use std::{
    collections::BTreeMap,
    io::{self, Error},
};

use carillon_benches::machine::{self, Description};

use crate::{
    measure::{Bench, Ran, Saturation},
    results::{Results, Run},
    servers::Server,
    site::Site,
    works::{Load, Whose, Work},
};

/// Does it all. Servers get the first processor, the load the second one.
pub(crate) fn run(
    site: &Site,
    works: &[&'static Work],
    servers: &[Server],
    rounds: usize,
    seconds: f64,
) -> io::Result<Results> {
    let (servers_on, load_on) = machine::processors()?;
    machine::enter(&load_on)?;
    // After this thread has moved to its processor: threads that it starts go with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::other)?;
    let bench = Bench { site, runtime: &runtime, seconds };
    let mut runs = Vec::new();
    for round in 0..rounds {
        let mut saturations = BTreeMap::new();
        for &work in works {
            for &server in servers {
                machine::enter(&servers_on)?;
                let started = server.start(site);
                machine::enter(&load_on)?;
                let ran = match started {
                    Ok(mut running) => {
                        let ran = bench.run(work, server, &running, half_of(work, server, &saturations))?;
                        if running.is_alive() { ran } else { Ran::Drowned("the server ended".to_owned()) }
                    }
                    Err(error) => Ran::Not(error.to_string()),
                };
                if let (Load::Saturate { .. }, Ran::Well(reading)) = (work.load, &ran) {
                    let published = reading.details.get("published_per_second").copied();
                    saturations.extend(published.map(|published| (server, published)));
                }
                tell(round, work, server, &ran);
                runs.push(Run { round, work, server, ran });
            }
        }
    }
    let versions = servers.iter().map(|&server| (server, server.version(site))).collect();
    Ok(Results {
        machine: Description::read()?,
        date: machine::today(),
        shared: servers_on == load_on,
        rounds,
        seconds,
        versions,
        works: works.to_vec(),
        servers: servers.to_vec(),
        runs,
    })
}

fn half_of(work: &Work, server: Server, saturations: &BTreeMap<Server, f64>) -> Saturation {
    let Load::HalfOf { whose, .. } = work.load else { return None };
    let whose = if whose == Whose::Own { server } else { Server::Nats };
    saturations.get(&whose).copied()
}

fn tell(round: usize, work: &Work, server: Server, ran: &Ran) {
    let said = match ran {
        Ran::Well(reading) => {
            let figure = format!("{}, others {:.2} cores", work.figure.text(reading.value), reading.others);
            [&[figure], reading.warnings.as_slice()].concat().join("; ")
        }
        Ran::Drowned(what) => format!("drowned: {what}"),
        Ran::Not(why) => format!("left out: {why}"),
    };
    eprintln!("round {}, {}, {}: {said}", round + 1, work.name, server.name());
}
