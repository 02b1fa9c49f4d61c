//! The commands. Each has a module with its arguments and what it does.

pub mod bench;
pub mod certs;
pub mod check_access;
mod connection;
pub mod key;
pub mod publish;
pub mod serve;
pub mod stream;
pub mod subscribe;
pub mod token;
pub mod version;

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use carillon_wire::PatternBuf;
use clap::{
    Parser, Subcommand,
    builder::{StringValueParser, TypedValueParser},
};
use rustls::crypto::aws_lc_rs;

use crate::{
    config::{LogFormat, Secret},
    logging,
};

/// It could not be done.
pub const EXIT_FAILURE: u8 = 1;
/// What was asked makes no sense: the command line, the configuration, or the files that they name.
pub const EXIT_USAGE: u8 = 2;

/// What commands other than `serve` log, on standard error beside what they print.
const COMMAND_LOG_LEVEL: &str = "warn";

const EXIT_CODES: &str = "\
Exit status: 0 when all went well, 1 when something failed, 2 when the command line, the configuration or a file that they \
name is wrong.";

#[derive(Debug, Parser)]
#[command(
    name = "carillon",
    version,
    about = "A pub/sub message broker over secure WebSocket",
    after_help = EXIT_CODES,
    arg_required_else_help = true,
    propagate_version = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker
    Serve(serve::Args),
    /// Publish messages to a topic
    Pub(publish::Args),
    /// Subscribe to topics and print what comes
    Sub(subscribe::Args),
    /// Look at what a running broker keeps, and change it
    Stream(stream::Args),
    /// Put load on a broker, and measure what comes back
    Bench(Box<bench::Args>),
    /// Make and look into certificates
    Certs(certs::Args),
    /// Make tokens for development, and look into tokens
    Token(token::Args),
    /// Make API keys for services
    Key(key::Args),
    /// Tell whether somebody may do something, and by which rule
    CheckAccess(check_access::Args),
    /// Print version and protocol
    Version,
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    // Every use of rustls in this process gets the one provider; a second call would mean that it is there already.
    let _ = aws_lc_rs::default_provider().install_default();
    if !matches!(command, Command::Serve(_))
        && let Err(error) = logging::start(LogFormat::Auto, COMMAND_LOG_LEVEL)
    {
        return fail(EXIT_FAILURE, &error);
    }
    match command {
        Command::Certs(args) => certs::run(args),
        Command::Version => version::run(),
        Command::Token(args) => token::run(&args),
        Command::Key(args) => key::run(&args),
        Command::CheckAccess(args) => check_access::run(&args),
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Pub(args) => block_on(publish::run(args)),
        Command::Sub(args) => block_on(subscribe::run(args)),
        Command::Stream(args) => block_on(stream::run(args)),
        Command::Bench(args) => block_on(bench::run(*args)),
    }
}

fn block_on(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => fail(EXIT_FAILURE, &format_args!("the asynchronous runtime cannot start: {error}")),
    }
}

/// Tells what went wrong, on standard error, for whoever typed the command.
fn fail(code: u8, error: &dyn fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::from(code)
}

/// Says something on standard error. That nobody reads it there is no reason to stop.
fn complain(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "carillon: {what}");
}

/// An argument that is not shown, not even by `Debug`.
fn secret() -> impl TypedValueParser<Value = Secret> {
    StringValueParser::new().map(Secret::new)
}

/// `NAME=VALUE`, for a claim.
fn claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a claim is written NAME=VALUE".to_owned()),
    }
}

fn pattern(text: &str) -> Result<PatternBuf, String> {
    PatternBuf::new(text).map_err(|error| error.to_string())
}
