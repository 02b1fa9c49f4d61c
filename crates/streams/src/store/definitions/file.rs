//! The file: a table of the streams, and one of the version and the next number.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition};

use super::super::disk::{Disk, DiskFile};
use super::super::header::SegmentId;
use super::super::reserve;
use super::backend::{DiskBackend, MemoryBackend};
use super::{DefinitionsError, Stored};
use crate::stream::StreamName;

pub(super) const NAME: &str = "definitions.redb";
/// While it is made.
const NEW_NAME: &str = "definitions.new";
const VERSION: u32 = 1;
/// Everything fits.
const CACHE_BYTES: usize = 1 << 20;

const STREAMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("streams");
const NUMBERS: TableDefinition<'_, &str, u32> = TableDefinition::new("numbers");
const FORMAT_VERSION: &str = "version";
const NEXT_NUMBER: &str = "next";

pub(super) type Streams<'t> = Table<'t, &'static str, &'static [u8]>;

/// Opens it, or makes it where the store has nothing yet.
pub(super) fn open(disk: &dyn Disk) -> Result<Database, DefinitionsError> {
    let names = disk.list().map_err(|error| open_error("list", "its directory", &error))?;
    if names.iter().any(|name| name == NAME) {
        let (bytes, file) = read(disk).map_err(|error| open_error("read", NAME, &error))?;
        // Looked at as a copy, because to open a file is to write to it, also where a newer program wrote it.
        check(&bytes)?;
        let file = renew(disk, &bytes, file)?;
        return database(DiskBackend(file)).map_err(damaged);
    }
    if names.iter().any(|name| SegmentId::of_name(name).is_some()) {
        return Err(DefinitionsError::Missing { file: NAME.to_owned() });
    }
    create(disk)
}

/// Puts what was read into a file of its own, in the old one's place. After a failed sync the old one may have on disk
/// another part of a transaction than the system's memory shows, and what is built on that does not outlast a power loss.
/// Where the disk has no room for it, the old file is written with what it shows.
fn renew(disk: &dyn Disk, bytes: &[u8], old: Arc<dyn DiskFile>) -> Result<Arc<dyn DiskFile>, DefinitionsError> {
    let new_or_old = || match put_new(disk, bytes) {
        Err(error) if is_full(&error) => put(&*old, bytes).map(|()| None),
        other => other.map(Some),
    };
    let new = new_or_old().or_else(|error| with_reserve(disk, error, new_or_old));
    match new.map_err(|error| open_error("write", NEW_NAME, &error))? {
        Some(new) => named(disk, new),
        None => Ok(old),
    }
}

/// Makes it in memory first, so that a crash leaves a whole one or none, and all of it has its room on the disk.
fn create(disk: &dyn Disk) -> Result<Database, DefinitionsError> {
    let memory = MemoryBackend::default();
    let empty = database(memory.clone()).map_err(damaged)?;
    write(&empty, 1, |_| Ok(())).map_err(damaged)?;
    drop(empty);
    let bytes = memory.bytes();
    let new = put_new(disk, &bytes).or_else(|error| with_reserve(disk, error, || put_new(disk, &bytes)));
    let file = named(disk, new.map_err(|error| open_error("write", NEW_NAME, &error))?)?;
    database(DiskBackend(file)).map_err(damaged)
}

/// Writes a file under the new name; leaves none where that fails.
fn put_new(disk: &dyn Disk, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
    let new = disk.create(NEW_NAME).and_then(|file| put(&*file, bytes).map(|()| file));
    new.inspect_err(|_| {
        // What is left of it only takes room.
        let _ = disk.unlink(NEW_NAME);
    })
}

fn put(file: &dyn DiskFile, bytes: &[u8]) -> io::Result<()> {
    file.write_at(bytes, 0).and_then(|()| file.sync_data())
}

/// Has the new file take its name, for good.
fn named(disk: &dyn Disk, new: Arc<dyn DiskFile>) -> Result<Arc<dyn DiskFile>, DefinitionsError> {
    let failed = |operation| move |error: io::Error| open_error(operation, NEW_NAME, &error);
    disk.rename(NEW_NAME, NAME).map_err(failed("rename"))?;
    disk.sync_directory().map_err(failed("sync the directory of"))?;
    Ok(new)
}

/// Tries again with the room of the reserve, where there was none. The log takes it back when there is.
fn with_reserve<T>(disk: &dyn Disk, error: io::Error, again: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if is_full(&error) && disk.unlink(reserve::NAME).is_ok() { again() } else { Err(error) }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// One transaction, which is on disk afterwards.
pub(super) fn write(
    database: &Database,
    next_number: u32,
    change: impl FnOnce(&mut Streams<'_>) -> Result<(), redb::StorageError>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert(FORMAT_VERSION, VERSION)?;
        numbers.insert(NEXT_NUMBER, next_number)?;
        change(&mut transaction.open_table(STREAMS)?)?;
    }
    Ok(transaction.commit()?)
}

/// The streams, and the next number.
pub(super) fn load(database: &Database) -> Result<(BTreeMap<StreamName, Stored>, u32), DefinitionsError> {
    let transaction = database.begin_read().map_err(damaged)?;
    let numbers = transaction.open_table(NUMBERS).map_err(damaged)?;
    let number = |name| Ok(numbers.get(name).map_err(damaged)?.map(|number| number.value()));
    let version = number(FORMAT_VERSION)?.ok_or_else(|| damaged("it has no version"))?;
    if version != VERSION {
        return Err(DefinitionsError::Newer { file: NAME.to_owned(), found: version, known: VERSION });
    }
    let next_number = number(NEXT_NUMBER)?.ok_or_else(|| damaged("it has no next number"))?;
    let streams = transaction.open_table(STREAMS).map_err(damaged)?;
    let mut all = BTreeMap::new();
    for entry in streams.iter().map_err(damaged)? {
        let (name, stored) = entry.map_err(damaged)?;
        let name = StreamName::new(name.value()).map_err(damaged)?;
        let stored = Stored::decode(stored.value()).filter(|stored| stored.number < next_number);
        let stored = stored.ok_or_else(|| damaged(format!("what it has of stream `{name}` means nothing")))?;
        all.insert(name, stored);
    }
    Ok((all, next_number))
}

fn database(backend: impl StorageBackend) -> Result<Database, redb::DatabaseError> {
    Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create_with_backend(backend)
}

fn read(disk: &dyn Disk) -> io::Result<(Vec<u8>, Arc<dyn DiskFile>)> {
    let file = disk.open(NAME)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok((bytes, file))
}

/// Whether these bytes are sound and of this version.
fn check(bytes: &[u8]) -> Result<(), DefinitionsError> {
    if bytes.is_empty() {
        return Err(damaged("it is empty"));
    }
    load(&database(MemoryBackend::new(bytes)).map_err(damaged)?).map(drop)
}

#[expect(clippy::needless_pass_by_value, reason = "so that it stands in `map_err` as it is")]
fn damaged(reason: impl ToString) -> DefinitionsError {
    DefinitionsError::Damaged { file: NAME.to_owned(), reason: reason.to_string() }
}

fn open_error(operation: &'static str, file: &str, error: &dyn std::fmt::Display) -> DefinitionsError {
    DefinitionsError::Open { operation, file: file.to_owned(), reason: error.to_string() }
}
