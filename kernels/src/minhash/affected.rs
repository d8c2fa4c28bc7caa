//! Which rows a change reaches: those whose text is one that came or went, and those that can be similar to one.
//!
//! ```text
//!   entry of a row   hash of its text, 16 bytes | of its vector, 8 bytes | key of band 0, 4 bytes | key of band 1 | … |
//!                    sketch, 68 bytes
//! ```
//!
//! A pair is reported where two texts share a band and are similar, and copies of a text are paired with the first of
//! them. So the pairs of a text depend on its own rows and on those that share a band with it; and of these, where a band's
//! rows are all compared with each other, on those alone whose sketch does not rule out that they are similar. A
//! crowded band's rows are not all compared: all of them are reached.
//!
//! Time: one look at a table of bits for each band of each row, and one at a sketch for each pair that shares a band.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::sketch::can_be_similar;
use super::{Banding, SKETCH_BYTES, SimilarOptions};
use crate::view::MatrixView;

/// The first half of a text's SHA-256.
type TextHash = [u8; HASH_BYTES];

const HASH_BYTES: usize = 16;
const VECTOR_BYTES: usize = size_of::<u64>();
const KEY_BYTES: usize = size_of::<u32>();

/// Bits of the table that is looked at first: two megabytes, which stay in a core's cache.
const TABLE_BITS: u32 = 24;

/// Bytes of an entry.
pub fn entry_bytes(banding: Banding) -> usize {
    HASH_BYTES + VECTOR_BYTES + KEY_BYTES * banding.bands + SKETCH_BYTES
}

/// What is known of rows beside their signatures.
pub struct Facts<'a, 'f> {
    /// The text of a row.
    pub text: &'f (dyn Fn(usize) -> &'a [u8] + Sync),
    /// Hash of a row's vector; 0 where it has none.
    pub vector: &'f (dyn Fn(usize) -> u64 + Sync),
    /// One after the other.
    pub sketches: &'f [u8],
}

/// The entries of texts, one after the other.
pub fn entries(
    facts: &Facts<'_, '_>,
    signatures: MatrixView<'_, u32>,
    banding: Banding,
) -> Vec<u8> {
    let width = entry_bytes(banding);
    let mut entries = vec![0; signatures.rows() * width];
    entries.par_chunks_exact_mut(width).enumerate().for_each(|(row, entry)| {
        let (hashes, rest) = entry.split_at_mut(HASH_BYTES + VECTOR_BYTES);
        hashes[..HASH_BYTES].copy_from_slice(&Sha256::digest((facts.text)(row))[..HASH_BYTES]);
        hashes[HASH_BYTES..].copy_from_slice(&(facts.vector)(row).to_le_bytes());
        let bands = signatures.row(row).chunks_exact(banding.rows);
        let (keys, sketch) = rest.split_at_mut(KEY_BYTES * banding.bands);
        for (room, band) in keys.chunks_exact_mut(KEY_BYTES).zip(bands) {
            room.copy_from_slice(&key(band).to_le_bytes());
        }
        sketch.copy_from_slice(&facts.sketches[row * SKETCH_BYTES..][..SKETCH_BYTES]);
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
fn hash_of(entry: &[u8]) -> TextHash {
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
    let end = entry.len() - SKETCH_BYTES;
    entry[HASH_BYTES + VECTOR_BYTES..end].chunks_exact(KEY_BYTES).enumerate().map(key)
}

/// The hash of the vector that a row with this entry had; 0 for none.
pub fn vector_of(entry: &[u8]) -> u64 {
    let bytes = entry[HASH_BYTES..].first_chunk::<VECTOR_BYTES>();
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn sketch_of(entry: &[u8]) -> &[u8] {
    &entry[entry.len() - SKETCH_BYTES..]
}

/// Texts that came or went, and the bands that they have.
pub struct Change<'a> {
    hashes: HashSet<TextHash>,
    /// The entries of those texts that have a band, each text once.
    by_key: HashMap<u64, Vec<&'a [u8]>>,
    table: Vec<u64>,
}

impl<'a> Change<'a> {
    /// Of these entries.
    pub fn of(entries: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut hashes, mut by_key) = (HashSet::new(), HashMap::<u64, Vec<&[u8]>>::new());
        let mut table = vec![0; (1 << TABLE_BITS) / 64];
        for entry in entries {
            if hashes.insert(hash_of(entry)) {
                for key in keys_of(entry) {
                    let bit = bit_of(key);
                    table[bit / 64] |= 1 << (bit % 64);
                    by_key.entry(key).or_default().push(entry);
                }
            }
        }
        Self { hashes, by_key, table }
    }

    /// Whether a row with this entry has a text that came or went.
    pub fn has_text(&self, entry: &[u8]) -> bool {
        self.hashes.contains(&hash_of(entry))
    }

    /// The rows of these entries that can be similar to one, or share a crowded band with one.
    pub fn reached(
        &self,
        entries: &[u8],
        entry_bytes: usize,
        options: &SimilarOptions,
    ) -> Vec<usize> {
        let rows = entries.par_chunks_exact(entry_bytes).enumerate();
        let shared: Vec<(usize, u64)> = rows
            .flat_map_iter(|(row, entry)| self.shared(entry).map(move |key| (row, key)))
            .collect();
        // Copies of a text are counted, too, though they are in no band: a band is crowded too early, never too late.
        let mut sizes: HashMap<u64, usize> = HashMap::new();
        for (_, key) in &shared {
            *sizes.entry(*key).or_default() += 1;
        }
        let is_reached = |(row, key): &(usize, u64)| {
            let own = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
            let is_crowded =
                sizes.get(key).is_some_and(|size| size + own.len() > options.bucket_limit);
            let sketch = sketch_of(&entries[row * entry_bytes..][..entry_bytes]);
            let can_be =
                |other: &&[u8]| can_be_similar(sketch, sketch_of(other), options.threshold);
            is_crowded || own.iter().any(can_be)
        };
        let reached = shared.par_iter().filter(|hit| is_reached(hit)).map(|(row, _)| *row);
        let mut reached: Vec<usize> = reached.collect();
        // A row's hits follow each other.
        reached.dedup();
        reached
    }

    /// The bands that it shares with one. A text shares all of its own.
    fn shared<'e>(&'e self, entry: &'e [u8]) -> impl Iterator<Item = u64> + use<'a, 'e> {
        keys_of(entry).filter(|key| {
            let bit = bit_of(*key);
            self.table[bit / 64] >> (bit % 64) & 1 == 1 && self.by_key.contains_key(key)
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

    /// A sketch of these bits, of so many shingles.
    fn sketch(bits: u64, count: u32) -> Vec<u8> {
        let mut sketch = vec![0; SKETCH_BYTES];
        sketch[..8].copy_from_slice(&bits.to_le_bytes());
        sketch[SKETCH_BYTES - 4..].copy_from_slice(&count.to_le_bytes());
        sketch
    }

    #[test]
    fn a_change_reaches_what_shares_a_band_with_it_and_can_be_similar() {
        let banding = Banding { bands: 2, rows: 2 };
        let signatures: Vec<u32> =
            [[1, 2, 3, 4], [1, 2, 9, 9], [9, 9, 1, 2], [7, 7, 7, 7], [1, 2, 8, 8]].concat();
        let view = MatrixView::new(&signatures, 5, 4).unwrap();
        let texts = ["a", "b", "c", "d", "e"];
        // The last one differs from the first in 20 shingles of 20.
        let bits = [0xfffff, 0xffffe, 0xfffff, 0xfffff, 0xfffff << 40];
        let sketches: Vec<u8> = bits.iter().flat_map(|bits| sketch(*bits, 20)).collect();
        let facts = Facts {
            text: &|row| texts[row].as_bytes(),
            vector: &|row| 7 * row as u64,
            sketches: &sketches,
        };
        let entries = entries(&facts, view, banding);
        let width = entry_bytes(banding);
        let rows: Vec<&[u8]> = entries.chunks_exact(width).collect();
        let change = Change::of([rows[0]].into_iter());
        let mut options = SimilarOptions::for_threshold(0.7, Default::default()).unwrap();
        // The third has the same values in other bands.
        assert_eq!(change.reached(&entries, width, &options), [0, 1]);
        // Of a band that is crowded all are.
        options.bucket_limit = 3;
        assert_eq!(change.reached(&entries, width, &options), [0, 1, 4]);
        let has: Vec<bool> = rows.iter().map(|row| change.has_text(row)).collect();
        assert_eq!(has, [true, false, false, false, false]);
        assert_eq!((vector_of(rows[0]), vector_of(rows[3])), (0, 21));
    }
}
