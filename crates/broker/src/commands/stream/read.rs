//! `carillon stream read`: prints what a stream keeps, page by page.

use std::io::{self, BufWriter, IsTerminal, Write};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use carillon_wire::PatternBuf;

use super::{
    AdminFlags, OutputFlag, StreamArg, StreamError,
    client::{AdminClient, AskError, read},
    progress::Progress,
};
use crate::{
    admin::documents::{Line, Message, PageEnd},
    commands::{
        complain, pattern,
        subscribe::format::{printable, rfc3339},
    },
    query::encode,
};

/// What to read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    stream: StreamArg,
    /// Begin with this sequence [default: the oldest that is kept]
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// The newest N messages, of those that --topic matches
    #[arg(long, value_name = "N", conflicts_with = "from", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// Only of these topics: `*` stands for one token, `>` at the end for one or more
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    topic: Option<PatternBuf>,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    pub(super) admin: AdminFlags,
}

/// Where the next page begins.
struct Next {
    from: u64,
    epoch: String,
    /// The stream's last sequence as it was at the first page: what comes meanwhile is not waited for.
    through: u64,
}

/// Prints the messages that are kept now: not those that come meanwhile.
pub(super) async fn run(client: &AdminClient, args: &Args) -> Result<(), StreamError> {
    let stdout = io::stdout();
    let mut printer = Printer {
        progress: Progress::new(!stdout.is_terminal()),
        out: BufWriter::new(stdout.lock()),
        json: args.output.json,
        messages: 0,
    };
    let mut next = None;
    loop {
        let page = client.get(&args.target(next.as_ref())).await?;
        let end = printer.page(&page)?;
        if end.is_end {
            return printer.out.flush().map_err(StreamError::Output);
        }
        let through = next.map_or(end.last_sequence, |next: Next| next.through);
        let messages = printer.messages;
        printer.progress.show(|| format!("{messages} messages, up to {} of {through}", end.next.saturating_sub(1)));
        next = Some(Next { from: end.next, epoch: end.epoch, through });
    }
}

impl Args {
    fn target(&self, next: Option<&Next>) -> String {
        let begin = match (next, self.from, self.last) {
            (Some(Next { from, epoch, through }), ..) => {
                format!("from={from}&epoch={}&through={through}", encode(epoch))
            }
            (None, Some(from), _) => format!("from={from}"),
            (None, None, Some(last)) => format!("last={last}"),
            (None, None, None) => String::new(),
        };
        let topic = self.topic.as_ref().map_or_else(String::new, |topic| format!("&topic={}", encode(topic.as_str())));
        format!("/streams/{}/messages?{begin}{topic}", self.stream.name)
    }
}

struct Printer<W> {
    out: W,
    json: bool,
    progress: Progress,
    messages: u64,
}

impl<W: Write> Printer<W> {
    /// Prints a page, and gives its last line.
    fn page(&mut self, page: &[u8]) -> Result<PageEnd, StreamError> {
        for text in page.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let line = read(text)?;
            if let Line::Page { page } = line {
                return Ok(page);
            }
            self.messages += u64::from(matches!(line, Line::Message(_)));
            let printed = if self.json {
                self.out.write_all(text).and_then(|()| self.out.write_all(b"\n"))
            } else {
                self.for_people(&line)
            };
            printed.map_err(StreamError::Output)?;
        }
        Err(AskError::Unreadable("the page has no end".to_owned()).into())
    }

    fn for_people(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Message(message) => {
                let time = rfc3339(message.time_us);
                let (topic, payload) = (printable(message.topic.as_bytes()), printable(&payload_of(message)));
                return writeln!(self.out, "{} {time} {topic} {payload}", message.sequence);
            }
            Line::Gap { gap } => {
                self.tell(&format!("{} to {} are lost here: {}", gap.first, gap.last, gap.reason))?;
            }
            Line::Epoch { epoch } => {
                let words =
                    format!("the stream has another epoch ({}) from {} on: {}", epoch.reason, epoch.from, epoch.epoch);
                self.tell(&words)?;
            }
            Line::Page { .. } => {}
        }
        Ok(())
    }

    /// Something about the messages, which does not belong among them; in its place all the same.
    fn tell(&mut self, words: &str) -> io::Result<()> {
        self.out.flush()?;
        self.progress.clear();
        complain(&words);
        Ok(())
    }
}

fn payload_of(message: &Message<'_>) -> Vec<u8> {
    match (&message.payload, &message.payload_base64) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(base64)) => BASE64.decode(&**base64).unwrap_or_default(),
        (None, None) => Vec::new(),
    }
}
