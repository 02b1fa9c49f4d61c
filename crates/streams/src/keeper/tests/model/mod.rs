//! Random operations, failures, crashes and reopenings against a simple model.

mod ops;

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::sync::mpsc;

use proptest::prelude::*;

use self::ops::{Op, Publication, op};
use super::super::admin::AdminRequest;
use super::*;
use crate::store::faulty::Fault;
use crate::stream::Refusal;

const SHARDS: u32 = 2;
/// Two on disk, one in memory; of the second only the last of each topic counts.
const NAMES: [&str; 3] = ["all", "last", "mem"];
const MAX_MESSAGES: u64 = 30;
const MEMORY: u32 = 2;

/// What is known of a message; its payload is nobody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    topic: String,
    id: Option<u8>,
    payload: Vec<u8>,
}

/// What was submitted together: each message with its stream and its request.
struct Submitted {
    shard: u32,
    ticket: u64,
    messages: Vec<(u32, u64, Message)>,
}

/// What a stream should be.
#[derive(Debug, Clone, Default)]
struct Model {
    /// All that was told and not taken away.
    kept: BTreeMap<u64, Message>,
    last: u64,
    first: u64,
    epoch: Option<Epoch>,
    /// Answered with "nobody knows", in order.
    unknown: VecDeque<Message>,
    /// An operation that takes messages away has failed, so more may be gone.
    is_front_unknown: bool,
    /// An operation that makes another epoch has failed.
    is_epoch_unknown: bool,
    /// Ids in the window, for certain, and the sequence of each.
    ids: BTreeMap<(String, u8), u64>,
}

struct World {
    disk: FaultyDisk,
    recorder: Arc<Recorder>,
    bench: Option<Bench>,
    models: Vec<Model>,
    now_us: u64,
    messages: u64,
    tickets: u64,
}

fn definitions() -> Vec<Definition> {
    let mut all = definition("all", Durability::Disk);
    all.retention.max_messages = NonZeroU64::new(MAX_MESSAGES);
    let mut last = definition("last", Durability::Disk);
    last.retention.max_messages_per_topic = NonZeroU32::new(1);
    let mut mem = definition("mem", Durability::Memory);
    mem.retention.max_messages = NonZeroU64::new(MAX_MESSAGES);
    vec![all, last, mem]
}

fn is_on_disk(stream: u32) -> bool {
    stream != MEMORY
}

impl World {
    fn new() -> Self {
        let (disk, recorder) = (FaultyDisk::new(), Recorder::new(SHARDS as usize));
        let mut world =
            Self { disk, recorder, bench: None, models: Vec::new(), now_us: 1_000, messages: 0, tickets: 0 };
        world.models = vec![Model { first: 1, ..Model::default() }; NAMES.len()];
        world.restart();
        world
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }

    fn has_failed(&self) -> bool {
        self.bench.as_ref().unwrap().shared.store_status().unwrap().failed.is_some()
    }

    fn run(&mut self, op: &Op) {
        self.now_us += 10;
        let now_us = self.now_us;
        match op {
            Op::Group(group) => self.group(group),
            Op::Maintain => self.maintain(),
            Op::Compact => while self.bench().disk().compact(now_us + 2 * HOUR_US) {},
            Op::Purge { stream, keep } => self.purge(*stream, *keep),
            Op::Remove { stream } => self.remove(*stream),
            Op::Renew { stream } => self.renew(*stream),
            Op::Fail { after, full: false } => self.disk.fail(Fault::Call(*after, ErrorKind::Other)),
            Op::Fail { after, full: true } => {
                let room = usize::try_from(after * 100).unwrap();
                self.disk.fail(Fault::Full(self.disk.used_bytes() + room));
            }
            Op::Reopen => {
                self.disk.heal();
                self.reopen();
            }
            Op::Restart => self.restart(),
            Op::Crash { seed } => {
                let mut state = *seed;
                self.disk.crash(|| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    state >> 33
                });
                self.restart();
            }
        }
        self.take_told();
        self.check();
    }

    /// Publishes, and checks each answer against what may be so.
    fn group(&mut self, group: &[(u32, Vec<Publication>)]) {
        for durability in [Durability::Disk, Durability::Memory] {
            let mut submitted = Vec::new();
            let mut messages = Vec::new();
            for (shard, publications) in group {
                let ticket = self.tickets;
                self.tickets += 1;
                let mut submissions = Submissions::new(*shard, ticket);
                let mut of_ticket = Vec::new();
                for publication in publications {
                    if is_on_disk(publication.stream) == (durability == Durability::Disk) {
                        of_ticket.push(self.submit(&mut submissions, publication));
                    }
                }
                submitted.push(submissions);
                messages.push(Submitted { shard: *shard, ticket, messages: of_ticket });
            }
            let (now_us, had_failed) = (self.now_us, self.has_failed());
            self.bench().committer(durability).step(now_us, submitted);
            self.check_answers(&messages, had_failed);
        }
    }

    fn submit(&mut self, submissions: &mut Submissions, publication: &Publication) -> (u32, u64, Message) {
        let Publication { stream, topic, id, expects, bytes } = *publication;
        let topic = format!("{}.{topic}", NAMES[stream as usize]);
        self.messages += 1;
        let mut payload = format!("{} ", self.messages).into_bytes();
        payload.resize(payload.len() + bytes, b'.');
        let message_id = id.map(|id| id.to_string());
        let model = &self.models[stream as usize];
        let last = model.kept.iter().rev().find(|(_, message)| message.topic == topic).map_or(0, |(last, _)| *last);
        let expected_last = expects.map(|is_so| if is_so { last } else { last + 1_000_000 });
        let request = Some(self.messages);
        let message_id = message_id.as_deref();
        push(submissions, SubmissionHead { stream, request, topic: &topic, message_id, expected_last }, &payload);
        (stream, self.messages, Message { topic, id, payload })
    }

    /// Each shard has got each group, and each submission its answers, behind the group that they tell of.
    fn check_answers(&mut self, submitted: &[Submitted], had_failed: bool) {
        let told: Vec<_> = (0..SHARDS).map(|shard| self.recorder.take(shard as usize)).collect();
        let groups: Vec<_> = told.iter().map(|told| groups_of(told)).collect();
        assert!(groups.iter().all(|groups| groups.len() <= 1));
        assert!(groups.windows(2).all(|pair| pair[0].iter().zip(&pair[1]).all(|(a, b)| Arc::ptr_eq(a, b))));
        assert!(groups.windows(2).all(|pair| pair[0].len() == pair[1].len()));
        let new = groups[0].first().map(|group| self.tell(group)).unwrap_or_default();
        let mut answered: BTreeMap<u64, (usize, Vec<Answer>)> = BTreeMap::new();
        for (shard, told) in told.into_iter().enumerate() {
            for answers in told.into_iter().flat_map(|committed| committed.answers) {
                assert!(answered.insert(answers.ticket, (shard, answers.answers)).is_none(), "answered twice");
            }
        }
        for Submitted { shard, ticket, messages } in submitted {
            let (of_shard, answers) = answered.remove(ticket).expect("answered");
            assert_eq!((of_shard, answers.len()), (*shard as usize, messages.len()));
            for ((stream, request, message), answer) in messages.iter().zip(answers) {
                assert_eq!(answer.request, Some(*request));
                self.check_outcome(*stream, message, &answer.outcome, new.get(request), had_failed);
            }
        }
        assert!(answered.is_empty(), "answers to nobody");
        assert!(new.len() as u64 <= self.messages);
    }

    /// Takes a told group over. The sequences of the new messages, by the number in their payloads.
    fn tell(&mut self, group: &Arc<Group>) -> BTreeMap<u64, u64> {
        let mut new = BTreeMap::new();
        for batch in group.batches() {
            let model = &mut self.models[batch.stream as usize];
            assert_eq!(batch.batch.first, model.last + 1, "a hole, or a repeat");
            let mut last_time_us = 0;
            for message in batch.messages() {
                let said = said(message.delivery);
                assert_eq!((said.sequence, said.topic.as_str()), (message.sequence, message.topic));
                assert_eq!(said.stream, NAMES[batch.stream as usize]);
                assert!(said.time_us >= last_time_us);
                last_time_us = said.time_us;
                model.last += 1;
                assert_eq!(message.sequence, model.last);
                let number = std::str::from_utf8(&said.payload).unwrap().split(' ').next().unwrap().parse().unwrap();
                assert_eq!(new.insert(number, message.sequence), None);
                model.kept.insert(message.sequence, Message { topic: said.topic, id: None, payload: said.payload });
            }
            assert_eq!(batch.batch.last, model.last);
            assert_eq!(batch.batch.bounds.last, model.last);
            model.cut(batch.batch.bounds.first);
        }
        new
    }

    fn check_outcome(
        &mut self,
        stream: u32,
        message: &Message,
        outcome: &Outcome,
        new: Option<&u64>,
        had_failed: bool,
    ) {
        let has_failed = self.has_failed();
        let epoch = self.bench().epoch(stream);
        let model = &mut self.models[stream as usize];
        let key = message.id.map(|id| (message.topic.clone(), id));
        match outcome {
            Outcome::Kept { stream: of, sequence, epoch: in_epoch, duplicate: false } => {
                assert_eq!((*of, Some(sequence), in_epoch), (stream, new, &epoch), "told with or before its answer");
                assert!(!(had_failed && is_on_disk(stream)));
                if let Some(key) = key {
                    assert_eq!(model.ids.insert(key, *sequence), None, "an id that was known is kept again");
                }
                if let Some(kept) = model.kept.get_mut(sequence) {
                    assert_eq!((&kept.topic, &kept.payload), (&message.topic, &message.payload));
                    kept.id = message.id;
                }
            }
            Outcome::Kept { stream: of, sequence, epoch: in_epoch, duplicate: true } => {
                assert_eq!((*of, in_epoch, new), (stream, &epoch, None));
                assert!(*sequence <= model.last, "of something that is not committed");
                if let Some(first) = key.and_then(|key| model.ids.get(&key)) {
                    assert_eq!(sequence, first);
                }
            }
            Outcome::Refused(Refusal::NotKnown) => {
                assert!(has_failed && !had_failed && is_on_disk(stream) && new.is_none());
                model.unknown.push_back(message.clone());
            }
            Outcome::Refused(Refusal::Stopped) => assert!(has_failed && is_on_disk(stream) && new.is_none()),
            Outcome::Refused(Refusal::UnexpectedLast { .. }) => assert!(new.is_none()),
            Outcome::Refused(other) => panic!("{other}"),
        }
    }

    /// Takes over what was told without answers.
    fn take_told(&mut self) {
        let told: Vec<_> = (0..SHARDS).map(|shard| self.recorder.take(shard as usize)).collect();
        assert_eq!(told[0].len(), told[1].len());
        for group in groups_of(&told[0]) {
            for batch in group.batches() {
                assert!(batch.is_empty());
                let model = &mut self.models[batch.stream as usize];
                assert_eq!((batch.batch.first, batch.batch.last), (model.last + 1, model.last));
                assert!(batch.batch.bounds.first >= model.first);
                model.cut(batch.batch.bounds.first);
            }
        }
    }

    fn maintain(&mut self) {
        let (now_us, had_failed) = (self.now_us, self.has_failed());
        self.bench().disk().maintain(now_us);
        self.bench().memory.maintain(now_us);
        let has_failed = self.has_failed();
        for stream in [0, 2] {
            let bounds = self.bench().bounds(stream);
            if !is_on_disk(stream) || !has_failed {
                assert!(bounds.last + 1 - bounds.first <= MAX_MESSAGES);
            }
        }
        self.models[0].is_front_unknown |= has_failed;
        // On a full disk retention works on; after another failure it does not.
        let is_replaced = self.bench().content(1).len() < self.models[1].kept.len();
        if is_replaced || (!had_failed && !has_failed) {
            self.models[1].replace();
        }
    }

    fn ask<T>(
        &mut self,
        stream: u32,
        request: impl FnOnce(mpsc::Sender<Result<T, AdminError>>) -> AdminRequest,
    ) -> Result<T, AdminError> {
        let (answer, answered) = mpsc::channel();
        let now_us = self.now_us;
        let durability = if is_on_disk(stream) { Durability::Disk } else { Durability::Memory };
        self.bench().committer(durability).administer(now_us, request(answer));
        answered.recv().unwrap()
    }

    fn purge(&mut self, stream: u32, keep: u64) {
        let first = (self.models[stream as usize].last + 1).saturating_sub(keep);
        let purged = self.ask(stream, |answer| AdminRequest::Purge { stream, purge: Purge::Before(first), answer });
        match purged {
            Ok(purged) => {
                assert_eq!(purged.first, first.max(self.models[stream as usize].first));
                self.take_told();
                assert_eq!(self.models[stream as usize].first, purged.first);
            }
            Err(_) => self.models[stream as usize].is_front_unknown = true,
        }
    }

    fn remove(&mut self, stream: u32) {
        let removed = self.ask(stream, |answer| AdminRequest::Remove { stream, answer });
        match removed {
            Ok(epoch) => {
                self.models[stream as usize] = Model { first: 1, epoch: Some(epoch), ..Model::default() };
            }
            Err(_) => self.models[stream as usize].is_epoch_unknown = true,
        }
    }

    fn renew(&mut self, stream: u32) {
        let renewed = self.ask(stream, |answer| AdminRequest::RenewEpoch { stream, answer });
        match renewed {
            Ok(epoch) => self.models[stream as usize].epoch = Some(epoch),
            Err(_) => self.models[stream as usize].is_epoch_unknown = true,
        }
    }

    fn reopen(&mut self) {
        let had_failed = self.has_failed();
        let report = self.ask(0, |answer| AdminRequest::Reopen { answer }).unwrap();
        assert!(report.iter().all(|finding| !finding.is_loss) || had_failed, "{report:?}");
        if had_failed {
            for shard in 0..SHARDS {
                assert_eq!(self.recorder.take(shard as usize).len(), 1);
            }
            (0..MEMORY).for_each(|stream| self.recognise(stream));
        }
        assert!(!self.has_failed());
    }

    fn restart(&mut self) {
        self.bench = None;
        self.disk.heal();
        let bench = bench(&self.disk, &definitions(), &self.recorder, self.now_us).unwrap();
        self.bench = Some(bench);
        (0..MEMORY).for_each(|stream| self.recognise(stream));
        let epoch = self.bench().epoch(MEMORY);
        assert_ne!(Some(&epoch), self.models[MEMORY as usize].epoch.as_ref());
        self.models[MEMORY as usize] = Model { first: 1, epoch: Some(epoch), ..Model::default() };
    }

    /// Takes over what an opening may decide: how much of what nobody knew is there.
    fn recognise(&mut self, stream: u32) {
        let (bounds, epoch) = (self.bench().bounds(stream), self.bench().epoch(stream));
        let content = self.bench().content(stream);
        let epochs = self.bench().shared.stream(stream).unwrap().read().stream().epochs().clone();
        let model = &mut self.models[stream as usize];
        if model.epoch.as_ref().is_some_and(|known| *known != epoch) {
            let same_through = epochs.translate(model.epoch.as_ref().unwrap(), u64::MAX);
            if model.is_epoch_unknown && same_through.is_none() {
                *model = Model { first: 1, ..Model::default() };
            } else {
                // Renewed, or repaired because a torn end looks like damage: but nothing that was told is lost.
                assert!(same_through.unwrap() >= model.last);
            }
        }
        model.epoch = Some(epoch);
        model.is_epoch_unknown = false;
        assert!(bounds.last >= model.last, "what was told is lost");
        let mut unknown = std::mem::take(&mut model.unknown).into_iter();
        for sequence in model.last + 1..=bounds.last {
            let said = content.iter().find(|said| said.sequence == sequence);
            // What nobody knew is there in order, or not at all.
            let message = unknown.find(|message| said.is_none_or(|said| said.payload == message.payload)).unwrap();
            model.last = sequence;
            if said.is_some() {
                if let Some(id) = message.id {
                    model.ids.insert((message.topic.clone(), id), sequence);
                }
                model.kept.insert(sequence, message);
            }
        }
        assert!(bounds.first >= model.first);
        assert!(bounds.first == model.first || std::mem::take(&mut model.is_front_unknown), "{bounds:?} {model:?}");
        model.cut(bounds.first);
        if stream == 1 {
            // Every replacement is said again.
            model.replace();
        }
        // Ids of what was taken away may be forgotten.
        let Model { kept, ids, .. } = model;
        ids.retain(|_, sequence| kept.contains_key(sequence));
    }

    fn check(&mut self) {
        for stream in 0..3 {
            let content = self.bench().content(stream);
            let bounds = self.bench().bounds(stream);
            let model = &self.models[stream as usize];
            assert_eq!((bounds.first, bounds.last), (model.first, model.last));
            let is_it = |said: &Said| {
                let message = &model.kept[&said.sequence];
                assert_eq!((&message.topic, &message.payload), (&said.topic, &said.payload));
            };
            content.iter().filter(|said| model.kept.contains_key(&said.sequence)).for_each(is_it);
            let found: Vec<_> = content.iter().map(|said| said.sequence).collect();
            let kept: Vec<_> = model.kept.keys().copied().collect();
            assert_eq!(found, kept, "stream {stream}");
            assert!(content.is_sorted_by_key(|said| said.time_us));
        }
    }
}

impl Model {
    fn cut(&mut self, first: u64) {
        self.first = self.first.max(first);
        self.kept = self.kept.split_off(&self.first);
    }

    /// Only the newest of each topic counts.
    fn replace(&mut self) {
        let newest: BTreeMap<_, _> = self.kept.iter().map(|(sequence, it)| (it.topic.clone(), *sequence)).collect();
        self.kept.retain(|sequence, it| newest[&it.topic] == *sequence);
    }
}

/// The groups with batches that a shard was told.
fn groups_of(told: &[Committed]) -> Vec<Arc<Group>> {
    let groups = told.iter().map(|committed| Arc::clone(&committed.group));
    groups.filter(|group| !group.batches().is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::long_runs::cases(150), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_kept_and_each_is_answered_once(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
        }
        world.run(&Op::Crash { seed: 1 });
    }
}
