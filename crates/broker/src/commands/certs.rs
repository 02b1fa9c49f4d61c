//! `carillon certs`: development certificates, and what is in a certificate.

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use clap::Subcommand;

use super::{EXIT_FAILURE, EXIT_USAGE, fail};
use crate::{
    certs::{self, ClientFiles, DevCertificates, MakeError},
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
    /// Make a certificate for a client, signed by the development authority
    Client(ClientArgs),
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

#[derive(Debug, clap::Args)]
struct ClientArgs {
    /// Who the client is: the certificate's common name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Directory of the development authority, to write to [default: where `serve --dev` keeps it]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write over what is there
    #[arg(long)]
    force: bool,
}

/// Runs `carillon certs`.
pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Dev(args) => make(&args),
        Command::Client(args) => make_client(&args),
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

fn make_client(args: &ClientArgs) -> ExitCode {
    let directory = args.out.clone().unwrap_or_else(dev_dir);
    if let Ok(files) = ClientFiles::in_directory(&directory, &args.name)
        && let Some(path) = [&files.certificate, &files.key].into_iter().find(|path| path.exists())
        && !args.force
    {
        return fail(EXIT_USAGE, &format_args!("{} is there already; --force writes over it", path.display()));
    }
    match DevCertificates::make_client(&directory, &args.name, SystemTime::now()) {
        Ok(files) => {
            println!("certificate: {}  (as in `carillon sub --cert`)", files.certificate.display());
            println!("key:         {}  (as in `carillon sub --key`)", files.key.display());
            ExitCode::SUCCESS
        }
        Err(error @ (MakeError::ClientName(_) | MakeError::NoAuthority(_))) => fail(EXIT_USAGE, &error),
        Err(error) => fail(EXIT_FAILURE, &error),
    }
}
