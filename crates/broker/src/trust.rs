//! Whose certificate a server may show that this program asks over HTTPS.

use std::{fs, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer};

/// The authorities that vouch for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that this machine trusts.
    System,
    /// These, and no others.
    Only(Vec<CertificateDer<'static>>),
}

impl Trust {
    /// The authorities in a PEM file.
    pub(crate) fn of_file(path: &Path) -> Result<Self, String> {
        let path_shown = path.display();
        let pem = fs::read(path).map_err(|error| format!("{path_shown} cannot be read: {error}"))?;
        let certificates: Result<Vec<_>, _> = rustls_pemfile::certs(&mut pem.as_slice()).collect();
        let certificates = certificates.map_err(|error| format!("{path_shown} is not valid PEM: {error}"))?;
        if certificates.is_empty() {
            return Err(format!("{path_shown} has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)"));
        }
        Ok(Self::Only(certificates))
    }

    /// What TLS needs to hold a server to it.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        let roots = match self {
            Self::System => system_roots()?,
            Self::Only(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    roots.add(certificate.clone()).map_err(|error| format!("not a CA certificate: {error}"))?;
                }
                roots
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store often has a few odd certificates; they are no reason to trust none of the others.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let reason = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
    Err(format!(
        "this machine has no CA certificates{reason}; install them, or name the server's CA (jwks_ca_file, --ca)"
    ))
}
