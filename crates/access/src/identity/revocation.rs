//! Revocations: what takes an identity's right to be here before it ends by itself.
//!
//! They are a text with one entry a line. Lines that are empty or start with `#` say nothing. Names are what is left of
//! the line, so they may have spaces in them and need no quotes; times are seconds since 1970-01-01 UTC (`date +%s`).
//!
//! ```text
//! # A person who left: everything of theirs, however they prove who they are.
//! subject alice@example.com
//! # One token, by its `jti`.
//! token 7f0c9a4e-51bd-4b7c-a0cc-0d5f4f0f3c11
//! # All tokens of one subject that were issued before a moment: a stolen device.
//! issued-before 1790000000 bob@example.com
//! # All tokens of everybody: a leaked signing key.
//! issued-before 1790000000
//! ```
//!
//! `token` and `issued-before` are about tokens. A token that does not say when it was issued (`iat`) counts as issued
//! before everything. Certificates have CRLs, and API keys go by being taken out of the configuration; `subject`
//! concerns them too.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
};

use super::name::shown;
use crate::subject::{Identity, Source};

/// The most bytes of a line.
pub const MAX_LINE_BYTES: usize = 1024;
/// The most entries.
pub const MAX_ENTRIES: usize = 100_000;

/// All revocations at one time. Checking costs a few hash look-ups, however many there are.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    subjects: HashSet<String>,
    token_ids: HashSet<String>,
    issued_before_s: HashMap<String, u64>,
    all_issued_before_s: u64,
}

/// By what an identity is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Revoked {
    /// By its subject.
    #[error("this subject is revoked")]
    Subject,
    /// By the token's id.
    #[error("this token is revoked")]
    Token,
    /// By the token's age; a newer one will do.
    #[error("tokens issued before {0} (unix seconds) are revoked; get a new one")]
    IssuedBefore(u64),
}

impl Revocations {
    /// Whether `identity` may be here.
    pub fn check(&self, identity: &Identity) -> Result<(), Revoked> {
        if self.subjects.contains(&identity.subject) {
            return Err(Revoked::Subject);
        }
        if !matches!(identity.source, Source::Token { .. }) {
            return Ok(());
        }
        if identity.token_id.as_ref().is_some_and(|id| self.token_ids.contains(id)) {
            return Err(Revoked::Token);
        }
        let of_subject_s = self.issued_before_s.get(&identity.subject).copied().unwrap_or(0);
        let before_s = of_subject_s.max(self.all_issued_before_s);
        if identity.issued_at_s.unwrap_or(0) < before_s {
            return Err(Revoked::IssuedBefore(before_s));
        }
        Ok(())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.subjects.len()
            + self.token_ids.len()
            + self.issued_before_s.len()
            + usize::from(self.all_issued_before_s > 0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&mut self, line: &str) -> Result<(), LineProblem> {
        if line.len() > MAX_LINE_BYTES {
            return Err(LineProblem::TooLong(line.len()));
        }
        let (what, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match what {
            "subject" | "token" if rest.is_empty() => return Err(LineProblem::NoName),
            "subject" => _ = self.subjects.insert(rest.to_owned()),
            "token" => _ = self.token_ids.insert(rest.to_owned()),
            "issued-before" => self.add_issued_before(rest)?,
            _ => return Err(LineProblem::UnknownEntry(shown(what))),
        }
        if self.len() > MAX_ENTRIES { Err(LineProblem::TooMany) } else { Ok(()) }
    }

    fn add_issued_before(&mut self, rest: &str) -> Result<(), LineProblem> {
        let (time, subject) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if time.is_empty() || !time.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(LineProblem::NotATime(shown(time)));
        }
        let time_s: u64 = time.parse().map_err(|_| LineProblem::NotATime(shown(time)))?;
        let latest_s = match subject.trim_start() {
            "" => &mut self.all_issued_before_s,
            subject => self.issued_before_s.entry(subject.to_owned()).or_default(),
        };
        // Of two entries for one name the stricter holds.
        *latest_s = time_s.max(*latest_s);
        Ok(())
    }
}

/// Reads the text; the first bad line refuses the whole, because half of a list of revocations would let somebody in.
impl FromStr for Revocations {
    type Err = RevocationError;

    fn from_str(text: &str) -> Result<Self, RevocationError> {
        let mut revocations = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                revocations.add(line).map_err(|problem| RevocationError { line: index + 1, problem })?;
            }
        }
        Ok(revocations)
    }
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RevocationError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// It starts with a word that means nothing.
    #[error(
        "unknown entry {0}; known are `subject NAME`, `token ID` and `issued-before SECONDS`, with a NAME or without"
    )]
    UnknownEntry(String),
    /// `subject` or `token` alone.
    #[error("the name is missing: `subject NAME` or `token ID`")]
    NoName,
    /// No time where one belongs.
    #[error("{0} is no time; it is written in seconds since 1970 (`date +%s`)")]
    NotATime(String),
    /// More than [`MAX_LINE_BYTES`].
    #[error("the line has {0} bytes; at most {MAX_LINE_BYTES} are allowed")]
    TooLong(usize),
    /// More than [`MAX_ENTRIES`].
    #[error("there are more than {MAX_ENTRIES} entries; take away those whose tokens have expired")]
    TooMany,
}
