//! Where the messages are kept, for who wants to see it.

use std::io::Write;

use carillon_client::Kept;
use serde_json::json;

/// How it is printed, if at all.
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    /// Print where each message is kept
    #[arg(short, long)]
    verbose: bool,
    /// Print where each message is kept, as a JSON object on a line of its own
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
}

impl Report {
    /// Prints a line about one message. That nobody reads it is no error: the message is published.
    pub(super) fn print(&self, kept: Option<&Kept>) {
        let line = match (self.json, self.verbose) {
            (true, _) => json_line(kept),
            (false, true) => words(kept),
            (false, false) => return,
        };
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn words(kept: Option<&Kept>) -> String {
    let Some(kept) = kept else { return "accepted; no stream keeps this topic".to_owned() };
    let duplicate = if kept.is_duplicate { ", where it was before" } else { "" };
    format!("kept in {} at {}{duplicate}", kept.stream, kept.position)
}

fn json_line(kept: Option<&Kept>) -> String {
    let Some(kept) = kept else { return json!({ "stream": null }).to_string() };
    let (epoch, sequence) = (kept.position.epoch(), kept.position.sequence());
    json!({ "stream": &*kept.stream, "sequence": sequence, "epoch": epoch, "duplicate": kept.is_duplicate }).to_string()
}
