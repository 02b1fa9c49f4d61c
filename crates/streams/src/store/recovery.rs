//! Opening a store after whatever happened to it.
//!
//! 1. The manifest tells which segments count; other files of the store's are left over from something that a crash
//!    interrupted, and are unlinked.
//! 2. The index of each sealed segment is read, or made anew from its log.
//! 3. The last segment is scanned. What a crash tore off its end is cut; damage before that is named. What the
//!    last group has is written again and synced, because after a failed sync the system's cache may show bytes that are
//!    not on disk.
//! 4. What no segment has of a stream, though it should, is named.
//!
//! All that can refuse to be opened is looked at before anything is changed.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, RwLock};

use super::damage::{Cut, Damage};
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::header::{self, BadHeader, Header, SegmentId};
use super::index::{FileIndex, Index};
use super::last::LastValues;
use super::ledger::Ledger;
use super::log::Active;
use super::manifest::{self, Manifest};
use super::record;
use super::recovered::{Recovered, RecoveredStreams};
use super::scan::{Scan, read_what_can_be_read, scan};
use super::segment::Segment;
use super::select::Selections;
use super::shared::{Shared, State};

pub(super) struct Opened {
    pub(super) shared: Shared,
    pub(super) next_number: u64,
    pub(super) active: Option<Active>,
    /// Segments that count and of which nothing can be read.
    pub(super) unreadable: Vec<SegmentId>,
    pub(super) ledger: Ledger,
    pub(super) recovered: Recovered,
}

/// A segment's file before its index is there.
struct Found {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    len: u64,
    header: Result<Header, BadHeader>,
}

pub(super) fn open(disk: &Arc<dyn Disk>) -> Result<Opened, OpenError> {
    let names = disk.list().map_err(io_error("list", "its directory"))?;
    let manifest = manifest_of(&**disk, &names)?;
    let mut found = find_segments(&**disk, &names, &manifest)?;
    let last = prepare_last(&mut found, &manifest)?;
    let missing = missing_segments(&found, last.as_ref(), &manifest);
    let next_number = next_number(&found, last.as_ref(), &manifest);
    let mut segments = Vec::new();
    let mut damage: Vec<_> =
        missing.iter().map(|(first, last)| Damage::MissingSegments { first: *first, last: *last }).collect();
    let mut unreadable = Vec::new();
    let mut uncertain: Vec<_> = missing.iter().map(|(_, last)| (*last, u64::MAX)).collect();
    for found in found {
        if let Some((segment, bad)) = open_sealed(disk, &found)? {
            damage.extend(bad.iter().map(|bad| Damage::bytes(segment.id(), bad.clone())));
            uncertain.extend(bad.last().map(|bad| (segment.id().number, bad.start)));
            segments.push(Arc::new(segment));
        } else {
            damage.push(Damage::Segment { file: found.id.log_name() });
            uncertain.push((found.id.number, u64::MAX));
            unreadable.push(found.id);
        }
    }
    // From here on more than indexes is changed.
    unlink_leftovers(&**disk, &names, &manifest);
    let mut cut = None;
    let mut active = None;
    if let Some(last) = last {
        cut = last.cut();
        damage.extend(last.scan.bad.iter().map(|bad| Damage::bytes(last.found.id, bad.clone())));
        uncertain.extend(last.scan.bad.last().map(|bad| (last.found.id.number, bad.start)));
        active = open_last(disk, last)?;
        segments.extend(active.iter().map(|active| Arc::clone(&active.segment)));
    }
    let (streams, ledger) = RecoveredStreams::gather(&segments, &manifest, &uncertain, &mut damage);
    let shared = Shared {
        state: RwLock::new(State { segments: Arc::new(segments), streams: streams.states(), replaced: HashMap::new() }),
        selections: Selections::default(),
        last_values: LastValues::default(),
    };
    Ok(Opened { shared, next_number, active, unreadable, ledger, recovered: streams.recovered(cut, damage) })
}

fn io_error(operation: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let file = file.into();
    move |source| OpenError::Io { operation, file, source }
}

/// The manifest; a new store gets one before anything else.
fn manifest_of(disk: &dyn Disk, names: &[String]) -> Result<Manifest, OpenError> {
    if let Some(manifest) = Manifest::read(disk)? {
        return Ok(manifest);
    }
    if names.iter().any(|name| SegmentId::of_name(name).is_some()) {
        return Err(OpenError::ManifestMissing { file: manifest::NAME.to_owned() });
    }
    let manifest = Manifest::default();
    manifest.write(disk).map_err(io_error("write", manifest::NAME))?;
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
            // Another segment's bytes under this name.
            Ok(header) if header.id != id => Err(BadHeader::Damaged),
            header => header,
        };
        found.push(Found { id, file, len, header });
    }
    found.sort_by_key(|found| found.id);
    Ok(found)
}

/// The last segment, scanned, if the manifest lets it grow on.
struct Last {
    found: Found,
    header: Option<Header>,
    bytes: Vec<u8>,
    torn_at: Option<usize>,
    scan: Scan,
}

impl Last {
    fn cut(&self) -> Option<Cut> {
        let offset = self.torn_at.filter(|offset| *offset < self.bytes.len())?;
        let behind =
            self.header.and_then(|header| scan(&self.bytes, header.salt).ok()).map_or(0, |whole| whole.records);
        Some(Cut {
            file: self.found.id.log_name(),
            offset: offset as u64,
            bytes: (self.bytes.len() - offset) as u64,
            whole_records: behind.saturating_sub(self.scan.records),
        })
    }
}

fn prepare_last(found: &mut Vec<Found>, manifest: &Manifest) -> Result<Option<Last>, OpenError> {
    let Some(last) = found.pop_if(|found| found.id.number >= manifest.open_from) else { return Ok(None) };
    let name = last.id.log_name();
    // Errors are not taken for damage here: what is cut is gone.
    let mut bytes = vec![0; usize::try_from(last.len).unwrap_or(usize::MAX)];
    last.file.read_at(&mut bytes, 0).map_err(io_error("read", &name))?;
    let newer =
        |version| OpenError::Newer { file: name.clone(), found: u32::from(version), known: u32::from(record::VERSION) };
    // A header of which only one copy was written is as good as none: no record can follow it.
    let whole_header = last.header.ok().filter(|_| bytes.len() >= header::BYTES);
    let Some(header) = whole_header else {
        // It was made for a group that never was committed: else its header had been synced.
        return Ok(Some(Last { found: last, header: None, bytes, torn_at: Some(0), scan: Scan::default() }));
    };
    let whole = scan(&bytes, header.salt).map_err(newer)?;
    let torn_at = whole.torn_at();
    let scan = match torn_at {
        Some(at) => scan(bytes.get(..at).unwrap_or_default(), header.salt).map_err(newer)?,
        None => whole,
    };
    Ok(Some(Last { found: last, header: Some(header), bytes, torn_at, scan }))
}

/// Cuts what was torn, and makes sure of what is left.
fn open_last(disk: &Arc<dyn Disk>, last: Last) -> Result<Option<Active>, OpenError> {
    let Last { found, header, bytes, torn_at, scan } = last;
    let name = found.id.log_name();
    let Some(header) = header else {
        // Nothing of it can be read, but nobody needs to believe that.
        disk.rename(&name, &format!("{name}.torn")).map_err(io_error("rename the torn", &name))?;
        disk.sync_directory().map_err(io_error("sync the directory of", &name))?;
        return Ok(None);
    };
    let len = torn_at.unwrap_or(bytes.len());
    if len < bytes.len() {
        found.file.set_len(len as u64).map_err(io_error("cut", &name))?;
    }
    // The first group of a segment is written with the header.
    let group = scan.last_group.filter(|group| *group > header::BYTES).unwrap_or(0);
    let again = bytes.get(group..len).unwrap_or_default();
    found.file.write_at(again, group as u64).map_err(io_error("write", &name))?;
    found.file.sync_data().map_err(io_error("sync", &name))?;
    disk.sync_directory().map_err(io_error("sync the directory of", &name))?;
    let segment = Segment::new(Arc::clone(disk), header, found.file, Index::Memory(scan.index));
    Ok(Some(Active { segment: Arc::new(segment), len: len as u64, is_new: false }))
}

/// A sealed segment, and the bytes of it that are damaged as far as that is known.
type Sealed = (Segment, Vec<Range<u64>>);

/// `None` when none of it can be read.
fn open_sealed(disk: &Arc<dyn Disk>, found: &Found) -> Result<Option<Sealed>, OpenError> {
    let Ok(header) = found.header else { return Ok(None) };
    let file = Arc::clone(&found.file);
    let name = found.id.index_name();
    if let Ok(index_file) = disk.open(&name)
        && let Ok(index) = FileIndex::open(index_file, header, found.len)
    {
        let lost = (index.log_len() > found.len).then(|| found.len..index.log_len());
        let segment = Segment::new(Arc::clone(disk), header, file, Index::File(Arc::new(index)));
        return Ok(Some((segment, lost.into_iter().collect())));
    }
    let (bytes, incomplete) = read_what_can_be_read(&*found.file, found.len);
    let scan = scan(&bytes, header.salt).map_err(|version| OpenError::Newer {
        file: found.id.log_name(),
        found: u32::from(version),
        known: u32::from(record::VERSION),
    })?;
    let segment = Segment::new(Arc::clone(disk), header, file, Index::Memory(scan.index));
    // An index of what could not be read now would say for ever that it is lost; and of a damaged segment the next
    // start shall tell the damage again.
    if scan.bad.is_empty() && !incomplete {
        segment.save_index(found.len);
    }
    Ok(Some((segment, scan.bad)))
}

/// Numbers that should be among the segments and are not, as first and last.
fn missing_segments(found: &[Found], last: Option<&Last>, manifest: &Manifest) -> Vec<(u64, u64)> {
    let ids: Vec<SegmentId> = found.iter().map(|found| found.id).chain(last.map(|last| last.found.id)).collect();
    let lost = manifest.live.iter().filter(|id| !ids.contains(id));
    let mut missing: Vec<_> = lost.map(|id| (id.number, id.number)).collect();
    let mut expected = manifest.open_from;
    for id in ids.iter().filter(|id| id.number >= manifest.open_from) {
        if id.number > expected {
            missing.push((expected, id.number - 1));
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
