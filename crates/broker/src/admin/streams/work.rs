//! Does what the routes are asked for. Blocks.

use carillon_streams::{
    keeper::{AdminError, Found, Keeper, Purge, ReadFailed, StreamStatus},
    stream::{Durability, Epoch, StreamName},
};
use hyper::StatusCode;

use super::{Asked, JSON_LINES, Refusal, Streams, json, messages, wanted::Wanted};
use crate::{
    admin::{
        answer::{Answer, with_type},
        documents::{Finding, NewEpoch, Purged, Reopened, Stream, StreamAndStore, StreamList},
    },
    logging::log_findings,
};

pub(super) fn work(streams: &Streams, asked: Asked) -> Result<Answer, Refusal> {
    let keeper = streams.keeper()?;
    if matches!(asked, Asked::List) {
        return Ok(json(StatusCode::OK, &list(keeper)));
    }
    let none =
        || Refusal::new(StatusCode::NOT_FOUND, "no stream is defined; the broker's configuration defines streams");
    let keeper = keeper.ok_or_else(none)?;
    match asked {
        Asked::List => Ok(json(StatusCode::OK, &list(Some(keeper)))),
        Asked::Info(name) => info(keeper, &name),
        Asked::Messages(name, wanted) => page(keeper, &name, &wanted),
        Asked::Purge(name, purge) => purge_stream(keeper, &name, purge),
        Asked::Remove(name) => {
            let epoch = keeper.remove(&name)?;
            tracing::info!(stream = %name, %epoch, "an operator has removed the stream with its messages; it begins anew");
            Ok(new_epoch(&epoch))
        }
        Asked::RenewEpoch(name) => {
            let epoch = keeper.renew_epoch(&name)?;
            tracing::info!(stream = %name, %epoch, "an operator has given the stream another epoch");
            Ok(new_epoch(&epoch))
        }
        Asked::Reopen => reopen(keeper),
    }
}

fn list(keeper: Option<&Keeper>) -> StreamList {
    StreamList {
        streams: keeper.map(|keeper| keeper.status().iter().map(Stream::from).collect()).unwrap_or_default(),
        store: keeper.and_then(Keeper::store_status).map(Into::into),
    }
}

/// A stream as it is now, with its index.
fn find(keeper: &Keeper, name: &StreamName) -> Result<(u32, StreamStatus), Refusal> {
    let found = (0..).zip(keeper.status()).find(|(_, status)| status.definition.name == *name);
    found.ok_or_else(|| AdminError::NoStream { name: name.clone() }.into())
}

fn info(keeper: &Keeper, name: &StreamName) -> Result<Answer, Refusal> {
    let (_, status) = find(keeper, name)?;
    let is_on_disk = status.definition.durability == Durability::Disk;
    let store = keeper.store_status().filter(|_| is_on_disk).map(Into::into);
    Ok(json(StatusCode::OK, &StreamAndStore { stream: Stream::from(&status), store }))
}

fn page(keeper: &Keeper, name: &StreamName, wanted: &Wanted) -> Result<Answer, Refusal> {
    let (index, status) = find(keeper, name)?;
    let Found::History { origin, page, is_end } =
        keeper.read_blocking(index, &wanted.topics, &wanted.what(status.epochs.current()))?
    else {
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the broker found something else than messages"));
    };
    let lines = messages::lines(wanted, &origin, &page, is_end)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(with_type(StatusCode::OK, JSON_LINES, lines))
}

fn purge_stream(keeper: &Keeper, name: &StreamName, purge: Purge) -> Result<Answer, Refusal> {
    let purged = keeper.purge(name, purge)?;
    let (first, messages) = (purged.first, purged.messages);
    tracing::info!(stream = %name, first, messages, "an operator has purged the stream");
    Ok(json(StatusCode::OK, &Purged { first_sequence: first, messages }))
}

fn new_epoch(epoch: &Epoch) -> Answer {
    json(StatusCode::OK, &NewEpoch { epoch: epoch.to_string() })
}

fn reopen(keeper: &Keeper) -> Result<Answer, Refusal> {
    let findings = keeper.reopen()?;
    log_findings(&findings);
    let findings = findings.into_iter().map(|finding| Finding { is_loss: finding.is_loss, text: finding.text });
    Ok(json(StatusCode::OK, &Reopened { findings: findings.collect() }))
}

impl From<AdminError> for Refusal {
    fn from(error: AdminError) -> Self {
        let status = match error {
            AdminError::NoStream { .. } | AdminError::NoStore => StatusCode::NOT_FOUND,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ReadFailed> for Refusal {
    fn from(error: ReadFailed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}
