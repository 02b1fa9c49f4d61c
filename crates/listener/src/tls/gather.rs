//! Bytes that lie in several pieces, taken from the front.

use std::io::IoSlice;

/// What is left of some pieces.
pub(super) struct Gather<'a> {
    /// What is left of the first piece.
    first: &'a [u8],
    /// The pieces behind it.
    behind: &'a [IoSlice<'a>],
    left: usize,
}

impl<'a> From<&'a [u8]> for Gather<'a> {
    fn from(piece: &'a [u8]) -> Self {
        Self { first: piece, behind: &[], left: piece.len() }
    }
}

impl<'a> From<&'a [IoSlice<'a>]> for Gather<'a> {
    fn from(pieces: &'a [IoSlice<'a>]) -> Self {
        Self { first: &[], behind: pieces, left: pieces.iter().map(|piece| piece.len()).sum() }
    }
}

impl<'a> Gather<'a> {
    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Takes so many bytes, if they lie in one piece.
    pub(super) fn take_piece(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.skip_empty();
        let (piece, rest) = self.first.split_at_checked(bytes)?;
        self.first = rest;
        self.left -= bytes;
        Some(piece)
    }

    /// Takes as many bytes as `out` has room for, or as are left.
    pub(super) fn copy_to(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() && self.left > 0 {
            self.skip_empty();
            let bytes = self.first.len().min(out.len());
            let (Some(piece), Some(room)) = (self.take_piece(bytes), out.split_off_mut(..bytes)) else { return };
            room.copy_from_slice(piece);
        }
    }

    fn skip_empty(&mut self) {
        while self.first.is_empty()
            && let [next, behind @ ..] = self.behind
        {
            // The piece itself lives as long as the slice of pieces does.
            self.first = next;
            self.behind = behind;
        }
    }
}
