//! The commands that change something.

use std::io::{self, BufRead, IsTerminal, Write};

use carillon_streams::stream::StreamName;

use super::{AdminFlags, OutputFlag, StreamArg, StreamError, client::AdminClient, progress::Progress};
use crate::admin::documents::{NewEpoch, Purged, Reopened, StreamAndStore};

/// What to take away.
#[derive(Debug, clap::Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    stream: StreamArg,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    certain: Certain,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    pub(super) admin: AdminFlags,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Everything before this sequence, which stays
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    before: Option<u64>,
    /// Everything
    #[arg(long)]
    all: bool,
}

/// A stream that is to change as a whole.
#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    stream: StreamArg,
    #[command(flatten)]
    certain: Certain,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    pub(super) admin: AdminFlags,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Certain {
    /// Do not ask whether it is meant
    #[arg(long)]
    yes: bool,
}

pub(super) async fn purge(client: &AdminClient, args: &PurgeArgs) -> Result<(), StreamError> {
    let name = &args.stream.name;
    args.certain
        .confirm(client, name, |messages| match args.what.before {
            Some(before) => format!("Take away what stream {name} keeps before {before}, of {messages}?"),
            None => format!("Take away all that stream {name} keeps, {messages}?"),
        })
        .await?;
    let what = args.what.before.map_or_else(|| "all=true".to_owned(), |before| format!("before={before}"));
    let target = format!("/streams/{name}/purge?{what}");
    let answer = Progress::new(true).during("purging", client.post(&target)).await?;
    args.output.print(&answer, |purged: &Purged| {
        format!("{} messages went; stream {name} begins with {} now\n", purged.messages, purged.first_sequence)
    })
}

pub(super) async fn remove(client: &AdminClient, args: &ChangeArgs) -> Result<(), StreamError> {
    let name = &args.stream.name;
    args.certain
        .confirm(client, name, |messages| format!("Take away stream {name} with all that it keeps, {messages}?"))
        .await?;
    let target = format!("/streams/{name}/rm");
    let answer = Progress::new(true).during("removing", client.post(&target)).await?;
    args.output.print(&answer, |new: &NewEpoch| {
        format!(
            "stream {name} is gone with its messages, and begins anew in epoch {}, because it is defined. To be rid of it, take \
             it out of the configuration and restart the broker\n",
            new.epoch
        )
    })
}

pub(super) async fn renew_epoch(client: &AdminClient, args: &ChangeArgs) -> Result<(), StreamError> {
    let name = &args.stream.name;
    args.certain
        .confirm(client, name, |messages| {
            format!("Give stream {name} another epoch, and tell all its readers? It keeps its messages, {messages}.")
        })
        .await?;
    let target = format!("/streams/{name}/renew-epoch");
    let answer = Progress::new(true).during("renewing the epoch", client.post(&target)).await?;
    args.output
        .print(&answer, |new: &NewEpoch| format!("stream {name} is in epoch {} now; its readers are told\n", new.epoch))
}

pub(super) async fn reopen(client: &AdminClient, output: OutputFlag) -> Result<(), StreamError> {
    let answer = Progress::new(true).during("opening the store", client.post("/store/reopen")).await?;
    output.print(&answer, |reopened: &Reopened| {
        let found = reopened.findings.iter().map(|finding| format!("{}\n", finding.text));
        format!("the store is open\n{}", found.collect::<String>())
    })
}

impl Certain {
    /// Asks whoever sits there. The question gets to know what the stream keeps.
    async fn confirm(
        self,
        client: &AdminClient,
        name: &StreamName,
        question: impl FnOnce(&str) -> String,
    ) -> Result<(), StreamError> {
        if self.yes {
            return Ok(());
        }
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            let words = "this cannot be taken back, and there is no terminal to ask at: say --yes";
            return Err(StreamError::Usage(words.to_owned()));
        }
        let answer = client.get(&format!("/streams/{name}")).await?;
        let StreamAndStore { stream, .. } = super::client::read(&answer)?;
        let kept = match stream.messages {
            0 => "which is nothing".to_owned(),
            messages => format!("{messages} messages from {} to {}", stream.first_sequence, stream.last_sequence),
        };
        let mut stderr = io::stderr();
        // Whoever does not see the question does not answer it either.
        let _ = write!(stderr, "{} [y/N] ", question(&kept)).and_then(|()| stderr.flush());
        let mut answer = String::new();
        let read = stdin.lock().read_line(&mut answer);
        if read.is_ok() && ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        Err(StreamError::Declined)
    }
}
