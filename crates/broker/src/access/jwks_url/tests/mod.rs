//! Fetching from a real https server, and the schedule with a clock of its own.

#[path = "../../../../tests/support/issuer.rs"]
mod issuer;

mod configured;
mod fetching;
mod reloading;
mod scheduling;

use std::{fs, path::Path};

use self::issuer::{ISSUER, Server, Signer};
use crate::{
    access::{Loaded, load},
    config::{Access, ConfigError},
};

/// An access file with one issuer, whose keys are at a URL.
struct Given {
    directory: tempfile::TempDir,
}

impl Given {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// The keys of this server, and these lines.
    fn at(server: &Server, lines: &str) -> Self {
        let given = Self::new();
        given.write_ca(&server.ca);
        given.write(&format!("jwks_url = {:?}\njwks_ca_file = \"ca.pem\"\n{lines}", server.url()));
        given
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write_ca(&self, pem: &str) {
        fs::write(self.path().join("ca.pem"), pem).unwrap();
    }

    fn write(&self, lines: &str) {
        let issuer = format!("issuer = {ISSUER:?}\nalgorithms = [\"ES256\"]\naudiences = [\"carillon\"]");
        fs::write(self.path().join("access.toml"), format!("[roles.web]\n[[issuers]]\n{issuer}\n{lines}\n")).unwrap();
    }

    fn try_load(&self) -> Result<Loaded, ConfigError> {
        load(&Access { file: Some(self.path().join("access.toml")), ..Access::default() })
    }

    fn load(&self) -> Loaded {
        self.try_load().unwrap()
    }
}

/// A key that nobody publishes.
fn unpublished() -> Signer {
    Signer::new("made-up")
}
