//! Echoes WebSocket messages over TLS with the broker's own frame decoder, for conformance suites that know nothing of
//! Carillon's protocol.
//!
//! Usage: `echo ADDRESS CERTIFICATE KEY`

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    future::{poll_fn, ready},
    pin::Pin,
    rc::Rc,
};

use carillon_listener::{
    Tls,
    websocket::{Decoder, Event, Kind, ProtocolError, frame},
};
use fastwebsockets::OpCode;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufRead, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What the largest cases of the suites need.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(certificate), Some(key)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: echo ADDRESS CERTIFICATE KEY".into());
    };
    let acceptor = TlsAcceptor::from(Tls::from_files(certificate, key)?.config());
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (tcp, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = serve(tcp, acceptor).await {
                    eprintln!("{error}");
                }
            });
        }
    })
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor) -> Result<(), Failure> {
    tcp.set_nodelay(true)?;
    let stream = acceptor.accept(tcp).await?;
    let is_upgraded = Rc::new(Cell::new(false));
    let upgraded = Rc::clone(&is_upgraded);
    let service = service_fn(move |request: Request<Incoming>| {
        upgraded.set(true);
        ready(Ok::<_, Infallible>(
            fastwebsockets::upgrade::upgrade(request).map_or_else(|_| hyper::Response::default(), |(answer, _)| answer),
        ))
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    poll_fn(|cx| connection.poll_without_shutdown(cx)).await?;
    let parts = connection.into_parts();
    if is_upgraded.get() { echo(parts.io.into_inner(), &parts.read_buf).await } else { Ok(()) }
}

async fn echo(mut stream: TlsStream<TcpStream>, early: &[u8]) -> Result<(), Failure> {
    let mut decoder = Decoder::new(MAX_MESSAGE_BYTES);
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    let mut chunk = early.to_vec();
    loop {
        let mut input = chunk.as_slice();
        let is_closing = loop {
            match decoder.decode(&mut input, &mut scratch) {
                Ok(None) => break false,
                Ok(Some(event)) => {
                    if answer(&event, &mut out) {
                        break true;
                    }
                }
                Err(error) => {
                    close(error, &mut out);
                    break true;
                }
            }
        };
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        if is_closing {
            stream.shutdown().await?;
            // What the client still sends is read, so that its socket is not reset before it has seen the close.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            return Ok(());
        }
        chunk = poll_fn(|cx| Pin::new(&mut stream).poll_fill_buf(cx).map_ok(<[u8]>::to_vec)).await?;
        Pin::new(&mut stream).consume(chunk.len());
        if chunk.is_empty() {
            return Ok(());
        }
    }
}

/// Appends the answer to an event; whether it is the last one.
fn answer(event: &Event<'_>, out: &mut Vec<u8>) -> bool {
    let (opcode, payload) = match event {
        Event::Message(Kind::Text, payload) => (OpCode::Text, *payload),
        Event::Message(Kind::Binary, payload) => (OpCode::Binary, *payload),
        Event::Ping(payload) => (OpCode::Pong, *payload),
        Event::Pong => return false,
        Event::Close(None) => (OpCode::Close, &[][..]),
        Event::Close(Some(code)) => {
            frame::write_close(out, *code, "");
            return true;
        }
    };
    frame::write_head(out, opcode, payload.len());
    out.extend_from_slice(payload);
    matches!(event, Event::Close(_))
}

fn close(error: ProtocolError, out: &mut Vec<u8>) {
    frame::write_close(out, error.close_code(), &error.to_string());
}
