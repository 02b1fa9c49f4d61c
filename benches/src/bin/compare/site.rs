//! What all servers share: a certificate, and a directory for their files. It is taken away at the end.

use std::{
    fs,
    io::{self, Error, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use tempfile::TempDir;

/// What the certificate is for, beside the loopback address.
pub(crate) const HOST: &str = "localhost";

/// Files, and the programs that are built here.
pub(crate) struct Site {
    home: TempDir,
    pub(crate) carillon: PathBuf,
    pub(crate) floor: PathBuf,
}

impl Site {
    pub(crate) fn make(carillon: &Path, floor: &Path) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("carillon-compare-").tempdir()?;
        let site = Self { home, carillon: carillon.to_owned(), floor: floor.to_owned() };
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
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Who signed the certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("server-key.pem")
    }
}

/// Writes what only its owner may read.
pub(crate) fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}
