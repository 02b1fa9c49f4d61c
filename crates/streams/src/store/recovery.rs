//! Opening a store after whatever happened to it.
//!
//! 1. The manifest tells which segments count; other files of the store's are left over from something that a crash
//!    interrupted, and are unlinked.
//! 2. The index of each sealed segment is read, or made anew from its log.
//! 3. The last segment is scanned (`end`). What a crash tore off its end is named, and so is damage before that.
//! 4. What no segment has of a stream, though it should, is named.
//!
//! What the disk gives an error for may be sound, so nothing is concluded from it: where the manifest, a header, the last
//! segment, or an index and its log cannot be read, the store is not opened.
//!
//! Nothing that tells of damage is changed here: that waits for [`Log::settle`](super::log::Log::settle), when the caller
//! has kept what follows from it. A start that is refused or killed in between leaves the next one the same to find.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Arc, RwLock};

use super::carried::Carried;
use super::damage::Damage;
use super::disk::{Disk, DiskFile};
use super::end::{Last, Unsettled};
use super::error::OpenError;
use super::header::{self, BadHeader, Header, SegmentId};
use super::index::{FileIndex, Index};
use super::last::LastValues;
use super::ledger::Ledger;
use super::log::Active;
use super::manifest::{self, Manifest};
use super::record;
use super::recovered::{Recovered, RecoveredStreams};
use super::salt;
use super::scan::{read_whole, scan};
use super::segment::Segment;
use super::select::Selections;
use super::shared::{Shared, State};

pub(super) struct Opened {
    pub(super) shared: Shared,
    pub(super) next_number: u64,
    pub(super) active: Option<Active>,
    pub(super) unsettled: Unsettled,
    /// Segments that count and of which nothing can be read.
    pub(super) unreadable: Vec<SegmentId>,
    pub(super) ledger: Ledger,
    pub(super) recovered: Recovered,
}

/// A segment's file before its index is there.
pub(super) struct Found {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
    pub(super) header: Result<Header, BadHeader>,
}

pub(super) fn open(disk: &Arc<dyn Disk>) -> Result<Opened, OpenError> {
    let names = disk.list().map_err(io_error("list", "its directory"))?;
    let manifest = manifest_of(&**disk, &names)?;
    let mut unsettled = Unsettled::new(manifest.is_none());
    let manifest = manifest.unwrap_or_default();
    let mut found = find_segments(&**disk, &names, &manifest)?;
    let last = Last::of(&mut found, &manifest)?;
    let missing = missing_segments(&found, last.as_ref(), &manifest);
    let next_number = next_number(&found, last.as_ref(), &manifest);
    let mut segments = Vec::new();
    let mut damage: Vec<_> =
        missing.iter().map(|(first, last)| Damage::MissingSegments { first: *first, last: *last }).collect();
    let mut unreadable = Vec::new();
    let mut uncertain: Vec<_> = missing.iter().map(|(_, last)| (*last, u64::MAX)).collect();
    for found in found {
        if let Some((segment, bad)) = open_sealed(disk, &found)? {
            let segment = Arc::new(segment);
            if found.header.is_err() {
                damage.push(Damage::bytes(found.id, 0..header::BYTES as u64));
                unsettled.headers.push(Arc::clone(&segment));
            }
            damage.extend(bad.iter().map(|bad| Damage::bytes(found.id, bad.clone())));
            uncertain.extend(bad.last().map(|bad| (found.id.number, bad.start)));
            segments.push(segment);
        } else {
            damage.push(Damage::Segment { file: found.id.log_name() });
            uncertain.push((found.id.number, u64::MAX));
            unreadable.push(found.id);
        }
    }
    unlink_leftovers(&**disk, &names, &manifest);
    // After a failed sync the names as they are seen may not be on disk: the manifest's, and the last segment's.
    disk.sync_directory().map_err(io_error("sync", "its directory"))?;
    let mut cut = None;
    let mut active = None;
    if let Some(last) = last {
        cut = last.cut();
        damage.extend(last.damage());
        uncertain.extend(last.bad().last().map(|bad| (last.found.id.number, bad.start)));
        active = last.open(disk, &mut unsettled)?;
        segments.extend(active.iter().map(|active| Arc::clone(&active.segment)));
    }
    let has_no_manifest = unsettled.has_no_manifest;
    let (streams, ledger) = RecoveredStreams::gather(&segments, &manifest, &uncertain, &mut damage)?;
    let shared = Shared {
        state: RwLock::new(State { segments: Arc::new(segments), streams: streams.states(), replaced: HashMap::new() }),
        selections: Selections::default(),
        last_values: LastValues::default(),
        carried: RwLock::new(Carried::read(&**disk)?),
    };
    let recovered = Recovered { is_new: has_no_manifest, ..streams.recovered(cut, damage) };
    Ok(Opened { shared, next_number, active, unsettled, unreadable, ledger, recovered })
}

pub(super) fn io_error(operation: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let file = file.into();
    move |source| OpenError::Io { operation, file, source }
}

/// The manifest; `None` for a new store.
fn manifest_of(disk: &dyn Disk, names: &[String]) -> Result<Option<Manifest>, OpenError> {
    let manifest = Manifest::read(disk)?;
    if manifest.is_none() && names.iter().any(|name| SegmentId::of_name(name).is_some()) {
        return Err(OpenError::ManifestMissing { file: manifest::NAME.to_owned() });
    }
    Ok(manifest)
}

/// The segments that count, in order.
fn find_segments(disk: &dyn Disk, names: &[String], manifest: &Manifest) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::new();
    for name in names {
        let Some(id) = SegmentId::of_log_name(name).filter(|id| manifest.counts(*id)) else { continue };
        let file = disk.open(name).map_err(io_error("open", name))?;
        let len = file.len().map_err(io_error("read", name))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(header::BYTES)];
        file.read_at(&mut bytes, 0).map_err(io_error("read", name))?;
        let header = match Header::read(&bytes) {
            Err(BadHeader::Newer(found)) => return Err(OpenError::Newer { file: name.clone(), found, known: 1 }),
            Ok(header) if header.id != id => Err(BadHeader::OfAnother),
            header => header,
        };
        found.push(Found { id, file, len, header });
    }
    found.sort_by_key(|found| found.id);
    Ok(found)
}

/// A sealed segment, and the bytes of it that are damaged as far as that is known.
type Sealed = (Segment, Vec<Range<u64>>);

/// `None` when none of it can be read.
fn open_sealed(disk: &Arc<dyn Disk>, found: &Found) -> Result<Option<Sealed>, OpenError> {
    let header = match found.header {
        Ok(header) => header,
        Err(BadHeader::Damaged) => {
            let Some(salt) = salt::recover(&read_log(found)?) else { return Ok(None) };
            Header { id: found.id, salt }
        }
        Err(_) => return Ok(None),
    };
    let file = Arc::clone(&found.file);
    let name = found.id.index_name();
    if let Ok(index_file) = disk.open(&name)
        && let Ok(index) = FileIndex::open(index_file, header, found.len)
    {
        let lost = (index.log_len() > found.len).then(|| found.len..index.log_len());
        let segment = Segment::new(Arc::clone(disk), header, file, Index::File(Arc::new(index)));
        return Ok(Some((segment, lost.into_iter().collect())));
    }
    let scan = scan(&read_log(found)?, header.salt).map_err(|version| OpenError::Newer {
        file: found.id.log_name(),
        found: u32::from(version),
        known: u32::from(record::VERSION),
    })?;
    let segment = Segment::new(Arc::clone(disk), header, file, Index::Memory(scan.index));
    if scan.bad.is_empty() {
        // Of a damaged segment the next start shall tell the damage again.
        segment.save_index(found.len);
    }
    Ok(Some((segment, scan.bad)))
}

fn read_log(found: &Found) -> Result<Vec<u8>, OpenError> {
    read_whole(&*found.file, found.len).map_err(|(_, error)| io_error("read", found.id.log_name())(error))
}

/// Numbers that should be among the segments and are not, as first and last.
fn missing_segments(found: &[Found], last: Option<&Last>, manifest: &Manifest) -> BTreeSet<(u64, u64)> {
    let ids: BTreeSet<SegmentId> = found.iter().map(|found| found.id).chain(last.map(|last| last.found.id)).collect();
    let lost = manifest.live.difference(&ids);
    let mut missing: BTreeSet<_> = lost.map(|id| (id.number, id.number)).collect();
    let mut expected = manifest.open_from;
    for id in ids.iter().filter(|id| id.number >= manifest.open_from) {
        if id.number > expected {
            missing.insert((expected, id.number - 1));
        }
        expected = id.number.saturating_add(1);
    }
    missing
}

/// What the next segment is called: no number may be left out, else its segment would count as missing.
fn next_number(found: &[Found], last: Option<&Last>, manifest: &Manifest) -> u64 {
    let next = match last {
        Some(last) if last.header.is_none() => last.found.id.number,
        Some(last) => last.found.id.number.saturating_add(1),
        None => found.last().map_or(0, |found| found.id.number.saturating_add(1)),
    };
    next.max(manifest.open_from)
}

fn unlink_leftovers(disk: &dyn Disk, names: &[String], manifest: &Manifest) {
    for name in names {
        let is_leftover = match SegmentId::of_name(name) {
            Some(id) => !manifest.counts(id),
            None => name == manifest::NEW_NAME,
        };
        if is_leftover {
            // It only takes room, and the next start tries again.
            let _ = disk.unlink(name);
        }
    }
}
