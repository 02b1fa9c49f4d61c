//! What servers on this machine share: a certificate, and a directory for their files. It is taken away at the end.

use std::{
    fs,
    io::{self, Error, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use tempfile::TempDir;

/// What the certificate is for, beside the loopback address.
pub const HOST: &str = "localhost";

/// Files, and Carillon's program.
#[derive(Debug)]
pub struct Site {
    home: TempDir,
    /// Carillon's program.
    pub carillon: PathBuf,
}

impl Site {
    /// Makes the certificate, P-256, in a directory whose name begins with `prefix`.
    pub fn make(prefix: &str, carillon: &Path) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix(prefix).tempdir()?;
        let site = Self { home, carillon: carillon.to_owned() };
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::other);
        let mut authority = CertificateParams::new(Vec::new()).map_err(Error::other)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = key()?;
        let root = authority.self_signed(&authority_key).map_err(Error::other)?;
        let names = [HOST, "127.0.0.1"].map(str::to_owned);
        let server = CertificateParams::new(names).map_err(Error::other)?;
        let server_key = key()?;
        let server = server.signed_by(&server_key, &Issuer::new(authority, authority_key)).map_err(Error::other)?;
        fs::write(site.authority(), root.pem())?;
        fs::write(site.certificate(), server.pem())?;
        write_secret(&site.key(), &server_key.serialize_pem())?;
        Ok(site)
    }

    /// A file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Who signed the certificate.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// That of the server, for the loopback address and [`HOST`].
    pub fn certificate(&self) -> PathBuf {
        self.path("server.pem")
    }

    /// The certificate's.
    pub fn key(&self) -> PathBuf {
        self.path("server-key.pem")
    }
}

/// Writes what only its owner may read.
pub fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}
