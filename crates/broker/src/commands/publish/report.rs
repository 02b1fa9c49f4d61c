//! Where the messages are kept, for who wants to see it.

use std::io::Write;

use carillon_client::Kept;
use serde_json::json;

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Nothing,
    Words,
    Json,
}

impl Report {
    pub(super) fn asked_by(verbose: bool, json: bool) -> Self {
        match (json, verbose) {
            (true, _) => Self::Json,
            (false, true) => Self::Words,
            (false, false) => Self::Nothing,
        }
    }

    /// Prints a line about one message. That nobody reads it is no error: the message is published.
    pub(super) fn print(self, kept: Option<&Kept>) {
        if let Some(line) = self.line(kept) {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn line(self, kept: Option<&Kept>) -> Option<String> {
        match (self, kept) {
            (Self::Nothing, _) => None,
            (Self::Words, None) => Some("accepted; no stream keeps this topic".to_owned()),
            (Self::Words, Some(kept)) => {
                let duplicate = if kept.is_duplicate { ", where it was before" } else { "" };
                Some(format!("kept in {} at {}{duplicate}", kept.stream, kept.position))
            }
            (Self::Json, None) => Some(json!({ "stream": null }).to_string()),
            (Self::Json, Some(kept)) => {
                let (epoch, sequence) = (kept.position.epoch(), kept.position.sequence());
                let duplicate = kept.is_duplicate;
                let line =
                    json!({ "stream": &*kept.stream, "sequence": sequence, "epoch": epoch, "duplicate": duplicate });
                Some(line.to_string())
            }
        }
    }
}
