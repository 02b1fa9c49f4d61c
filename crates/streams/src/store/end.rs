//! The end of the log: what a crash left of the last segment.

use std::ops::Range;
use std::sync::Arc;

use super::damage::{Cut, Damage};
use super::disk::{Disk, DiskFile};
use super::error::{OpenError, StoreFailed};
use super::header::{self, BadHeader, Header};
use super::index::Index;
use super::log::Active;
use super::manifest::Manifest;
use super::record;
use super::recovery::{Found, io_error};
use super::salt;
use super::scan::{Scan, scan};
use super::segment::Segment;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What opening a store found to be put in order, and left alone.
pub(super) struct Unsettled {
    /// A new store has no manifest yet.
    pub(super) has_no_manifest: bool,
    /// Segments of which no copy of the header was sound.
    pub(super) headers: Vec<Arc<Segment>>,
    end: Option<UnsettledEnd>,
}

enum UnsettledEnd {
    /// The file is to end here.
    Cut { name: String, file: Arc<dyn DiskFile>, len: u64 },
    /// Nothing was ever committed to it.
    NeverWritten { name: String },
}

impl Unsettled {
    pub(super) fn new(has_no_manifest: bool) -> Self {
        Self { has_no_manifest, headers: Vec::new(), end: None }
    }

    /// Puts the files in order.
    pub(super) fn settle(&mut self, disk: &dyn Disk) -> Result<(), StoreFailed> {
        for segment in std::mem::take(&mut self.headers) {
            let failed = |operation| {
                let name = segment.id().log_name();
                move |error: std::io::Error| StoreFailed::new(operation, name, &error)
            };
            let mut header = Vec::new();
            segment.header.put(&mut header);
            segment.file.write_at(&header, 0).map_err(failed("write the header of"))?;
            segment.file.sync_data().map_err(failed("sync"))?;
        }
        match self.end.take() {
            None => Ok(()),
            Some(UnsettledEnd::Cut { name, file, len }) => {
                let cut = file.set_len(len).and_then(|()| file.sync_data());
                cut.map_err(|error| StoreFailed::new("cut", name, &error))
            }
            Some(UnsettledEnd::NeverWritten { name }) => {
                // Nothing of it can be read, but nobody needs to believe that.
                let renamed = disk.rename(&name, &format!("{name}.torn")).and_then(|()| disk.sync_directory());
                renamed.map_err(|error| StoreFailed::new("rename the torn", name, &error))
            }
        }
    }
}

/// The last segment, scanned, if the manifest lets it grow on.
pub(super) struct Last {
    pub(super) found: Found,
    /// `None` where nothing was ever committed to it.
    pub(super) header: Option<Header>,
    bytes: Vec<u8>,
    /// Where a write may have been torn.
    torn_at: Option<usize>,
    /// What is before that.
    scan: Scan,
}

impl Last {
    /// Takes it out of what was found. One that is damaged so that nothing of it can be read stays there.
    pub(super) fn of(found: &mut Vec<Found>, manifest: &Manifest) -> Result<Option<Self>, OpenError> {
        let Some(mut last) = found.pop_if(|found| found.id.number >= manifest.open_from) else { return Ok(None) };
        let name = last.id.log_name();
        // Errors are not taken for damage here: what is cut is gone.
        let mut bytes = vec![0; usize::try_from(last.len).unwrap_or(usize::MAX)];
        last.file.read_at(&mut bytes, 0).map_err(io_error("read", &name))?;
        let newer = |version| OpenError::Newer {
            file: name.clone(),
            found: u32::from(version),
            known: u32::from(record::VERSION),
        };
        let header = match last.header {
            _ if bytes.len() < header::BYTES => None,
            Err(BadHeader::Damaged) => salt::recover(&bytes).map(|salt| Header { id: last.id, salt }),
            header => header.ok(),
        };
        let Some(header) = header else {
            if is_unwritten(&bytes) && !manifest.live.contains(&last.id) {
                let (torn_at, scan) = (Some(0), Scan::default());
                return Ok(Some(Self { found: last, header: None, bytes, torn_at, scan }));
            }
            last.header = Err(BadHeader::OfAnother);
            found.push(last);
            return Ok(None);
        };
        let whole = scan(&bytes, header.salt).map_err(newer)?;
        let torn_at = whole.torn_at();
        let scan = match torn_at {
            Some(at) => scan(bytes.get(..at).unwrap_or_default(), header.salt).map_err(newer)?,
            None => whole,
        };
        Ok(Some(Self { found: last, header: Some(header), bytes, torn_at, scan }))
    }

    /// What is no record, before the end.
    pub(super) fn bad(&self) -> &[Range<u64>] {
        &self.scan.bad
    }

    pub(super) fn damage(&self) -> impl Iterator<Item = Damage> {
        let header = (self.header.is_some() && self.found.header.is_err()).then_some(0..header::BYTES as u64);
        let bad = header.into_iter().chain(self.scan.bad.iter().cloned());
        bad.map(|bad| Damage::bytes(self.found.id, bad))
    }

    pub(super) fn cut(&self) -> Option<Cut> {
        let offset = self.torn_at.filter(|offset| *offset < self.bytes.len())?;
        let behind = self.header.and_then(|header| scan(&self.bytes, header.salt).ok());
        let whole_records = behind.map_or(0, |whole| whole.records).saturating_sub(self.scan.records);
        let looks_torn = self.header.is_none_or(|header| looks_torn(&self.bytes, offset, header.salt));
        Some(Cut {
            file: self.found.id.log_name(),
            offset: offset as u64,
            bytes: (self.bytes.len() - offset) as u64,
            whole_records,
            is_certain: whole_records == 0 && looks_torn,
        })
    }

    /// Makes sure of what is sound, and leaves the rest to [`Unsettled::settle`].
    pub(super) fn open(self, disk: &Arc<dyn Disk>, unsettled: &mut Unsettled) -> Result<Option<Active>, OpenError> {
        let Self { found, header, bytes, torn_at, scan } = self;
        let name = found.id.log_name();
        let Some(header) = header else {
            unsettled.end = Some(UnsettledEnd::NeverWritten { name });
            return Ok(None);
        };
        let len = torn_at.unwrap_or(bytes.len());
        // After a failed sync the system's cache may show bytes that are not on disk: what the last group has is written
        // again, the same bytes. The first group of a segment is written with the header.
        let group = scan.last_group.filter(|group| *group > header::BYTES).unwrap_or(0);
        let again = bytes.get(group..len).unwrap_or_default();
        found.file.write_at(again, group as u64).map_err(io_error("write", &name))?;
        found.file.sync_data().map_err(io_error("sync", &name))?;
        if len < bytes.len() {
            let file = Arc::clone(&found.file);
            unsettled.end = Some(UnsettledEnd::Cut { name, file, len: len as u64 });
        }
        let segment = Arc::new(Segment::new(Arc::clone(disk), header, found.file, Index::Memory(scan.index)));
        if found.header.is_err() {
            unsettled.headers.push(Arc::clone(&segment));
        }
        Ok(Some(Active { segment, len: len as u64, is_new: false }))
    }
}

/// Whether no group was ever committed to a segment: its header goes to disk with the first one.
fn is_unwritten(bytes: &[u8]) -> bool {
    bytes.len() < header::BYTES || bytes.iter().all(|byte| *byte == 0)
}

/// Whether the bad record at an offset is just what an unfinished write leaves: cut short, or with sectors that never came.
fn looks_torn(bytes: &[u8], at: usize, salt: u32) -> bool {
    let rest = bytes.get(at..).unwrap_or_default();
    match record::claimed_len(rest).filter(|len| *len <= rest.len()) {
        Some(len) => {
            let to_next_sector = (SECTOR_BYTES - at % SECTOR_BYTES).min(len);
            let (first, others) = rest.get(..len).unwrap_or_default().split_at(to_next_sector);
            let is_missing = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
            is_missing(first) || others.chunks(SECTOR_BYTES).any(is_missing)
        }
        // Unless only its length is wrong.
        None => !record::is_sound_with_length(rest, salt),
    }
}
