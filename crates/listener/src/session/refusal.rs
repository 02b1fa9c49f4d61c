//! How a refusal is told to the client, and how it is counted for the operator.

use carillon_metrics::{RefusalReason, ShardMetrics};
use carillon_router::SubscribeError;
use carillon_wire::ErrorCode;

use crate::streams::NotStarted;

pub(super) fn count_refused(metrics: &ShardMetrics, is_publication: bool, code: ErrorCode) {
    if !is_publication {
        metrics.requests_refused.inc();
        return;
    }
    let reason = match code {
        ErrorCode::InvalidTopic => RefusalReason::InvalidTopic,
        ErrorCode::ReservedTopic => RefusalReason::ReservedTopic,
        ErrorCode::PayloadTooLarge => RefusalReason::PayloadTooLarge,
        ErrorCode::Forbidden => RefusalReason::Forbidden,
        ErrorCode::Overloaded => RefusalReason::Overloaded,
        ErrorCode::NoStream => RefusalReason::NoStream,
        ErrorCode::RateExceeded | ErrorCode::QuotaExceeded => RefusalReason::QuotaExceeded,
        _ => RefusalReason::BadRequest,
    };
    metrics.publications_refused.of(reason).inc();
}

/// Why a subscription does not start, or history is not read.
pub(super) fn not_started_code(error: &NotStarted) -> ErrorCode {
    match error {
        NotStarted::NoStream => ErrorCode::NoStream,
        NotStarted::InvalidStart(_) => ErrorCode::InvalidStart,
        NotStarted::TooManyHistories => ErrorCode::Overloaded,
        NotStarted::Subscribe(error) => subscribe_code(error),
    }
}

fn subscribe_code(error: &SubscribeError) -> ErrorCode {
    match error {
        SubscribeError::IdInUse { .. } => ErrorCode::IdInUse,
        SubscribeError::TooManySubscriptions { .. } | SubscribeError::TooManyEqual { .. } => {
            ErrorCode::TooManySubscriptions
        }
        SubscribeError::TooManyWildcards { .. } => ErrorCode::InvalidPattern,
        SubscribeError::UnsupportedOverflow { .. } => ErrorCode::Unsupported,
        SubscribeError::TableFull => ErrorCode::Overloaded,
        _ => ErrorCode::Internal,
    }
}
