//! What a client shows to be let in, and where it comes from.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a token provider's future gives.
pub(crate) type TokenResult = Result<String, Box<dyn Error + Send + Sync>>;

/// A call of a token provider. It stands alone, so that it can run while the client goes on.
pub(crate) type Fetching = Pin<Box<dyn Future<Output = TokenResult> + Send>>;

/// Where tokens come from. Its `Debug` shows none.
#[derive(Clone)]
pub(crate) enum TokenSource {
    Fixed(String),
    Provider(Arc<TokenProvider>),
}

impl TokenSource {
    pub(crate) fn provider<P, F>(provide: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = TokenResult> + Send + 'static,
    {
        let provide = Box::new(move || -> Fetching { Box::pin(provide()) });
        Self::Provider(Arc::new(TokenProvider { provide, kept: Mutex::default() }))
    }

    /// The token for a new connection.
    pub(crate) async fn for_connection(&self) -> TokenResult {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::Provider(provider) => {
                let kept = provider.kept().clone();
                match kept {
                    Some(token) => Ok(token),
                    None => provider.fetch().await,
                }
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "a fixed token",
            Self::Provider(_) => "a token provider",
        })
    }
}

/// The application's own way to get tokens.
pub(crate) struct TokenProvider {
    provide: Box<dyn Fn() -> Fetching + Send + Sync>,
    /// The token that a connection was refreshed with. When a broker restarts, its clients then come back without all of
    /// them asking whoever issues tokens at the same moment.
    kept: Mutex<Option<String>>,
}

impl TokenProvider {
    /// Asks the application.
    pub(crate) fn fetch(&self) -> Fetching {
        (self.provide)()
    }

    /// The broker has accepted this token: further connections begin with it.
    pub(crate) fn keep(&self, token: String) {
        *self.kept() = Some(token);
    }

    /// The broker does not accept the kept token any more. Returns whether there was one.
    pub(crate) fn forget(&self) -> bool {
        self.kept().take().is_some()
    }

    fn kept(&self) -> MutexGuard<'_, Option<String>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows no token.
impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenProvider")
    }
}

/// A token on its way. Its `Debug` does not show it.
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}
