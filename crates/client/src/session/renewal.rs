//! New credentials for a live connection, when the broker tells that the old ones run out.
//!
//! ```text
//!      notice           driver fetches        token: refresh is sent          ok: token is kept
//!  No ───────▶ Wanted ───────────────▶ UnderWay ─────────────────▶ UnderWay ───────────────────▶ No
//!                                          └── no token, or refused: the application is told ──▶ No
//! ```

use std::{sync::Arc, time::Duration};

use carillon_wire::{NoticeKind, broker_message::Notice as WireNotice};

use super::{Outgoing, Session};
use crate::{
    error::RefreshError,
    observer::Notice,
    token::{Token, TokenProvider},
};

/// How far it is; there is never more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Renewal {
    #[default]
    No,
    Wanted,
    UnderWay,
}

impl Session {
    pub(super) fn on_notice(&mut self, notice: &WireNotice<'_>) {
        if notice.kind == NoticeKind::CredentialsExpire && self.provider.is_some() {
            if self.renewal == Renewal::No {
                self.renewal = Renewal::Wanted;
            }
            return;
        }
        self.observer.tell(&Notice::Broker {
            kind: notice.kind,
            message: notice.message.to_owned(),
            due_in: notice.in_ms.map(Duration::from_millis),
        });
    }

    /// Whom to ask for a token now; the answer goes to [`Session::on_token`].
    pub(crate) fn wants_token(&mut self) -> Option<Arc<TokenProvider>> {
        if self.renewal != Renewal::Wanted {
            return None;
        }
        self.renewal = Renewal::UnderWay;
        self.provider.clone()
    }

    /// Sends a fresh token, before all that waits: the old one may run out meanwhile.
    pub(crate) fn on_token(&mut self, outcome: Result<String, RefreshError>) {
        match outcome {
            Ok(token) => self.queue.push_front(Outgoing::Refresh(Token(token))),
            Err(error) => self.refresh_failed(error),
        }
    }

    pub(super) fn refreshed(&mut self, token: Token) {
        self.renewal = Renewal::No;
        if let Some(provider) = &self.provider {
            provider.keep(token.0);
        }
        tracing::debug!("the broker has accepted new credentials");
    }

    pub(super) fn refresh_failed(&mut self, error: RefreshError) {
        self.renewal = Renewal::No;
        self.observer.tell(&Notice::RefreshFailed(error));
    }
}
