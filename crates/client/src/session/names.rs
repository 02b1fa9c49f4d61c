//! Names that come again and again: streams and epochs.

use std::{collections::HashSet, sync::Arc};

/// So many are shared at most. More than a broker has streams; with more, all are forgotten, which costs memory only.
const MAX_NAMES: usize = 4096;

/// Each name once.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(super) fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() >= MAX_NAMES {
            self.0.clear();
        }
        let shared: Arc<str> = name.into();
        self.0.insert(Arc::clone(&shared));
        shared
    }
}
