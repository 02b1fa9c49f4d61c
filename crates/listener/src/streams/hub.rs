//! What the hub does with streams, where there are any.

use std::sync::Arc;

use carillon_router::ConnectionKey;
use carillon_streams::keeper::{Answer, Group, ReadReply, ReadRequest};

use carillon_wire::{Id, PatternBuf};

use super::{HistoryReader, Progress, Told, answers};
use crate::hub::Hub;

impl Hub {
    /// Makes readers of those who have just fallen behind.
    pub(crate) fn take_fallen(&mut self) {
        if self.router.has_fallen()
            && let Some(streams) = &mut self.streams
        {
            streams.take_slow(&mut self.router);
        }
    }

    /// What was committed is about to be delivered.
    pub(crate) fn begin_group(&mut self, group: &Arc<Group>) {
        if let Some(streams) = &mut self.streams {
            streams.begin_group(&mut self.router, group);
        }
    }

    /// Delivers what was committed, as far as the turn goes; whether there is more.
    pub(crate) fn deliver_group(&mut self, progress: &mut Progress) -> bool {
        let Self { router, streams, work_left, .. } = self;
        let Some(streams) = streams else { return false };
        streams.deliver(router, progress, |work| {
            *work_left = work_left.saturating_sub(WORK_FOR_EACH_KEPT_MESSAGE + work);
            *work_left > 0
        })
    }

    /// The keeper has answered a read.
    pub(crate) fn on_reply(&mut self, reply: ReadReply) -> Option<Told> {
        let told = self.streams.as_mut()?.on_reply(&mut self.router, reply)?;
        if told.is_refusal {
            self.metrics.requests_refused.inc();
        }
        Some(told)
    }

    /// Puts answers to publications behind what is there.
    pub(crate) fn encode_answers(&mut self, answers: &[Answer], out: &mut Vec<u8>) {
        self.work_left = self.work_left.saturating_sub(WORK_FOR_EACH_ANSWER * answers.len());
        let Some(streams) = &self.streams else { return };
        for answer in answers {
            answers::encode(answer, |stream| streams.name(stream), &self.metrics, out);
        }
    }

    /// Lets a connection that has room for it read on, as far as the turn goes. Whether there is more to do at once.
    pub(crate) fn read_on(&mut self, key: ConnectionKey) -> bool {
        let Self { router, streams, work_left, .. } = self;
        let Some(streams) = streams else { return false };
        streams.read_on(router, key, |looked_at| {
            *work_left = work_left.saturating_sub(WORK_FOR_EACH_STEP + looked_at);
            *work_left > 0
        })
    }

    /// Tells those who can resume where. It is to leave before anything that waits for the connection.
    pub(crate) fn tell_positions(&mut self, key: ConnectionKey, out: &mut Vec<u8>) {
        if let Some(streams) = &mut self.streams {
            streams.tell_positions(&self.router, key, out);
        }
    }

    /// Takes what is to be read, for the keeper.
    pub(crate) fn take_reads(&mut self) -> impl Iterator<Item = ReadRequest> {
        self.streams.iter_mut().flat_map(|streams| streams.take_reads())
    }

    /// What is done for streams each second.
    pub(crate) fn tick(&mut self) {
        if let Some(streams) = &mut self.streams {
            streams.tick();
        }
    }

    /// Who of a connection reads history, and what.
    pub(crate) fn history_readers(&self, key: ConnectionKey) -> Vec<(HistoryReader, PatternBuf)> {
        self.streams.as_ref().map(|streams| streams.history_readers(key)).unwrap_or_default()
    }

    /// A request for history is not answered with a page any more.
    pub(crate) fn forget_history(&mut self, key: ConnectionKey, request: Id) {
        if let Some(streams) = &mut self.streams {
            streams.forget_history(key, request);
        }
    }
}

/// What a message costs beside its deliveries, in the measure of a turn's work. It was encoded where it was published.
const WORK_FOR_EACH_KEPT_MESSAGE: usize = 64;
/// What an answer costs.
const WORK_FOR_EACH_ANSWER: usize = 64;
/// What a reader costs that is looked at.
const WORK_FOR_EACH_STEP: usize = 64;
