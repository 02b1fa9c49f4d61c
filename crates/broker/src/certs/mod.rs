//! Certificates as files: making them for development, and telling what is in them.
//!
//! For production, certificates come from elsewhere; `certs-example/` shows ways.

mod crl;
mod files;
mod inspect;
mod make;

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

pub use crl::CrlSummary;
pub use inspect::{Summary, read_chain, summarize};

/// Where a development authority and the certificate that it issued are kept, in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevCertificates {
    /// The authority's certificate, which clients are told to trust.
    pub ca: PathBuf,
    /// The authority's private key.
    pub ca_key: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

impl DevCertificates {
    /// The files' places in `directory`, whether or not they are there.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            ca: directory.join("ca.pem"),
            ca_key: directory.join("ca-key.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server-key.pem"),
        }
    }

    /// Makes a new authority and a certificate for this machine and for `hosts`, over what is there.
    pub fn make(directory: &Path, hosts: &[String], now: SystemTime) -> Result<Self, MakeError> {
        let files = Self::in_directory(directory);
        let _lock = files::lock_directory(directory)?;
        files.write_authority(&make::Authority::new(hosts, now)?, hosts, now)?;
        Ok(files)
    }

    /// Makes what is missing, broken, or within 30 days of its end, and leaves the rest as it is. So the authority stays
    /// the one that a browser was told to trust, as long as it can.
    pub fn ensure(directory: &Path, now: SystemTime) -> Result<Self, MakeError> {
        let files = Self::in_directory(directory);
        // Two brokers that start at once must not write one's key beside the other's certificate.
        let _lock = files::lock_directory(directory)?;
        let Some(authority) = make::Authority::read(&files.ca, &files.ca_key, now) else {
            files.write_authority(&make::Authority::new(&[], now)?, &[], now)?;
            return Ok(files);
        };
        if !make::is_usable(&files, &authority, now) {
            files.write_server(&authority, &[], now)?;
        }
        Ok(files)
    }

    /// Makes a certificate for a client of this name, signed by the authority in `directory`, over what is there.
    pub fn make_client(directory: &Path, name: &str, now: SystemTime) -> Result<ClientFiles, MakeError> {
        let client = ClientFiles::in_directory(directory, name)?;
        let files = Self::in_directory(directory);
        // Before the lock, which would make a directory that is missing.
        let missing = || MakeError::NoAuthority(directory.into());
        if !files.ca.exists() {
            return Err(missing());
        }
        let _lock = files::lock_directory(directory)?;
        let authority = make::Authority::read(&files.ca, &files.ca_key, now).ok_or_else(missing)?;
        let issued = authority.issue_client(name, now)?;
        files::write_private(&client.key, &issued.key_pem)?;
        files::write_public(&client.certificate, &issued.certificate_pem)?;
        Ok(client)
    }

    /// The first of these files that is there.
    pub fn existing(&self) -> Option<&Path> {
        [&self.ca, &self.ca_key, &self.certificate, &self.key]
            .into_iter()
            .map(PathBuf::as_path)
            .find(|path| path.exists())
    }

    fn write_authority(&self, authority: &make::Authority, hosts: &[String], now: SystemTime) -> Result<(), MakeError> {
        files::write_private(&self.ca_key, authority.key_pem())?;
        files::write_public(&self.ca, authority.certificate_pem())?;
        self.write_server(authority, hosts, now)
    }

    fn write_server(&self, authority: &make::Authority, hosts: &[String], now: SystemTime) -> Result<(), MakeError> {
        let server = authority.issue(hosts, now)?;
        files::write_private(&self.key, &server.key_pem)?;
        files::write_public(&self.certificate, &server.certificate_pem)
    }
}

/// Where a client's development certificate and its key are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl ClientFiles {
    /// The files' places in `directory`, whether or not they are there. The name is the client's, and part of theirs.
    pub fn in_directory(directory: &Path, name: &str) -> Result<Self, MakeError> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_part) {
            return Err(MakeError::ClientName(name.to_owned()));
        }
        let place = |what: &str| directory.join(format!("client-{name}{what}.pem"));
        Ok(Self { certificate: place(""), key: place("-key") })
    }
}

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A file or directory could not be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A host is neither a DNS name nor an IP address.
    #[error("{0:?} is no host: expected a DNS name such as broker.test or *.broker.test, or an IP address")]
    Host(String),
    /// A client cannot be called so.
    #[error("{0:?} is no name for a client here: expected 1 to 64 letters, digits, `-`, `_` and `.`")]
    ClientName(String),
    /// There is nobody to sign.
    #[error("{} has no development authority that lasts; `carillon certs dev` and `carillon serve --dev` make one", .0.display())]
    NoAuthority(PathBuf),
    /// The certificate could not be put together or signed.
    #[error("the certificate cannot be made: {0}")]
    Generate(#[from] rcgen::Error),
}

/// Why a certificate file could not be told about.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not PEM.
    #[error("{} is not valid PEM: {message}", path.display())]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The file has no certificate in it.
    #[error("{} has no certificate in it (expected BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    /// What is between the PEM lines is no certificate.
    #[error("certificate {number} is damaged: {message}")]
    Damaged {
        /// Its place in the chain, from 1.
        number: usize,
        /// What is wrong.
        message: String,
    },
}

#[cfg(test)]
mod tests;
