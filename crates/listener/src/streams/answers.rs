//! What publishers into streams are answered.

use carillon_metrics::{RefusalReason, ShardMetrics};
use carillon_streams::{
    keeper::{Answer, Outcome},
    stream::Refusal,
};
use carillon_wire::{
    BrokerMessage, ErrorCode, Id,
    broker_message::{ErrorReply, OkReply},
};

/// When to publish again where the store has failed: an operator has to do something about it.
const RETRY_AFTER_MS: u64 = 5_000;

/// Appends an answer. A publication without a request's id is only told that it was refused.
pub(super) fn encode<'s>(answer: &Answer, name: impl Fn(u32) -> &'s str, metrics: &ShardMetrics, out: &mut Vec<u8>) {
    let id = answer.request.and_then(Id::new);
    match &answer.outcome {
        Outcome::Kept { stream, sequence, epoch, duplicate } => {
            if !duplicate {
                metrics.messages_received.inc();
            }
            let Some(id) = id else { return };
            let reply = OkReply {
                id,
                stream: Some(name(*stream)),
                sequence: Some(*sequence),
                epoch: Some(epoch.as_str()),
                is_duplicate: *duplicate,
                resumed: None,
            };
            BrokerMessage::Ok(reply).encode(out);
        }
        Outcome::Refused(refusal) => {
            let (code, reason) = code_of(refusal);
            metrics.publications_refused.of(reason).inc();
            let (last_sequence, retry_after_ms) = match refusal {
                Refusal::UnexpectedLast { last, .. } => (Some(*last), None),
                Refusal::Stopped | Refusal::NotKnown => (None, Some(RETRY_AFTER_MS)),
                _ => (None, None),
            };
            let message = refusal.to_string();
            let error = ErrorReply { id, code, message: &message, retry_after_ms, last_sequence };
            BrokerMessage::Error(error).encode(out);
        }
    }
}

fn code_of(refusal: &Refusal) -> (ErrorCode, RefusalReason) {
    match refusal {
        Refusal::UnexpectedLast { .. } => (ErrorCode::UnexpectedSequence, RefusalReason::UnexpectedSequence),
        Refusal::TooManyTopics { .. } | Refusal::Exhausted => (ErrorCode::StreamFull, RefusalReason::StreamFull),
        Refusal::TooLarge { .. } => (ErrorCode::PayloadTooLarge, RefusalReason::PayloadTooLarge),
        Refusal::MessageId { .. } => (ErrorCode::BadRequest, RefusalReason::BadRequest),
        Refusal::Stopped | Refusal::NotKnown => (ErrorCode::StreamUnavailable, RefusalReason::StreamUnavailable),
        _ => (ErrorCode::Internal, RefusalReason::StreamUnavailable),
    }
}
