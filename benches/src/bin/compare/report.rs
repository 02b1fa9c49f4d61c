//! The results, for people at a terminal and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    measure::Ran,
    results::Results,
    servers::Server,
    works::{Against, Bound, Goal, Kind, Work},
};

/// Whether a goal is held, as people read it.
pub(crate) fn verdict(results: &Results, work: &Work, goal: Goal) -> &'static str {
    match results.held_against(work, goal) {
        Some(value) if goal.bound.is_kept_by(value) => "held",
        Some(_) => "NOT HELD",
        None => "not measured",
    }
}

impl Goal {
    /// What it is held against.
    pub(crate) fn named(self) -> &'static str {
        match self.against {
            Against::Nats => "of nats-server's",
            Against::Floor => "of the floor's",
            Against::Nothing => "in all",
        }
    }

    pub(crate) fn kind_name(self) -> &'static str {
        match self.kind {
            Kind::Must => "must",
            Kind::Goal => "goal",
        }
    }
}

/// All of it.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{:<62} {:<24}", "work", "");
    for server in &results.servers {
        let _ = write!(text, "{:>14}", server.name());
    }
    text.push('\n');
    for work in &results.works {
        let _ = write!(text, "{:<62} {:<24}", work.what, work.figure.name());
        for &server in &results.servers {
            let _ = write!(text, "{:>14}", results.text(work, server));
        }
        text.push('\n');
        for (server, name) in [(Server::Nats, "of nats-server's"), (Server::Floor, "of the floor's")] {
            if results.servers.contains(&server) && results.value(work, server).is_some() {
                let _ = write!(text, "{:<62} {name:<24}", "");
                for &own in &results.servers {
                    let ratio = results.ratio(work, own, server);
                    let _ = write!(text, "{:>14}", ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
                }
                text.push('\n');
            }
        }
        goals(results, work, &mut text);
        for &server in &results.servers {
            for failure in results.failures(work, server) {
                let _ = writeln!(text, "    {}: {failure}", server.name());
            }
        }
    }
    text
}

fn goals(results: &Results, work: &Work, text: &mut String) {
    for &goal in work.goals {
        let found = results.held_against(work, goal).map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
        let (kind, bound, named) = (goal.kind_name(), goal.bound.to_string(), goal.named());
        let _ = writeln!(text, "    {kind} {bound:<7} {named:<17} {found:>6}  {}", verdict(results, work, goal));
    }
}

/// All of it, with every run.
pub(crate) fn json(results: &Results) -> Value {
    json!({
        "date": results.date,
        "machine": results.machine,
        "one_processor_for_all": results.shared,
        "rounds": results.rounds,
        "seconds": results.seconds,
        "versions": results.versions.iter().map(|(server, version)| json!({ "server": server.name(), "version": version })).collect::<Vec<_>>(),
        "works": results.works.iter().map(|work| json_work(results, work)).collect::<Vec<_>>(),
    })
}

fn json_work(results: &Results, work: &Work) -> Value {
    let goals = work.goals.iter().map(|&goal| {
        let (at_most, at_least) = match goal.bound {
            Bound::AtMost(bound) => (Some(bound), None),
            Bound::AtLeast(bound) => (None, Some(bound)),
        };
        json!({
            "kind": goal.kind_name(), "against": goal.named(), "at_most": at_most, "at_least": at_least,
            "found": results.held_against(work, goal), "verdict": verdict(results, work, goal),
        })
    });
    json!({
        "name": work.name,
        "what": work.what,
        "figure": work.figure.name(),
        "unit": work.figure.unit(),
        "goals": goals.collect::<Vec<_>>(),
        "servers": results.servers.iter().map(|&server| json_server(results, work, server)).collect::<Vec<_>>(),
    })
}

fn json_server(results: &Results, work: &Work, server: Server) -> Value {
    let rounds = results.runs(work, server).map(|run| match &run.ran {
        Ran::Well(reading) => json!({
            "round": run.round + 1, "value": reading.value, "details": reading.details, "tls": reading.tls,
            "others_cores": reading.others, "warnings": reading.warnings,
        }),
        Ran::Drowned(what) => json!({ "round": run.round + 1, "drowned": what }),
        Ran::Not(why) => json!({ "round": run.round + 1, "left_out": why }),
    });
    json!({
        "server": server.name(),
        "median": results.value(work, server),
        "spread": results.spread(work, server),
        "of_nats_server": results.ratio(work, server, Server::Nats),
        "of_the_floor": results.ratio(work, server, Server::Floor),
        "rounds": rounds.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{results, well};

    #[test]
    fn a_goal_that_is_missed_stands_out() {
        let results = results(&[
            (Server::Carillon, vec![well(5.0)]),
            (Server::Nats, vec![well(10.0)]),
            (Server::Floor, vec![Ran::Drowned("gone".to_owned())]),
        ]);
        let table = table(&results);
        assert!(table.contains("must ≤ 0.55  of nats-server's    0.50  held"), "{table}");
        assert!(table.contains("goal ≤ 0.42  of nats-server's    0.50  NOT HELD"), "{table}");
        assert!(table.contains("of the floor's         –  not measured"), "{table}");
        assert!(table.contains("floor: drowned: gone"), "{table}");
    }

    #[test]
    fn every_run_is_in_the_json() {
        let results = results(&[(Server::Nats, vec![well(2.0), Ran::Not("so".to_owned())])]);
        let json = json(&results);
        let server = &json["works"][0]["servers"][0];
        assert_eq!((&server["median"], &server["rounds"][1]["left_out"]), (&json!(2.0), &json!("so")));
    }
}
