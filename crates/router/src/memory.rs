//! The memory that waits: what several connections share counts once.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    rc::Rc,
};

use bytes::Bytes;
use hashbrown::{HashMap, hash_map::Entry};

/// What a message takes beside its bytes: its struct, its counts, and what an allocator adds.
pub(crate) const OVERHEAD_BYTES: usize = 96;

/// Bodies of asides are counted by the blocks of memory that they lie in: readers of a stream get parts of the same
/// bytes, which begin and end at different messages.
const BLOCK_BYTES: usize = 4 << 10;
/// A smaller body is counted as if nobody shared it: whole blocks could be much more than it is.
const SHARED_FROM_BYTES: usize = 4 * BLOCK_BYTES;
/// The table of blocks keeps the memory of so many while it is empty, and no more.
const KEPT_BLOCKS: usize = 256;

/// The memory of all that waits in a router or is on its way out, each message once however many connections share it,
/// and each part of a large body once however many asides have it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Rc<Totals>);

#[derive(Debug, Default)]
struct Totals {
    bytes: Cell<u64>,
    /// How many bodies lie in a block, by its address in blocks.
    blocks: RefCell<HashMap<usize, u32>>,
}

impl Memory {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// Counts something of so many bytes, and its overhead, until what is returned is dropped.
    pub(crate) fn count(&self, bytes: usize) -> Counted {
        let bytes = (bytes + OVERHEAD_BYTES) as u64;
        self.0.bytes.set(self.0.bytes.get() + bytes);
        Counted { bytes, memory: self.clone() }
    }

    /// Counts an aside and its overhead until what is returned is dropped, which is to be when its body is. What of the
    /// body is counted already is not counted again.
    pub(crate) fn count_aside(&self, head: &[u8], body: &Bytes) -> CountedAside {
        if body.len() < SHARED_FROM_BYTES {
            return CountedAside { blocks: 0..0, alone: self.count(head.len() + body.len()) };
        }
        let start = body.as_ptr().addr();
        let blocks = start / BLOCK_BYTES..(start + body.len()).div_ceil(BLOCK_BYTES);
        self.0.enter(blocks.clone());
        CountedAside { blocks, alone: self.count(head.len()) }
    }
}

impl Totals {
    fn enter(&self, blocks: Range<usize>) {
        let mut bodies = self.blocks.borrow_mut();
        for block in blocks {
            let bodies = bodies.entry(block).or_insert(0);
            if *bodies == 0 {
                self.bytes.set(self.bytes.get() + BLOCK_BYTES as u64);
            }
            *bodies += 1;
        }
    }

    fn leave(&self, blocks: Range<usize>) {
        let mut bodies = self.blocks.borrow_mut();
        for block in blocks {
            let Entry::Occupied(mut entry) = bodies.entry(block) else { continue };
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                self.bytes.set(self.bytes.get() - BLOCK_BYTES as u64);
            }
        }
        if bodies.is_empty() && bodies.capacity() > KEPT_BLOCKS {
            *bodies = HashMap::new();
        }
    }
}

/// A part of the memory.
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: u64,
    memory: Memory,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Memory(totals) = &self.memory;
        totals.bytes.set(totals.bytes.get() - self.bytes);
    }
}

/// An aside's part of the memory.
#[derive(Debug)]
pub(crate) struct CountedAside {
    /// Those that its body lies in; none where that is not shared.
    blocks: Range<usize>,
    /// What it has alone.
    alone: Counted,
}

impl Drop for CountedAside {
    fn drop(&mut self) {
        self.alone.memory.0.leave(self.blocks.clone());
    }
}
