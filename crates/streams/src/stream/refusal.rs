//! Why a stream refuses: publications, and changes of its definition.

use carillon_wire::{MAX_MESSAGE_ID_BYTES, TopicBuf};

use super::{
    definition::{Definition, Durability, StreamName},
    state::Stream,
};

/// Why a publication is not kept. The texts are for the publisher's developer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The topic's last sequence is not the one that the publisher demands.
    #[error(
        "the last sequence of the topic is {last}, not {expected} as expected (0: none is kept); read what came \
         meanwhile, and decide again"
    )]
    UnexpectedLast {
        /// What the publisher demands.
        expected: u64,
        /// What is so.
        last: u64,
    },
    /// One topic more than the definition allows.
    #[error("the stream has {max} topics, which is the most; publish to one of them, or ask the operator for more")]
    TooManyTopics {
        /// The bound.
        max: u32,
    },
    /// Larger than everything that the stream may keep.
    #[error("the message counts {bytes} bytes; this stream keeps at most {max} in all")]
    TooLarge {
        /// Of the message.
        bytes: u64,
        /// Of the stream.
        max: u64,
    },
    /// An empty or too long id.
    #[error("the message id has {bytes} bytes; one has 1 to {MAX_MESSAGE_ID_BYTES}")]
    MessageId {
        /// It has.
        bytes: usize,
    },
    /// A write failed, and until the operator has seen to it nothing can be kept for sure.
    #[error("the stream takes no publications now: its store has failed; try again later")]
    Stopped,
    /// It was in flight when a write failed. It may turn out to be kept once the store is opened again.
    #[error(
        "whether the message was kept is not known, because a write to the store failed; publish it again with the same \
         message id once the stream takes publications"
    )]
    NotKnown,
    /// What came to the stream cannot have been made for it.
    #[error("the broker could not make sense of its own encoding of the message; that is a defect of the broker")]
    Malformed,
    /// No sequence is left.
    #[error("the stream has used up its sequence numbers; the operator must make a new one")]
    Exhausted,
}

/// Whether a stream may get a new definition (`None`: may be taken out of the configuration): not if kept messages would
/// be lost, or could not be reached any more. Retention may become tighter: that is what it is for.
pub fn check_change(stream: &Stream, new: Option<&Definition>) -> Result<(), ChangeRefused> {
    let old = stream.definition();
    let refused = |fault| Err(ChangeRefused { stream: old.name.clone(), fault });
    let bounds = stream.bounds();
    // Its topics alone do not tell: those of damaged messages are not known.
    if stream.topic_count() == 0 && bounds.first > bounds.last {
        return Ok(());
    }
    let Some(new) = new else { return refused(ChangeFault::Removed) };
    if new.durability != old.durability {
        return refused(ChangeFault::Durability { from: old.durability, to: new.durability });
    }
    let is_lost = |topic: &TopicBuf| !new.patterns.iter().any(|it| it.as_pattern().matches(topic.as_topic()));
    match stream.topics().map(|(topic, _)| topic).find(|topic| is_lost(topic)) {
        Some(topic) => refused(ChangeFault::Topic { topic: topic.clone() }),
        None => Ok(()),
    }
}

/// A change of a definition that would lose kept messages. The text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream `{stream}` cannot be changed so: {fault}")]
pub struct ChangeRefused {
    /// Which.
    pub stream: StreamName,
    /// Why.
    pub fault: ChangeFault,
}

/// How a change would lose kept messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeFault {
    /// It is no longer defined.
    #[error("it is no longer defined, but has messages; define it as before, or remove it with its messages first")]
    Removed,
    /// Messages do not move between memory and disk.
    #[error(
        "it has messages, which cannot move from {from} to {to}; purge it first, or define another stream under \
         another name once this one is removed"
    )]
    Durability {
        /// As it is.
        from: Durability,
        /// As it was asked for.
        to: Durability,
    },
    /// A topic would no longer be the stream's.
    #[error(
        "it keeps messages of topic `{topic}`, which none of its new patterns matches; keep a pattern for it, or \
             purge the stream first"
    )]
    Topic {
        /// The one with the oldest newest message of those.
        topic: TopicBuf,
    },
}
