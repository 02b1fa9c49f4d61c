//! What a connection holds once its client was let in: who it is, what it may do, and until when.

use std::time::Duration;

use carillon_access::Permissions;
use tokio::time::Instant;

use super::{
    accounts::Accounts,
    login::{NotLetIn, is_not_refused},
};
use crate::{
    clock::Moment,
    gate::{Admitted, Gate, Refused},
};

/// How long before its credentials run out a client is told; half of their time where that is shorter.
const NOTICE: Duration = Duration::from_secs(30);

/// By how much new credentials must last longer for the client to be told again.
const LEAST_GAIN: Duration = Duration::from_secs(1);

/// Who is connected.
#[derive(Debug)]
pub(crate) struct Membership {
    admitted: Admitted,
    term: Option<Term>,
    /// Where it counts what it does.
    pub(crate) accounts: Accounts,
}

/// Credentials that run out.
#[derive(Debug, Clone, Copy)]
struct Term {
    ends: Instant,
    /// When the client is told; none once it was.
    notice: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TermDue {
    /// The client is to be told that so much time is left.
    Notice(Duration),
    /// The credentials have run out.
    Ended,
}

impl Membership {
    pub(crate) fn new(admitted: Admitted, accounts: Accounts, moment: Moment) -> Self {
        let term = Term::of(&admitted, moment);
        Self { admitted, term, accounts }
    }

    pub(crate) fn subject(&self) -> &str {
        &self.admitted.identity.subject
    }

    pub(crate) fn permissions(&self) -> &Permissions {
        &self.admitted.permissions
    }

    /// Takes new credentials of the same subject.
    pub(super) fn refresh(&mut self, presented: &str, gate: &Gate, moment: Moment) -> Result<(), NotLetIn> {
        self.accounts.begin_login(moment)?;
        let told_before = self.term.filter(|term| term.notice.is_none()).map(|term| term.ends);
        let renewed = gate.refresh(&self.admitted, presented, moment.unix_s());
        if is_not_refused(&renewed) {
            self.accounts.login_not_refused();
        }
        self.admitted = renewed?;
        self.accounts.set_quotas(&gate.scopes(), &self.admitted.identity);
        self.term = Term::of(&self.admitted, moment);
        // Credentials that gain no time are no reason to ask for others again and again.
        if let (Some(term), Some(told_before)) = (&mut self.term, told_before)
            && term.ends < told_before + LEAST_GAIN
        {
            term.notice = None;
        }
        Ok(())
    }

    /// The rules were replaced: takes what they say now, or tells why the client may not stay.
    pub(crate) fn look_again(&mut self, gate: &Gate, moment: Moment) -> Result<(), Refused> {
        let ended_at_s = self.admitted.ends_at_s();
        self.admitted = gate.admit_again(&self.admitted, moment.unix_s())?;
        // An API key may have got another end; the same one is no reason to tell the client again.
        if self.admitted.ends_at_s() != ended_at_s {
            self.term = Term::of(&self.admitted, moment);
        }
        self.accounts.set_quotas(&gate.scopes(), &self.admitted.identity);
        Ok(())
    }

    /// When something is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.term.map(|term| term.notice.unwrap_or(term.ends))
    }

    /// What is due now.
    pub(crate) fn on_due(&mut self, now: Instant) -> Option<TermDue> {
        let term = self.term.as_mut()?;
        if term.ends <= now {
            return Some(TermDue::Ended);
        }
        term.notice.take_if(|notice| *notice <= now).map(|_| TermDue::Notice(term.ends - now))
    }
}

impl Term {
    fn of(admitted: &Admitted, moment: Moment) -> Option<Self> {
        admitted.ends_at_s().map(|ends_at_s| Self::until(ends_at_s, moment))
    }

    fn until(expires_at_s: u64, moment: Moment) -> Self {
        let left_us = expires_at_s.saturating_mul(1_000_000).saturating_sub(moment.unix_us);
        // Beyond years a timer cannot count, and nobody waits.
        let left = Duration::from_micros(left_us).min(Duration::from_hours(24 * 365));
        let ends = Instant::now() + left;
        Self { ends, notice: Some(ends - NOTICE.min(left / 2)) }
    }
}
