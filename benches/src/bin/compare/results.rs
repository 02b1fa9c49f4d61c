//! What all runs say together: medians, ratios within rounds, spread, and whether goals are held.

use carillon_benches::machine::Description;

use crate::{
    measure::{Ran, Reading},
    servers::Server,
    works::{Against, Goal, Work},
};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// From 0.
    pub(crate) round: usize,
    pub(crate) work: &'static Work,
    pub(crate) server: Server,
    pub(crate) ran: Ran,
}

/// All runs, and where they were.
#[derive(Debug, Clone)]
pub(crate) struct Results {
    pub(crate) machine: Description,
    pub(crate) date: String,
    /// Servers and load had one processor together.
    pub(crate) shared: bool,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) versions: Vec<(Server, String)>,
    pub(crate) works: Vec<&'static Work>,
    pub(crate) servers: Vec<Server>,
    pub(crate) runs: Vec<Run>,
}

impl Results {
    /// Those of a work by a server, by rounds.
    pub(crate) fn runs(&self, work: &Work, server: Server) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.work.name == work.name && run.server == server)
    }

    /// Those that count.
    pub(crate) fn readings(&self, work: &Work, server: Server) -> impl Iterator<Item = (usize, &Reading)> {
        self.runs(work, server).filter_map(|run| match &run.ran {
            Ran::Well(reading) => Some((run.round, reading)),
            Ran::Drowned(_) | Ran::Not(_) => None,
        })
    }

    /// The median of what was measured.
    pub(crate) fn value(&self, work: &Work, server: Server) -> Option<f64> {
        median(self.readings(work, server).map(|(_, reading)| reading.value).collect())
    }

    /// The median of a detail.
    pub(crate) fn detail(&self, work: &Work, server: Server, name: &str) -> Option<f64> {
        median(self.readings(work, server).filter_map(|(_, reading)| reading.details.get(name).copied()).collect())
    }

    /// The median of the ratios to another server in the same round.
    pub(crate) fn ratio(&self, work: &Work, server: Server, to: Server) -> Option<f64> {
        let others: Vec<_> = self.readings(work, to).collect();
        let of_round = |round| others.iter().find(|(other, _)| *other == round).map(|(_, reading)| reading.value);
        median(self.readings(work, server).filter_map(|(round, own)| Some(own.value / of_round(round)?)).collect())
    }

    /// How far the rounds are apart, as a share of their median. One says nothing of that.
    pub(crate) fn spread(&self, work: &Work, server: Server) -> Option<f64> {
        let values: Vec<_> = self.readings(work, server).map(|(_, reading)| reading.value).collect();
        if values.len() < 2 {
            return None;
        }
        let least = values.iter().copied().reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        Some((most - least) / median(values)?)
    }

    /// What others used of the machine during runs that count, in cores: the median, and the most.
    pub(crate) fn others(&self) -> (f64, f64) {
        let all = self.runs.iter().filter_map(|run| match &run.ran {
            Ran::Well(reading) => Some(reading.others),
            Ran::Drowned(_) | Ran::Not(_) => None,
        });
        let all: Vec<_> = all.collect();
        let most = all.iter().copied().fold(0.0, f64::max);
        (median(all).unwrap_or_default(), most)
    }

    /// `1 round`, `3 rounds`.
    pub(crate) fn rounds_text(&self) -> String {
        let rounds = self.rounds;
        if rounds == 1 { "1 round".to_owned() } else { format!("{rounds} rounds") }
    }

    /// What a goal is held against.
    pub(crate) fn held_against(&self, work: &Work, goal: Goal) -> Option<f64> {
        match goal.against {
            Against::Nats => self.ratio(work, Server::Carillon, Server::Nats),
            Against::Floor => self.ratio(work, Server::Carillon, Server::Floor),
            Against::Nothing => self.value(work, Server::Carillon),
        }
    }

    /// Why runs do not count, each reason once.
    pub(crate) fn failures(&self, work: &Work, server: Server) -> Vec<String> {
        let mut reasons = Vec::new();
        for run in self.runs(work, server) {
            let reason = match &run.ran {
                Ran::Well(_) => continue,
                Ran::Drowned(what) => format!("drowned: {what}"),
                Ran::Not(why) => format!("left out: {why}"),
            };
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// What people see of a work by a server.
    pub(crate) fn text(&self, work: &Work, server: Server) -> String {
        if let Some(value) = self.value(work, server) {
            return work.figure.text(value);
        }
        let has_drowned = self.runs(work, server).any(|run| matches!(run.ran, Ran::Drowned(_)));
        if has_drowned { "drowned".to_owned() } else { "–".to_owned() }
    }
}

/// Of an even number, the middle of the two.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::works::ALL;

    pub(crate) fn well(value: f64) -> Ran {
        let (details, tls) = (BTreeMap::new(), "TLSv1_3".to_owned());
        Ran::Well(Reading { value, details, tls, others: 0.1, warnings: Vec::new() })
    }

    /// Of one work, with the runs of some servers by rounds.
    pub(crate) fn results(runs: &[(Server, Vec<Ran>)]) -> Results {
        let machine =
            Description { processor: "A".to_owned(), processors: 2, kernel: "6".to_owned(), memory_mib: 1024 };
        let work = &ALL[0];
        let of = |(server, rans): &(Server, Vec<Ran>)| {
            let server = *server;
            let runs = rans.iter().cloned().enumerate();
            runs.map(move |(round, ran)| Run { round, work, server, ran }).collect::<Vec<_>>()
        };
        Results {
            machine,
            date: "2031-01-02".to_owned(),
            shared: false,
            rounds: 3,
            seconds: 5.0,
            versions: vec![(Server::Nats, "v2 <&>".to_owned())],
            works: vec![work],
            servers: runs.iter().map(|(server, _)| *server).collect(),
            runs: runs.iter().flat_map(of).collect(),
        }
    }

    #[test]
    fn median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let drowned = || Ran::Drowned("2 of 3 did not come".to_owned());
        let results = results(&[
            (Server::Carillon, vec![well(1.0), well(4.0), well(3.0)]),
            (Server::Nats, vec![well(2.0), drowned(), well(12.0)]),
        ]);
        let work = &ALL[0];
        assert_eq!(results.ratio(work, Server::Carillon, Server::Nats), Some(0.375));
        assert_eq!(results.value(work, Server::Carillon), Some(3.0));
        assert_eq!(results.spread(work, Server::Carillon), Some(1.0));
        assert_eq!(results.failures(work, Server::Nats), ["drowned: 2 of 3 did not come"]);
        assert_eq!(results.ratio(work, Server::Carillon, Server::Floor), None);
    }

    #[test]
    fn who_never_counted_has_no_figure() {
        let results = results(&[
            (Server::Nats, vec![Ran::Drowned("x".to_owned())]),
            (Server::Floor, vec![Ran::Not("y".to_owned())]),
        ]);
        assert_eq!(results.text(&ALL[0], Server::Nats), "drowned");
        assert_eq!(results.text(&ALL[0], Server::Floor), "–");
    }
}
