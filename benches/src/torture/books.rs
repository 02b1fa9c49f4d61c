//! What the broker has promised: every message that it acknowledged or delivered, with its place.

use std::{collections::HashMap, io, rc::Rc};

use super::{
    plan::{self, Keeps, STREAMS, StreamPlan},
    trouble::broken,
};

/// The books of a run.
#[derive(Debug)]
pub(super) struct Books {
    ledgers: Vec<Ledger>,
    publications: Vec<Publication>,
    pub(super) counts: Counts,
}

/// What a run has seen.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
    pub(super) delivered: u64,
    pub(super) resumed: u64,
    pub(super) fell_behind: u64,
    pub(super) gaps: u64,
    pub(super) epochs: u64,
}

/// A publication, by its number.
#[derive(Debug, Clone, Copy)]
struct Publication {
    stream: u8,
    topic: u16,
    has_id: bool,
    is_acknowledged: bool,
    is_sent_again: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It may be kept or not.
    NotKnown,
    /// It has this sequence.
    At(u64),
    /// It was in an epoch that is over, and cannot come back.
    Gone,
}

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) plan: StreamPlan,
    epoch: Option<Rc<str>>,
    past: Vec<Rc<str>>,
    /// The broker was started again, so that a stream in memory has another epoch.
    is_new_epoch_due: bool,
    /// The publication of each sequence, from 1; none where it is not known.
    known: Vec<Option<u32>>,
    /// What retention has taken: everything before.
    pub(super) first: u64,
    /// What retention keeps, where a run has tightened it.
    pub(super) newest: Option<u64>,
}

impl Books {
    pub(super) fn new() -> Self {
        let ledger = |plan: &StreamPlan| Ledger {
            plan: *plan,
            epoch: None,
            past: Vec::new(),
            is_new_epoch_due: false,
            known: Vec::new(),
            first: 1,
            newest: match plan.keeps {
                Keeps::Newest(messages) => Some(messages),
                _ => None,
            },
        };
        Self { ledgers: STREAMS.iter().map(ledger).collect(), publications: Vec::new(), counts: Counts::default() }
    }

    pub(super) fn ledger(&self, stream: usize) -> &Ledger {
        &self.ledgers[stream]
    }

    pub(super) fn ledger_mut(&mut self, stream: usize) -> &mut Ledger {
        &mut self.ledgers[stream]
    }

    /// Somebody is going to publish this; its number.
    pub(super) fn publication(&mut self, stream: usize, topic: u16, has_id: bool) -> u32 {
        let number = u32::try_from(self.publications.len()).unwrap_or(u32::MAX);
        let stream = u8::try_from(stream).unwrap_or(u8::MAX);
        let (is_acknowledged, is_sent_again) = (false, false);
        let place = Place::NotKnown;
        self.publications.push(Publication { stream, topic, has_id, is_acknowledged, is_sent_again, place });
        number
    }

    /// It is sent once more.
    pub(super) fn sent_again(&mut self, number: u32) {
        self.publications[number as usize].is_sent_again = true;
    }

    /// Its topic.
    pub(super) fn topic(&self, number: u32) -> String {
        let publication = self.publications[number as usize];
        STREAMS[usize::from(publication.stream)].topic(publication.topic)
    }

    /// The broker said that it has taken it. False: in an epoch that is over.
    pub(super) fn acknowledged(
        &mut self,
        number: u32,
        stream: &str,
        at: (&str, u64),
        is_duplicate: bool,
    ) -> io::Result<bool> {
        let publication = self.publications[number as usize];
        let index = usize::from(publication.stream);
        if STREAMS[index].name != stream {
            return Err(broken(format!("publication {number} was acknowledged in the stream {stream}")));
        }
        if is_duplicate && !publication.is_sent_again {
            return Err(broken(format!(
                "publication {number} was sent once and acknowledged as a duplicate in {stream}"
            )));
        }
        self.counts.acknowledged += 1;
        self.counts.duplicates += u64::from(is_duplicate);
        let is_current = self.place(index, at, number, "acknowledged")?;
        self.publications[number as usize].is_acknowledged |= is_current;
        Ok(is_current)
    }

    /// Somebody got it. Returns its number.
    pub(super) fn delivered(&mut self, stream: usize, at: (&str, u64), topic: &str, payload: &[u8]) -> io::Result<u32> {
        let name = STREAMS[stream].name;
        let known = plan::number_of(payload).filter(|number| (*number as usize) < self.publications.len());
        let Some(number) = known.filter(|number| plan::payload(*number) == payload) else {
            return Err(broken(format!("{name} has a message at {} with a payload that nobody published", at.1)));
        };
        if usize::from(self.publications[number as usize].stream) != stream || self.topic(number) != topic {
            return Err(broken(format!(
                "publication {number} to {} is in {name} with topic {topic}",
                self.topic(number)
            )));
        }
        self.place(stream, at, number, "delivered")?;
        Ok(number)
    }

    /// Puts a publication where the broker says that it is. False: that was in an epoch that is over.
    fn place(&mut self, stream: usize, (epoch, sequence): (&str, u64), number: u32, how: &str) -> io::Result<bool> {
        if !self.admit(stream, epoch)? {
            return Ok(false);
        }
        let name = STREAMS[stream].name;
        let at = usize::try_from(sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        let Some(at) = at.filter(|at| *at <= self.publications.len()) else {
            return Err(broken(format!("publication {number} was {how} at the sequence {sequence} of {name}")));
        };
        let ledger = &mut self.ledgers[stream];
        if ledger.known.len() <= at {
            ledger.known.resize(at + 1, None);
        }
        let publication = &mut self.publications[number as usize];
        match (ledger.known[at], publication.place) {
            (Some(known), _) if known != number => Err(broken(format!(
                "{name} at {sequence}: publication {number} was {how} there, and before that publication {known}"
            ))),
            (_, Place::At(known)) if known != sequence => {
                Err(broken(format!("publication {number} is in {name} twice: at {known}, and {how} at {sequence}")))
            }
            (_, Place::Gone) => Err(broken(format!(
                "publication {number} was {how} in {name} at {sequence}, after the restart of a stream in memory"
            ))),
            _ => {
                ledger.known[at] = Some(number);
                publication.place = Place::At(sequence);
                Ok(true)
            }
        }
    }

    /// Whether an epoch is the stream's own now. False: it was one before.
    pub(super) fn admit(&mut self, stream: usize, epoch: &str) -> io::Result<bool> {
        let ledger = &mut self.ledgers[stream];
        match &ledger.epoch {
            Some(known) if **known == *epoch => {
                if ledger.is_new_epoch_due {
                    // It may be an answer from before that was still on its way.
                    return Ok(false);
                }
                Ok(true)
            }
            Some(_) if ledger.past.iter().any(|past| **past == *epoch) => Ok(false),
            Some(known) if !ledger.is_new_epoch_due => Err(broken(format!(
                "{} has the epoch {epoch}, and before it was {known}, which nothing has ended",
                ledger.plan.name
            ))),
            _ => {
                let before = ledger.epoch.replace(epoch.into());
                ledger.past.extend(before);
                ledger.is_new_epoch_due = false;
                Ok(true)
            }
        }
    }

    /// The broker is about to be started again.
    pub(super) fn restarted(&mut self) {
        for ledger in &mut self.ledgers {
            if ledger.plan.is_in_memory && ledger.epoch.is_some() {
                ledger.is_new_epoch_due = true;
                ledger.known.clear();
            }
        }
        for publication in &mut self.publications {
            if STREAMS[usize::from(publication.stream)].is_in_memory && publication.place != Place::Gone {
                // What is not acknowledged is sent again, where it can be.
                let is_gone = publication.is_acknowledged || !publication.has_id;
                publication.place = if is_gone { Place::Gone } else { Place::NotKnown };
            }
        }
    }

    /// Everything with an id is acknowledged, once each was sent until it was.
    pub(super) fn all_settled(&self) -> io::Result<()> {
        let open = self.publications.iter().position(|it| it.has_id && !it.is_acknowledged);
        open.map_or(Ok(()), |number| {
            Err(broken(format!(
                "publication {number} to {} was never acknowledged",
                self.topic(u32::try_from(number).unwrap_or_default())
            )))
        })
    }

    /// For each topic of a stream that keeps only so many of each: what is before the sequence may be replaced.
    pub(super) fn replaced_before(&self, stream: usize) -> HashMap<u16, u64> {
        let Keeps::NewestOfTopic(keeps) = STREAMS[stream].keeps else { return HashMap::new() };
        let mut newest: HashMap<u16, (usize, u64)> = HashMap::new();
        for (at, number) in self.ledgers[stream].known.iter().enumerate().rev() {
            let Some(number) = number else { continue };
            let (count, sequence) = newest.entry(self.publications[*number as usize].topic).or_default();
            if *count < keeps {
                (*count, *sequence) = (*count + 1, at as u64 + 1);
            }
        }
        newest.into_iter().filter(|(_, (count, _))| *count == keeps).map(|(topic, (_, at))| (topic, at)).collect()
    }

    /// How anybody knew of a publication.
    pub(super) fn how_known(&self, number: u32) -> &'static str {
        if self.publications[number as usize].is_acknowledged { "acknowledged" } else { "delivered" }
    }

    /// Where the newest messages of a publication's topic are, a few of them.
    pub(super) fn others_of_topic(&self, stream: usize, number: u32) -> Vec<u64> {
        let topic = self.topic_number(number);
        let known = self.ledgers[stream].known.iter().enumerate().rev();
        let same = known.filter(|(_, known)| known.is_some_and(|known| self.topic_number(known) == topic));
        same.map(|(at, _)| at as u64 + 1).take(6).collect()
    }

    /// The number of a publication's topic.
    pub(super) fn topic_number(&self, number: u32) -> u16 {
        self.publications[number as usize].topic
    }
}

impl Ledger {
    /// The epoch, once it is known.
    pub(super) fn epoch(&self) -> Option<Rc<str>> {
        self.epoch.clone().filter(|_| !self.is_new_epoch_due)
    }

    /// The last sequence that anybody was told of.
    pub(super) fn end(&self) -> u64 {
        self.known.len() as u64
    }

    /// What is there.
    pub(super) fn at(&self, sequence: u64) -> Option<u32> {
        let at = usize::try_from(sequence).ok()?.checked_sub(1)?;
        self.known.get(at).copied().flatten()
    }

    /// Whether what retention keeps is bounded by a number of messages.
    pub(super) fn has_retention(&self) -> bool {
        self.newest.is_some()
    }
}
