//! The client's own certificate, for brokers that ask for one.

use std::{fmt, io, path::PathBuf};

use rustls::{
    ClientConfig, ConfigBuilder,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use crate::error::ConnectError;

/// Where it comes from.
pub(crate) enum ClientCertificate {
    /// PEM files.
    Files { certificate: PathBuf, key: PathBuf },
    /// PEM texts.
    Pem { certificate: Vec<u8>, key: Vec<u8> },
}

/// What the client shows: its chain, its own certificate first, and the key. Where they came from is for errors.
pub(crate) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate_from: String,
    key_from: String,
}

impl ClientCertificate {
    /// Reads it.
    pub(crate) fn read(self) -> Result<Shown, ConnectError> {
        let (certificate, certificate_from, key, key_from) = match self {
            Self::Files { certificate, key } => {
                let (certificate_from, key_from) = (certificate.display().to_string(), key.display().to_string());
                let unreadable = |from: &String| {
                    let from = from.clone();
                    move |error: io::Error| wrong(&from, format!("it cannot be read: {error}"))
                };
                let certificate = std::fs::read(certificate).map_err(unreadable(&certificate_from))?;
                let key = std::fs::read(key).map_err(unreadable(&key_from))?;
                (certificate, certificate_from, key, key_from)
            }
            Self::Pem { certificate, key } => {
                (certificate, "the given certificate".to_owned(), key, "the given key".to_owned())
            }
        };
        let chain: Vec<_> = rustls_pemfile::certs(&mut certificate.as_slice())
            .collect::<Result<_, io::Error>>()
            .map_err(|error| wrong(&certificate_from, format!("it is not valid PEM: {error}")))?;
        if chain.is_empty() {
            return Err(wrong(&certificate_from, "it has no `BEGIN CERTIFICATE` section"));
        }
        let key = rustls_pemfile::private_key(&mut key.as_slice())
            .map_err(|error| wrong(&key_from, format!("it is not valid PEM: {error}")))?
            .ok_or_else(|| wrong(&key_from, "it has no private key without a passphrase (`BEGIN PRIVATE KEY`)"))?;
        Ok(Shown { chain, key, certificate_from, key_from })
    }
}

impl Shown {
    /// Makes TLS show it. Whether the key is the certificate's is found out here.
    pub(crate) fn configure(
        self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, ConnectError> {
        let Self { chain, key, certificate_from, key_from } = self;
        builder.with_client_auth_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong(&key_from, format!("it is not the key of the certificate in {certificate_from}"))
            }
            other => wrong(&format!("{certificate_from} with {key_from}"), other),
        })
    }
}

fn wrong(from: &str, reason: impl fmt::Display) -> ConnectError {
    ConnectError::ClientCertificate { from: from.to_owned(), reason: reason.to_string() }
}

/// Says nothing of the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}
