//! What is small and kept beside the log: each stream's number, durability, epochs, and how far it was purged.
//!
//! It is one file of redb, `definitions.redb`, in the store's directory. Each change is one transaction, which is on
//! disk when the call returns.

mod backend;
mod error;
mod file;
mod stored;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use redb::Database;

pub use self::error::DefinitionsError;
use self::file::NAME;
pub use self::stored::Stored;
use super::disk::Disk;
use crate::stream::StreamName;

/// The streams of a store, by name. Each change is on disk when its call returns.
pub struct Definitions {
    database: Database,
    all: BTreeMap<StreamName, Stored>,
    next_number: u32,
    failed: Option<DefinitionsError>,
}

impl fmt::Debug for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definitions").field("all", &self.all).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Definitions {
    /// Opens the definitions of the store on a disk, or makes them where the store has nothing yet. That nobody else has
    /// them open is for the caller to see to, as a [`Directory`](super::Directory) does.
    ///
    /// # Errors
    /// All but [`DefinitionsError::Failed`] and [`DefinitionsError::NumberTaken`].
    pub fn open(disk: &Arc<dyn Disk>) -> Result<Self, DefinitionsError> {
        let database = file::open(&**disk)?;
        let (all, next_number) = file::load(&database)?;
        Ok(Self { database, all, next_number, failed: None })
    }

    /// All streams.
    pub fn all(&self) -> &BTreeMap<StreamName, Stored> {
        &self.all
    }

    /// One of them.
    pub fn get(&self, name: &StreamName) -> Option<&Stored> {
        self.all.get(name)
    }

    /// A number that no stream ever had; 1 is the first. It stays the same until a stream is [`put`](Self::put) with it.
    pub fn next_number(&self) -> u32 {
        self.next_number
    }

    /// Keeps a stream, in the place of what was kept by this name. Its number is the one that it had, or no stream had.
    ///
    /// # Errors
    /// [`DefinitionsError::Failed`], or [`DefinitionsError::NumberTaken`]; then nothing was changed.
    pub fn put(&mut self, name: &StreamName, stored: &Stored) -> Result<(), DefinitionsError> {
        self.put_all([(name, stored)])
    }

    /// Keeps several streams, all or none of them. New numbers ascend, from [`next_number`](Self::next_number) on.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_all<'a>(
        &mut self,
        streams: impl IntoIterator<Item = (&'a StreamName, &'a Stored)>,
    ) -> Result<(), DefinitionsError> {
        let mut next_number = self.next_number;
        let mut changed = Vec::new();
        for (name, stored) in streams {
            let number = stored.number;
            let has_it = self.all.get(name).is_some_and(|known| known.number == number);
            // The highest one would leave none that comes next.
            if !has_it && (number < next_number || number == u32::MAX) {
                return Err(DefinitionsError::NumberTaken { name: name.clone(), number });
            }
            next_number = next_number.max(number.saturating_add(1));
            changed.push((name.clone(), stored.clone()));
        }
        self.write(next_number, |streams| {
            for (name, stored) in &changed {
                streams.insert(name.as_str(), stored.encode().as_slice())?;
            }
            Ok(())
        })?;
        self.all.extend(changed);
        self.next_number = next_number;
        Ok(())
    }

    /// Forgets a stream, but not that its number was used.
    ///
    /// # Errors
    /// [`DefinitionsError::Failed`].
    pub fn remove(&mut self, name: &StreamName) -> Result<(), DefinitionsError> {
        self.write(self.next_number, |streams| streams.remove(name.as_str()).map(drop))?;
        self.all.remove(name);
        Ok(())
    }

    fn write(
        &mut self,
        next_number: u32,
        change: impl FnOnce(&mut file::Streams<'_>) -> Result<(), redb::StorageError>,
    ) -> Result<(), DefinitionsError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        file::write(&self.database, next_number, change).map_err(|error| {
            let failed = DefinitionsError::Failed { file: NAME.to_owned(), reason: error.to_string() };
            self.failed.insert(failed).clone()
        })
    }
}
