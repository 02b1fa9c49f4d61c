//! The call of the application's token provider that runs while a connection goes on.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use crate::{error::RefreshError, token::TokenProvider};

type Call = Pin<Box<dyn Future<Output = Result<String, RefreshError>> + Send>>;

/// At most one call.
#[derive(Default)]
pub(super) struct TokenCall(Option<Call>);

impl TokenCall {
    pub(super) fn start(&mut self, provider: &TokenProvider, timeout: Duration) {
        let fetching = provider.fetch();
        self.0 = Some(Box::pin(async move {
            match tokio::time::timeout(timeout, fetching).await {
                Ok(outcome) => outcome.map_err(|error| RefreshError::Token(error.into())),
                Err(_) => Err(RefreshError::Timeout { timeout }),
            }
        }));
    }

    /// The outcome, once; nothing is ready while there is no call. Dropping the future loses nothing.
    pub(super) async fn finished(&mut self) -> Result<String, RefreshError> {
        poll_fn(|cx| {
            let Some(call) = &mut self.0 else { return Poll::Pending };
            let outcome = std::task::ready!(call.as_mut().poll(cx));
            self.0 = None;
            Poll::Ready(outcome)
        })
        .await
    }
}
