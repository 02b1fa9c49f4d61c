//! What each route answers.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use carillon_metrics::{CONTENT_TYPE, Exporter};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{
        ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use subtle::ConstantTimeEq;

use super::{
    NotReady, Readiness,
    streams::{Job, Streams},
    watch,
};
use crate::config::Secret;

const TEXT: &str = "text/plain; charset=utf-8";
const WATCH_ROUTE: &str = "/watch    a page that shows what the broker delivers\n";
const ROUTES: &str = "\
/metrics  all that is counted, for Prometheus
/healthz  200 while the process lives
/readyz   200 while the broker takes connections and publications, else 503 with the reasons
/streams  what is kept, in JSON; `carillon stream` asks for it
";

/// What answers are made of.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) exporter: Exporter,
    pub(super) readiness: Arc<Readiness>,
    pub(super) token: Option<Secret>,
    /// Where the page at `/watch` connects; without it, there is no such page.
    pub(super) watched: Arc<OnceLock<SocketAddr>>,
    pub(super) streams: Streams,
}

pub(super) type Answer = Response<Full<Bytes>>;

/// What a request leads to.
pub(super) enum Next {
    /// An answer, at once.
    Answer(Answer),
    /// Something that takes time.
    Job(Job),
}

impl Answers {
    /// What one request leads to. Its body is not read: no route has a use for one.
    pub(super) fn begin<B: Body>(&self, request: &Request<B>) -> Next {
        if self.allows(request)
            && let Some(next) = self.streams.begin(request, self.token.is_some())
        {
            return next;
        }
        Next::Answer(self.answer(request))
    }

    fn answer<B>(&self, request: &Request<B>) -> Answer {
        if !self.allows(request) {
            let mut answer =
                text(StatusCode::UNAUTHORIZED, "the header `Authorization: Bearer` with the admin token is needed\n");
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"carillon admin\""));
            return answer;
        }
        let route: fn(&Self) -> Answer = match request.uri().path() {
            "/" => |answers| text(StatusCode::OK, answers.routes()),
            "/metrics" => Self::metrics,
            "/healthz" => |_| text(StatusCode::OK, "ok\n"),
            "/readyz" => Self::ready,
            "/watch" => Self::watch,
            _ => return self.missing(),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed here\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        route(self)
    }

    fn missing(&self) -> Answer {
        text(StatusCode::NOT_FOUND, format!("there is no such route; there are:\n{}", self.routes()))
    }

    fn routes(&self) -> String {
        let watch = if self.watched.get().is_some() { WATCH_ROUTE } else { "" };
        format!("{ROUTES}{watch}")
    }

    fn allows<B>(&self, request: &Request<B>) -> bool {
        let Some(token) = &self.token else { return true };
        let Some(credentials) = request.headers().get(AUTHORIZATION) else { return false };
        let Some((scheme, given)) = credentials.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return false;
        };
        // Takes as long for a token that is nearly right as for any other of its length.
        let same = given.trim().as_bytes().ct_eq(token.expose().as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && bool::from(same)
    }

    fn metrics(&self) -> Answer {
        match self.exporter.render() {
            Ok(page) => with_type(StatusCode::OK, CONTENT_TYPE, page),
            Err(error) => {
                tracing::error!(%error, "no page for Prometheus");
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
            }
        }
    }

    fn watch(&self) -> Answer {
        self.watched.get().map_or_else(|| self.missing(), |&broker| watch::page(broker))
    }

    fn ready(&self) -> Answer {
        let reasons = self.readiness.reasons();
        if reasons.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        let lines: Vec<_> = reasons.iter().map(NotReady::reason).collect();
        text(StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n")
    }
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, TEXT, body)
}

pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE_HEADER, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
