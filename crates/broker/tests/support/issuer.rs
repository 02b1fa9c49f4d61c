//! An issuer of tokens: keys that sign, and an https server with a CA of its own that publishes them.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://login.test";

/// A P-256 key with an id.
pub struct Signer {
    key: KeyPair,
    kid: String,
}

impl Signer {
    pub fn new(kid: &str) -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), kid: kid.to_owned() }
    }

    /// The public half, as an entry of a JWKS document.
    pub fn jwk(&self) -> Value {
        let (x, y) = self.key.public_key_raw()[1..].split_at(32);
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": number(x), "y": number(y) })
    }

    /// A token for this subject with role `web`, good for a minute.
    pub fn token(&self, subject: &str) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({ "iss": ISSUER, "aud": "carillon", "sub": subject, "exp": now_s + 60, "roles": ["web"] });
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

/// The document with the keys of these signers.
pub fn document(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// What the server sends, byte for byte.
#[derive(Clone)]
pub struct Answer {
    bytes: Vec<u8>,
    /// Whether it keeps the connection open after that, as if there were more to come.
    hangs: bool,
}

impl Answer {
    pub fn of(signers: &[&Signer]) -> Self {
        Self::ok(&document(signers))
    }

    pub fn ok(body: &str) -> Self {
        Self::with("200 OK", "", body)
    }

    /// `headers` each end in a line break.
    pub fn with(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        Self { bytes: text.into_bytes(), hangs: false }
    }

    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), hangs: false }
    }

    pub fn and_hang(self) -> Self {
        Self { hangs: true, ..self }
    }
}

/// Serves one answer, which can be changed, to everybody who asks. It listens on IPv4 alone.
pub struct Server {
    address: SocketAddr,
    /// The CA's certificate, in PEM.
    pub ca: String,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    tls: Arc<ServerConfig>,
    answer: Mutex<Answer>,
    requests: AtomicUsize,
    has_ended: AtomicBool,
}

impl Server {
    pub fn start(answer: Answer) -> Self {
        let (tls, ca) = certificate();
        let (answer, requests, has_ended) = (Mutex::new(answer), AtomicUsize::new(0), AtomicBool::new(false));
        let state = Arc::new(State { tls, answer, requests, has_ended });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&state);
        let thread = Some(thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                // What goes wrong with one client is for that client to tell.
                thread::spawn(move || state.serve(socket?));
            }
        }));
        Self { address, ca, state, thread }
    }

    /// By its name, which most machines have an IPv6 address for as well.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/jwks", self.address.port())
    }

    pub fn set(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.has_ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn serve(&self, socket: TcpStream) -> io::Result<()> {
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.extend(byte);
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        assert!(request.starts_with(b"GET /jwks HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
        let Answer { bytes, hangs } = self.answer.lock().unwrap().clone();
        stream.write_all(&bytes)?;
        stream.flush()?;
        if hangs {
            // Until the client has gone.
            let _ = stream.read(&mut [0]);
        }
        stream.conn.send_close_notify();
        stream.flush()
    }
}

/// A certificate for localhost of a CA that nobody knows, and that CA's in PEM.
fn certificate() -> (Arc<ServerConfig>, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Each has a name of its own, as CAs have.
    ca.distinguished_name.push(DnType::CommonName, format!("test CA {}", rand::random::<u64>()));
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = CertificateParams::new(names).unwrap().signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    (Arc::new(config), ca_pem)
}
