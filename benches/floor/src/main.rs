//! The floor: what it costs at least to bring messages to many sockets over TLS, so that a broker can be held against it.
//!
//! It accepts TLS and the upgrade to a WebSocket. On order it makes frames, encrypts them once for each socket with rustls,
//! and writes them, in bursts of at most one each millisecond: one encryption and one `write` for each socket and burst.
//! One thread waits in one epoll; what a connection keeps is its TLS session, its socket, and what its socket did not take.
//!
//! What it deliberately does not do is most of what a broker does. Nobody publishes to it: it makes the messages itself, all
//! of a burst once for all sockets. No tokens, permissions, quotas, metrics, heartbeats, deadlines or patterns; a connection
//! has one topic at most, and no frame names it. No overflow policy either: while a socket of a topic takes nothing, the topic
//! waits. A client that breaks the rules of WebSocket is not told so, and cut. Nothing that faces strangers should look like this.
//!
//! Requests are text messages: `subscribe NUMBER TOPIC` and `settle NUMBER`, which are answered by a binary message of a zero
//! byte and the number (u32, little endian); and `order TOPIC MESSAGES PER_SECOND PAYLOAD_BYTES START_NS`, which is answered by
//! work: binary messages of a byte 1 and the payload, whose first 16 bytes are the stamp of `carillon-bench`. `PER_SECOND` may
//! be `inf`, as many as the sockets take; `START_NS` is a reading of `CLOCK_MONOTONIC`.
//!
//! Start with [`server`]; [`connection`] has TLS and the upgrade, [`order`] what is due when, [`frame`] the bytes.

mod connection;
mod frame;
mod order;
mod server;

use std::{
    io::{self, Error, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// As many as Carillon gives, so that a full handshake costs the same here.
const TICKETS_FOR_EACH_CONNECTION: usize = 1;

#[derive(Parser)]
#[command(about = "The least that fan-out over TLS can cost: a yardstick for benchmarks")]
struct Args {
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// PEM file with the certificate
    #[arg(long)]
    certificate: PathBuf,
    /// PEM file with its private key
    #[arg(long)]
    key: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let config = Arc::new(tls(&args.certificate, &args.key)?);
    let listener = TcpListener::bind(args.address)
        .map_err(|error| Error::new(error.kind(), format!("cannot listen at {}: {error}", args.address)))?;
    writeln!(io::stdout(), "listening {}", listener.local_addr()?)?;
    io::stdout().flush()?;
    server::Server::new(listener, config)?.run()
}

fn tls(certificate: &Path, key: &Path) -> io::Result<ServerConfig> {
    let named = |path: &Path, error: &dyn std::fmt::Display| Error::other(format!("{}: {error}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| named(certificate, &error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| named(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
    // The cheapest suite on processors with instructions for AES, and the one that all servers of the comparison take.
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(Error::other)?;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(Error::other)?;
    config.send_tls13_tickets = TICKETS_FOR_EACH_CONNECTION;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
