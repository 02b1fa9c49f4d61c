//! Accepts the admin listener's connections and bounds them in number and time.

use std::{convert::Infallible, net::TcpListener, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, Semaphore, oneshot},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Settings,
    answer::{Answers, Next},
};

/// Out of file descriptors, accepting fails at once and would be tried without end.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Serves until `stopped` resolves. Connections that are being answered then are cut.
pub(super) async fn serve(listener: TcpListener, settings: Settings, answers: Answers, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin listener cannot listen");
            return;
        }
    };
    tokio::select! {
        () = accept(listener, Arc::new(settings), Arc::new(answers)) => {}
        _ = stopped => {}
    }
}

async fn accept(listener: tokio::net::TcpListener, settings: Arc<Settings>, answers: Arc<Answers>) {
    let acceptor = settings.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
    let places = Arc::new(Semaphore::new(settings.max_connections));
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not accept a connection");
                sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (settings, answers, acceptor) = (Arc::clone(&settings), Arc::clone(&answers), acceptor.clone());
        tokio::spawn(async move {
            let is_change = Notify::new();
            tokio::select! {
                () = connection(socket, acceptor, &settings, answers, &is_change) => {}
                () = deadline(&settings, &is_change) => tracing::debug!("an admin connection took too long"),
            }
            drop(place);
        });
    }
}

/// The end of a connection's time: later where something is to change.
async fn deadline(settings: &Settings, is_change: &Notify) {
    tokio::select! {
        () = sleep(settings.connection_deadline) => {}
        () = is_change.notified() => sleep(settings.change_deadline).await,
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: Option<TlsAcceptor>,
    settings: &Settings,
    answers: Arc<Answers>,
    is_change: &Notify,
) {
    let Some(acceptor) = acceptor else { return http(socket, settings, answers, is_change).await };
    match timeout(settings.head_deadline, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => http(socket, settings, answers, is_change).await,
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection's TLS handshake failed"),
        Err(_) => tracing::debug!("an admin connection's TLS handshake took too long"),
    }
}

async fn http(io: impl AsyncRead + AsyncWrite + Unpin, settings: &Settings, answers: Arc<Answers>, is_change: &Notify) {
    let service = service_fn(|request: Request<Incoming>| {
        let next = answers.begin(&request);
        if matches!(&next, Next::Job(job) if job.is_change()) {
            is_change.notify_one();
        }
        async move {
            Ok::<_, Infallible>(match next {
                Next::Answer(answer) => answer,
                Next::Job(job) => job.run().await,
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_deadline)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection failed");
    }
}
