//! The file of an index, from the index in memory.
//!
//! ```text
//! places      each chunk of each stream
//! places      of each topic of each stream
//! blocks      the table of topics, sorted, in blocks of about 4 KiB
//! ids         message ids and their topics
//! summary     which segment, where ids, streams, chunks and blocks are
//! footer      u64 summary's position, u32 its length, u32 its checksum, magic
//! ```
//!
//! Every part has a checksum at the place that points to it.

use super::super::bytes::put_varint;
use super::super::header::Header;
use super::block::{Entry, Part};
use super::memory::{MemoryIndex, StreamIndex};
use super::outline::StreamOutline;

pub(super) const MAGIC: &[u8; 8] = b"carilidx";
pub(super) const VERSION: u32 = 2;
pub(super) const FOOTER_BYTES: usize = 24;
const BLOCK_BYTES: usize = 4096;

/// For a segment with this header, whose file has `log_len` bytes.
pub(in super::super) fn encode(index: &MemoryIndex, header: Header, log_len: u64) -> Vec<u8> {
    let mut streams: Vec<&StreamIndex> = index.streams.values().collect();
    streams.sort_unstable_by_key(|stream| stream.outline.summary.stream);

    let mut out = Vec::new();
    let mut described_streams = Vec::new();
    put_varint(&mut described_streams, streams.len() as u64);
    for stream in &streams {
        describe_stream(stream, &mut out, &mut described_streams);
    }
    let blocks = put_topics(&streams, &mut out);
    let ids = Part::put(&mut out, &index.encode_ids());

    let mut summary = Vec::new();
    summary.extend_from_slice(&VERSION.to_le_bytes());
    summary.extend_from_slice(&header.id.number.to_le_bytes());
    summary.extend_from_slice(&header.id.generation.to_le_bytes());
    summary.extend_from_slice(&header.salt.to_le_bytes());
    summary.extend_from_slice(&log_len.to_le_bytes());
    ids.describe(&mut summary);
    summary.extend_from_slice(&described_streams);
    put_varint(&mut summary, blocks.len() as u64);
    for block in &blocks {
        block.describe(&mut summary);
    }

    let Part { position, len, checksum } = Part::put(&mut out, &summary);
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(MAGIC);
    out
}

fn describe_stream(stream: &StreamIndex, out: &mut Vec<u8>, described: &mut Vec<u8>) {
    let StreamOutline { summary, lost, chunk_heads } = &stream.outline;
    described.extend_from_slice(&summary.stream.to_le_bytes());
    for number in [
        summary.covers.0,
        summary.covers.1,
        summary.first_sequence,
        summary.last_sequence,
        summary.first_time_us,
        summary.last_time_us,
        summary.count,
        summary.bytes,
    ] {
        put_varint(described, number);
    }
    put_varint(described, lost.len() as u64);
    for (first, last) in lost {
        put_varint(described, *first);
        put_varint(described, *last);
    }
    put_varint(described, chunk_heads.len() as u64);
    for (head, chunk) in chunk_heads.iter().zip(&stream.chunks) {
        put_varint(described, head.sequence);
        put_varint(described, head.time_us);
        put_varint(described, head.offset);
        Part::put(out, &chunk.bytes).describe(described);
    }
}

fn put_topics(streams: &[&StreamIndex], out: &mut Vec<u8>) -> Vec<Part> {
    let (mut blocks, mut block) = (Vec::new(), Vec::new());
    for stream in streams {
        let mut topics: Vec<_> = stream.topics.iter().collect();
        topics.sort_unstable_by_key(|(topic, _)| *topic);
        for (topic, entry) in topics {
            let places = Part::put(out, &entry.places);
            Entry { stream: stream.outline.summary.stream, topic, summary: entry.summary, places }.put(&mut block);
            if block.len() >= BLOCK_BYTES {
                blocks.push(std::mem::take(&mut block));
            }
        }
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks.iter().map(|block| Part::put(out, block)).collect()
}
