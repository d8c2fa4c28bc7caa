//! Which rows a change reaches: those whose text is one that came or went, and those that share a band with one.
//!
//! ```text
//!   entry of a row   hash of its text, 16 bytes | key of band 0, 4 bytes | key of band 1 | …
//! ```
//!
//! A pair is reported where two texts share a band, and copies of a text are paired with the first of them. So the pairs
//! of a text depend on its own rows and on those that share a band with it, and on nothing else; what becomes of
//! a change can be computed from these alone.
//!
//! Time: one look at a table of bits for each band of each row.

use std::collections::HashSet;

use kernels::MatrixView;
use kernels::minhash::Banding;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// The first half of a text's SHA-256.
pub(crate) type TextHash = [u8; HASH_BYTES];

const HASH_BYTES: usize = 16;
const KEY_BYTES: usize = size_of::<u32>();

/// Bits of the table that is looked at first: two megabytes, which stay in a core's cache.
const TABLE_BITS: u32 = 24;

/// Bytes of an entry.
pub(crate) fn entry_bytes(banding: Banding) -> usize {
    HASH_BYTES + KEY_BYTES * banding.bands
}

/// The entries of texts, one after the other.
pub(crate) fn entries<'a>(
    text: &(dyn Fn(usize) -> &'a [u8] + Sync),
    signatures: MatrixView<'_, u32>,
    banding: Banding,
) -> Vec<u8> {
    let width = entry_bytes(banding);
    let mut entries = vec![0; signatures.rows() * width];
    entries.par_chunks_exact_mut(width).enumerate().for_each(|(row, entry)| {
        entry[..HASH_BYTES].copy_from_slice(&Sha256::digest(text(row))[..HASH_BYTES]);
        let bands = signatures.row(row).chunks_exact(banding.rows);
        for (room, band) in entry[HASH_BYTES..].chunks_exact_mut(KEY_BYTES).zip(bands) {
            room.copy_from_slice(&key(band).to_le_bytes());
        }
    });
    entries
}

/// The values of a band as one number; two bands that differ share it once in four thousand millions.
fn key(band: &[u32]) -> u32 {
    let step = |hash: u64, value: &u32| {
        let mixed = (hash ^ u64::from(*value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 29)
    };
    (band.iter().fold(0xCBF2_9CE4_8422_2325, step) >> 16) as u32
}

/// The hash in an entry.
pub(crate) fn hash_of(entry: &[u8]) -> TextHash {
    let mut hash = TextHash::default();
    hash.copy_from_slice(&entry[..HASH_BYTES]);
    hash
}

fn keys_of(entry: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let key = |(band, bytes): (usize, &[u8])| {
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(bytes);
        (band as u64) << 32 | u64::from(u32::from_le_bytes(key))
    };
    entry[HASH_BYTES..].chunks_exact(KEY_BYTES).enumerate().map(key)
}

/// Texts that came or went, and the bands that they have.
#[derive(Default)]
pub(crate) struct Change {
    hashes: HashSet<TextHash>,
    keys: HashSet<u64>,
    table: Vec<u64>,
}

impl Change {
    /// Of these entries.
    pub(crate) fn of<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut change = Self { table: vec![0; (1 << TABLE_BITS) / 64], ..Self::default() };
        for entry in entries {
            if change.hashes.insert(hash_of(entry)) {
                for key in keys_of(entry) {
                    let bit = bit_of(key);
                    change.table[bit / 64] |= 1 << (bit % 64);
                    change.keys.insert(key);
                }
            }
        }
        change
    }

    /// Whether a row with this entry has a text that came or went.
    pub(crate) fn has_text(&self, entry: &[u8]) -> bool {
        self.hashes.contains(&hash_of(entry))
    }

    /// The rows of these entries that share a band with one.
    pub(crate) fn reached(&self, entries: &[u8], entry_bytes: usize) -> Vec<usize> {
        let rows = entries.par_chunks_exact(entry_bytes).enumerate();
        rows.filter(|(_, entry)| self.reaches(entry)).map(|(row, _)| row).collect()
    }

    /// Whether it shares a band with one. A text shares all of its own.
    fn reaches(&self, entry: &[u8]) -> bool {
        keys_of(entry).any(|key| {
            let bit = bit_of(key);
            self.table[bit / 64] >> (bit % 64) & 1 == 1 && self.keys.contains(&key)
        })
    }
}

fn bit_of(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - TABLE_BITS)) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_reaches_what_shares_a_band_with_it() {
        let banding = Banding { bands: 2, rows: 2 };
        let signatures: Vec<u32> =
            [[1, 2, 3, 4], [1, 2, 9, 9], [9, 9, 1, 2], [7, 7, 7, 7]].concat();
        let view = MatrixView::new(&signatures, 4, 4).unwrap();
        let texts = ["a", "b", "c", "d"];
        let entries = entries(&|row| texts[row].as_bytes(), view, banding);
        let rows: Vec<&[u8]> = entries.chunks_exact(entry_bytes(banding)).collect();
        let change = Change::of([rows[0]].into_iter());
        let reached: Vec<bool> = rows.iter().map(|row| change.reaches(row)).collect();
        // The third has the same values in other bands.
        assert_eq!(reached, [true, true, false, false]);
        let has: Vec<bool> = rows.iter().map(|row| change.has_text(row)).collect();
        assert_eq!(has, [true, false, false, false]);
    }
}
