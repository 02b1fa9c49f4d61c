//! `carillon certs`: development certificates, and what is in a certificate.

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use clap::Subcommand;

use super::{EXIT_FAILURE, EXIT_USAGE, fail};
use crate::{
    certs::{self, DevCertificates, MakeError},
    dev::dev_dir,
};

/// What to do with certificates.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a development authority and a server certificate for this machine
    Dev(DevArgs),
    /// Print subject, names and dates of the certificates in a PEM file
    Show {
        /// PEM file with one certificate or more
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct DevArgs {
    /// Directory to write to [default: where `serve --dev`, `pub` and `sub` look]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A DNS name or IP address that the certificate is good for, besides this machine's loopback
    #[arg(long = "host", value_name = "NAME", num_args = 1..)]
    hosts: Vec<String>,
    /// Write over what is there
    #[arg(long)]
    force: bool,
}

/// Runs `carillon certs`.
pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Dev(args) => make(&args),
        Command::Show { file } => match certs::read_chain(&file) {
            Ok(chain) => {
                let shown: Vec<String> = chain.iter().map(ToString::to_string).collect();
                println!("{}", shown.join("\n\n"));
                ExitCode::SUCCESS
            }
            Err(error) => fail(EXIT_USAGE, &error),
        },
    }
}

fn make(args: &DevArgs) -> ExitCode {
    let directory = args.out.clone().unwrap_or_else(dev_dir);
    if let Some(path) = DevCertificates::in_directory(&directory).existing()
        && !args.force
    {
        return fail(EXIT_USAGE, &format_args!("{} is there already; --force writes over it", path.display()));
    }
    match DevCertificates::make(&directory, &args.hosts, SystemTime::now()) {
        Ok(files) => {
            println!("authority:   {}  (give it to clients, as in `carillon sub --ca`)", files.ca.display());
            println!("certificate: {}", files.certificate.display());
            println!("key:         {}", files.key.display());
            ExitCode::SUCCESS
        }
        Err(error @ MakeError::Host(_)) => fail(EXIT_USAGE, &error),
        Err(error) => fail(EXIT_FAILURE, &error),
    }
}
