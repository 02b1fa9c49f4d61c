//! What is there of the servers, and how what is missing gets there.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Error, ErrorKind},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::servers::Server;

/// Debian's packages ask this program whether they may start the services that they bring. 101 is no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// Those of the servers that can be started, after installing what is missing where this runs as root on Debian.
pub(crate) fn available(asked: &[Server], no_install: bool) -> io::Result<Vec<Server>> {
    let missing: BTreeSet<_> = asked.iter().flat_map(|&server| missing(server)).collect();
    if !missing.is_empty()
        && !no_install
        && rustix::process::geteuid().is_root()
        && Path::new("/usr/bin/apt-get").exists()
    {
        let packages: Vec<_> = missing.iter().copied().collect();
        eprintln!("installing {}", packages.join(" "));
        if let Err(error) = install(&packages) {
            eprintln!("{error}");
        }
    }
    let (here, absent): (Vec<_>, Vec<_>) = asked.iter().copied().partition(|&server| self::missing(server).is_empty());
    for server in absent {
        let packages: Vec<_> = self::missing(server).into_iter().collect();
        eprintln!(
            "{} is left out, because it is not installed. As root: apt-get install {}",
            server.name(),
            packages.join(" ")
        );
    }
    if here.is_empty() { Err(Error::new(ErrorKind::NotFound, "none of the servers is installed")) } else { Ok(here) }
}

fn missing(server: Server) -> BTreeSet<&'static str> {
    server.parts().iter().filter(|part| !Path::new(part.file).exists()).map(|part| part.package).collect()
}

/// Installs packages, and lets them start nothing.
fn install(packages: &[&str]) -> io::Result<()> {
    let _policy = NoServices::declare()?;
    apt(&["update", "-qq"])?;
    let install = ["install", "-qq", "-y", "--no-install-recommends"];
    apt(&[&install, packages].concat())
}

fn apt(args: &[&str]) -> io::Result<()> {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let output = command.output()?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::other(format!("`apt-get {}` failed: {said}", args.join(" "))))
    }
}

/// While this lives, no package starts a service. Where a policy is there already, it stays, whatever it says.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn declare() -> io::Result<Self> {
        let is_ours = !Path::new(POLICY).exists();
        if is_ours {
            fs::write(POLICY, NO_SERVICES)?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { is_ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
