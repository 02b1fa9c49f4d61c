//! Asks an admin listener, over HTTP/1.1. Each request has a connection of its own, as the listener wants it.

use std::{io, pin::pin, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use crate::{
    admin::{documents::Refused, streams::guard},
    config::Secret,
};

/// A broker that is there takes a connection at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The listener itself gives up sooner on a request that only looks.
const LOOK_LIMIT: Duration = Duration::from_mins(1);
/// One message of 64 MiB always has room in a page, and JSON may write each of its bytes with six.
const MAX_ANSWER_BYTES: usize = 400 << 20;

/// Asks one admin listener.
#[derive(Debug)]
pub(super) struct AdminClient {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    tls: Option<(TlsConfig, ServerName<'static>)>,
}

type TlsConfig = Arc<ClientConfig>;

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no broker's admin listener can be reached at {endpoint}: {source}; --admin says where it is")]
    Connect { endpoint: Endpoint, source: io::Error },
    #[error("in the TLS handshake with {endpoint}: {source}; {}", advice(source))]
    Tls { endpoint: Endpoint, source: io::Error },
    #[error("{0} took the connection and does not answer in time")]
    Silent(Endpoint),
    #[error("what is at {0} speaks no HTTP; an admin listener with a certificate is asked over https://")]
    NotHttp(Endpoint),
    #[error("{endpoint} broke off: {source}")]
    Broken { endpoint: Endpoint, source: Box<dyn std::error::Error + Send + Sync> },
    /// The request is at fault.
    #[error("the broker refused: {text}")]
    Refused { text: String },
    /// The broker could not do it.
    #[error("the broker could not do it: {text}")]
    Failed { text: String },
    #[error(
        "what came back makes no sense to this version: {0}; is it a broker's admin listener, and of this version?"
    )]
    Unreadable(String),
}

impl AdminClient {
    /// The error is about what was given.
    pub(super) fn new(endpoint: Endpoint, token: Option<Secret>, tls: Option<TlsConfig>) -> Result<Self, String> {
        let authorization = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| "the admin token has characters that no header can have".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let name = ServerName::try_from(endpoint.host.clone());
        let tls = tls.map(|config| Ok::<_, String>((config, name.map_err(|error| error.to_string())?)));
        Ok(Self { authorization: authorization.transpose()?, tls: tls.transpose()?, endpoint })
    }

    /// Looks at something.
    pub(super) async fn get(&self, target: &str) -> Result<Bytes, AskError> {
        let silent = || AskError::Silent(self.endpoint.clone());
        timeout(LOOK_LIMIT, self.ask(Method::GET, target)).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Changes something; it takes as long as it takes.
    pub(super) async fn post(&self, target: &str) -> Result<Bytes, AskError> {
        self.ask(Method::POST, target).await
    }

    async fn ask(&self, method: Method, target: &str) -> Result<Bytes, AskError> {
        let failed = |source| AskError::Connect { endpoint: self.endpoint.clone(), source };
        let connecting = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port));
        let socket = timeout(CONNECT_LIMIT, connecting).await.map_err(io::Error::from).flatten().map_err(failed)?;
        let Some((config, name)) = &self.tls else { return self.exchange(socket, method, target).await };
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name.clone(), socket);
        let failed = |source| AskError::Tls { endpoint: self.endpoint.clone(), source };
        let stream = timeout(CONNECT_LIMIT, handshake).await.map_err(io::Error::from).flatten().map_err(failed)?;
        self.exchange(stream, method, target).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        method: Method,
        target: &str,
    ) -> Result<Bytes, AskError> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let request = self.request(method, target)?;
        let mut exchange = pin!(async {
            let (head, body) = sender.send_request(request).await.map_err(|error| self.broken(error))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|source| AskError::Broken { endpoint: self.endpoint.clone(), source })?;
            self.accept(head.status, body.to_bytes())
        });
        let mut connection = pin!(connection);
        let mut has_ended = false;
        loop {
            tokio::select! {
                biased;
                outcome = &mut exchange => return outcome,
                // Its errors are the exchange's too.
                _ = &mut connection, if !has_ended => has_ended = true,
            }
        }
    }

    fn request(&self, method: Method, target: &str) -> Result<Request<Empty<Bytes>>, AskError> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.endpoint.authority())
            .header(USER_AGENT, concat!("carillon/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .header(guard::HEADER, "1");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).map_err(|error| AskError::Unreadable(error.to_string()))
    }

    fn broken(&self, error: hyper::Error) -> AskError {
        if error.is_parse() && self.tls.is_none() {
            return AskError::NotHttp(self.endpoint.clone());
        }
        AskError::Broken { endpoint: self.endpoint.clone(), source: error.into() }
    }

    fn accept(&self, status: StatusCode, body: Bytes) -> Result<Bytes, AskError> {
        if status == StatusCode::OK {
            return Ok(body);
        }
        let text = match serde_json::from_slice(&body) {
            Ok(Refused { error }) => error,
            Err(_) if status == StatusCode::UNAUTHORIZED => {
                let wrong = if self.authorization.is_some() { "it wants another token" } else { "it wants a token" };
                format!("{wrong}: --admin-token-file, or CARILLON_ADMIN_TOKEN in the environment")
            }
            Err(_) => return Err(AskError::Unreadable(format!("HTTP status {status}"))),
        };
        Err(if status.is_client_error() { AskError::Refused { text } } else { AskError::Failed { text } })
    }
}

/// What to do about a handshake that failed.
fn advice(error: &io::Error) -> &'static str {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    if matches!(error, Some(rustls::Error::InvalidCertificate(_))) {
        "--ca names the authority to trust"
    } else {
        "an admin listener without a certificate is asked over http://"
    }
}

/// A document out of an answer.
pub(super) fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(answer).map_err(|error| AskError::Unreadable(error.to_string()))
}
