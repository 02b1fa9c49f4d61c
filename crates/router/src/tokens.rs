//! The tokens of wildcard patterns as numbers.

use crate::{arena::Arena, hash_index::HashIndex};

/// Tokens that are in use, each with a number. Comparing numbers is all that matching does, once a topic's tokens are
/// looked up.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    tokens: Arena<Token>,
    by_text: HashIndex,
}

#[derive(Debug)]
struct Token {
    text: Box<str>,
    /// Edges of the trie that carry it.
    uses: u32,
}

impl Tokens {
    /// The number of a token that some pattern has.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.find(text, |index| self.tokens.get(index).is_some_and(|token| &*token.text == text))
    }

    /// The token with a number.
    pub(crate) fn text(&self, index: u32) -> Option<&str> {
        self.tokens.get(index).map(|token| &*token.text)
    }

    /// Counts one more use of a token, and tells its number.
    pub(crate) fn acquire(&mut self, text: &str) -> u32 {
        if let Some(index) = self.find(text)
            && let Some(token) = self.tokens.get_mut(index)
        {
            token.uses += 1;
            return index;
        }
        let index = self.tokens.insert(Token { text: text.into(), uses: 1 });
        self.by_text.insert(text, index);
        index
    }

    /// Takes a use back; the last one frees the token and its number.
    pub(crate) fn release(&mut self, index: u32) {
        let Some(token) = self.tokens.get_mut(index) else { return };
        token.uses -= 1;
        if token.uses == 0 {
            self.by_text.remove(&*token.text, index);
            self.tokens.remove(index);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.len() == 0 && self.by_text.len() == 0
    }
}
