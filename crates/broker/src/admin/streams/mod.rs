//! The routes about streams: what is kept, its messages, and what an operator may change while the broker runs.
//!
//! | route | answer |
//! |---|---|
//! | `GET /streams` | all streams and their store |
//! | `GET /streams/NAME` | one stream |
//! | `GET /streams/NAME/messages?from=SEQUENCE` | a page of its messages, one JSON object on each line; [`wanted`] tells what else can be asked |
//! | `POST /streams/NAME/purge?before=SEQUENCE` (or `all=true`) | takes its oldest messages away |
//! | `POST /streams/NAME/rm` | takes it away with all its messages; it begins anew |
//! | `POST /streams/NAME/renew-epoch` | gives it another epoch, after a restore |
//! | `POST /store/reopen` | opens the store again after a failure |
//!
//! What went wrong is a JSON object with the key `error` and a text for the operator.
//!
//! # Where the work is done
//! All of it may wait for the disk, so it is done on threads beside the listener's own, never on a shard's. Changes are made
//! one after the other. Once begun, a change is made to its end, whether or not somebody still waits for the answer.
//!
//! # Whom it is kept from
//! On loopback the listener needs no token, so each local program may ask; but a web page that an operator looks at must
//! not, though it runs on the same machine ([`guard`]).

pub(crate) mod guard;
mod messages;
mod wanted;
mod work;

use std::sync::{Arc, OnceLock};

use carillon_streams::{
    keeper::{Keeper, Purge},
    stream::StreamName,
};
use hyper::{
    Method, Request, StatusCode,
    body::Body,
    header::{ALLOW, HeaderValue},
};
use serde::Serialize;
use tokio::sync::Semaphore;

use self::wanted::Wanted;
use super::{
    answer::{Answer, Next, with_type},
    documents::Refused,
};
use crate::query::Query;

const JSON: &str = "application/json";
/// One JSON object on each line.
const JSON_LINES: &str = "application/x-ndjson";

/// The streams of the broker, for the routes.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// Not set while they are being opened; nothing where none is defined.
    keeper: Arc<OnceLock<Option<Keeper>>>,
    /// Whoever makes a change holds it.
    changes: Arc<Semaphore>,
}

/// What is asked for.
#[derive(Debug)]
enum Asked {
    List,
    Info(StreamName),
    Messages(StreamName, Wanted),
    Purge(StreamName, Purge),
    Remove(StreamName),
    RenewEpoch(StreamName),
    Reopen,
}

/// A request that makes sense and may be done.
#[derive(Debug)]
pub(super) struct Job {
    asked: Asked,
    streams: Streams,
}

/// Why something is not done, with the status that says so.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    text: String,
    /// The methods that are allowed, where it is for another one.
    allowed: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), allowed: None }
    }

    fn answer(self) -> Answer {
        let mut answer = json(self.status, &Refused { error: self.text });
        if let Some(methods) = self.allowed {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        answer
    }
}

impl Streams {
    pub(super) fn new(keeper: Arc<OnceLock<Option<Keeper>>>) -> Self {
        Self { keeper, changes: Arc::new(Semaphore::new(1)) }
    }

    /// What a request leads to; `None`: it is not for a route of streams.
    pub(super) fn begin<B: Body>(&self, request: &Request<B>, has_token: bool) -> Option<Next> {
        let route = Route::of(request.uri().path())?;
        let asked = route
            .check_method(request.method())
            .and_then(|()| guard::check(request, route.is_change(), has_token))
            .and_then(|()| route.asked(request.uri().query().unwrap_or_default()));
        Some(match asked {
            Ok(asked) => Next::Job(Job { asked, streams: self.clone() }),
            Err(refusal) => Next::Answer(refusal.answer()),
        })
    }

    fn keeper(&self) -> Result<Option<&Keeper>, Refusal> {
        let starting = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is starting; ask again soon");
        self.keeper.get().map(Option::as_ref).ok_or_else(starting)
    }
}

impl Job {
    /// Whether something is to change; that may take longer than to look at it.
    pub(super) fn is_change(&self) -> bool {
        !matches!(self.asked, Asked::List | Asked::Info(_) | Asked::Messages(..))
    }

    /// Does it. Dropped before it is ready, a change that was begun goes on.
    pub(super) async fn run(self) -> Answer {
        // The semaphore is never closed.
        let turn = if self.is_change() { Arc::clone(&self.streams.changes).acquire_owned().await.ok() } else { None };
        let done = tokio::task::spawn_blocking(move || {
            let done = work::work(&self.streams, self.asked);
            drop(turn);
            done
        });
        match done.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => refusal.answer(),
            Err(error) => {
                tracing::error!(%error, "a request to the admin listener was not done");
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "it was not done; the broker's log says why").answer()
            }
        }
    }
}

/// A path that means something, and the method that belongs to it.
#[derive(Debug)]
struct Route<'p> {
    method: Method,
    /// Empty where it is not about one stream.
    name: &'p str,
    what: &'p str,
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Option<Self> {
        if path == "/store/reopen" {
            return Some(Self { method: Method::POST, name: "", what: "reopen" });
        }
        let below = path.strip_prefix("/streams")?;
        let Some(below) = below.strip_prefix('/') else {
            return below.is_empty().then_some(Self { method: Method::GET, name: "", what: "list" });
        };
        let (name, what) = below.split_once('/').unwrap_or((below, "info"));
        let method = match what {
            "info" if below == name => Method::GET,
            "messages" => Method::GET,
            "purge" | "rm" | "renew-epoch" => Method::POST,
            _ => return None,
        };
        Some(Self { method, name, what })
    }

    fn is_change(&self) -> bool {
        self.method == Method::POST
    }

    fn check_method(&self, method: &Method) -> Result<(), Refusal> {
        let (is_allowed, methods) = if self.is_change() {
            (*method == Method::POST, "POST")
        } else {
            (matches!(*method, Method::GET | Method::HEAD), "GET, HEAD")
        };
        if is_allowed {
            return Ok(());
        }
        let text = format!("allowed here: {methods}");
        Err(Refusal { allowed: Some(methods), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text) })
    }

    fn asked(&self, query: &str) -> Result<Asked, Refusal> {
        let wrong = |text: String| Refusal::new(StatusCode::BAD_REQUEST, text);
        let mut query = Query::parse(query).map_err(wrong)?;
        let name = || StreamName::new(self.name).map_err(|error| wrong(error.to_string()));
        let asked = match self.what {
            "list" => Asked::List,
            "info" => Asked::Info(name()?),
            "messages" => Asked::Messages(name()?, Wanted::take(&mut query).map_err(wrong)?),
            "purge" => Asked::Purge(name()?, purge(&mut query).map_err(wrong)?),
            "rm" => Asked::Remove(name()?),
            "renew-epoch" => Asked::RenewEpoch(name()?),
            _ => Asked::Reopen,
        };
        let known = match self.what {
            "messages" => wanted::KNOWN,
            "purge" => "before, all",
            _ => "nothing",
        };
        query.finish(known).map_err(wrong)?;
        Ok(asked)
    }
}

fn purge(query: &mut Query) -> Result<Purge, String> {
    match (query.take_number("before", 1)?, query.take("all").as_deref()) {
        (Some(sequence), None) => Ok(Purge::Before(sequence)),
        (None, Some("true")) => Ok(Purge::All),
        _ => Err("say what to take away: before=SEQUENCE, the first that stays, or all=true".to_owned()),
    }
}

fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    match serde_json::to_vec(document) {
        Ok(mut body) => {
            body.push(b'\n');
            with_type(status, JSON, body)
        }
        // Strings and numbers always have a JSON form.
        Err(error) => {
            with_type(StatusCode::INTERNAL_SERVER_ERROR, JSON, format!("{{\"error\":{:?}}}\n", error.to_string()))
        }
    }
}
