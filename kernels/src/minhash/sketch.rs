//! Sketches of texts that tell, without the texts, that two can't be similar: the bitmap filter of Sandes, Teodoro and
//! Melo, "Bitmap filter: Speeding up exact set similarity joins with bitwise operations" (2020), section 4.
//!
//! ```text
//!   sketch   512 bits: bit h mod 512 is turned over by each shingle of hash h | number of shingles, 4 bytes
//! ```
//! A bit that two sketches differ in is turned over by a shingle that only one of them has. So |A △ B| is at least the number
//! of such bits, and where J ≥ t it is at most (1 − t)/(1 + t) · (|A| + |B|): what has more is not similar. Nothing
//! similar is ever lost; how much else is kept depends on how long the texts are beside 512.

use rayon::prelude::*;

use super::check::{LEAST_SLOTS, Place, Table};
use super::shingle::Shingler;
use super::{MinHashOptions, OPERATION, TextsView};
use crate::error::{Error, Result};
use crate::execution::Execution;

/// Bits, as words.
const WORDS: usize = 8;
/// Bytes of a sketch.
pub const SKETCH_BYTES: usize = WORDS * size_of::<u64>() + size_of::<u32>();
/// Slots of a thread's largest table, of 16 bytes each: longer texts are gone over several times.
const MOST_SLOTS: usize = 1 << 16;
/// Texts that a thread takes together.
const GROUP: usize = 256;
/// The most bits that choose a pass.
const MOST_BITS: u32 = 32;

/// Computes the sketch of every text, one after the other, into `sketches`.
///
/// Fails on options that mean nothing, on room of another size than texts × [`SKETCH_BYTES`], and when cancelled.
/// Memory: 2 MiB a thread.
pub fn sketches(
    texts: TextsView<'_>,
    options: &MinHashOptions,
    sketches: &mut [u8],
    execution: &Execution,
) -> Result<()> {
    options.check()?;
    if sketches.len() != texts.len() * SKETCH_BYTES {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("room for {} bytes of sketches", sketches.len()),
            expected: format!("{} texts x {SKETCH_BYTES} bytes", texts.len()),
        });
    }
    let shingler = options.plan().shingler;
    let wanted = texts.longest().saturating_mul(2).next_power_of_two();
    let slots = wanted.clamp(LEAST_SLOTS, MOST_SLOTS);
    execution.threads()?.run(|| {
        let groups = sketches.par_chunks_mut(GROUP * SKETCH_BYTES).enumerate();
        groups.try_for_each_init(
            || None,
            |table: &mut Option<Table>, (group, room)| {
                execution.control.check(OPERATION)?;
                let table = match table {
                    Some(table) => table,
                    None => table.insert(Table::new(slots)?),
                };
                for (at, room) in room.chunks_exact_mut(SKETCH_BYTES).enumerate() {
                    let text = texts.text(group * GROUP + at);
                    write(room, &sketch(table, &shingler, text)?);
                }
                Ok(())
            },
        )
    })
}

/// Whether two texts of these sketches can have a Jaccard similarity of `threshold`. `true` for bytes that are no sketches.
pub(super) fn can_be_similar(first: &[u8], second: &[u8], threshold: f64) -> bool {
    let (Some(first), Some(second)) = (read(first), read(second)) else { return true };
    let differ: u32 = first.bits.iter().zip(second.bits).map(|(a, b)| (a ^ b).count_ones()).sum();
    let both = f64::from(first.count) + f64::from(second.count);
    // Half a shingle more, so that no rounding loses a pair right at the threshold.
    f64::from(differ) <= (1.0 - threshold) / (1.0 + threshold) * both + 0.5
}

struct Sketch {
    bits: [u64; WORDS],
    count: u32,
}

/// The set of a text's shingles may need several passes over ranges of hashes.
fn sketch(table: &mut Table, shingler: &Shingler, text: &[u8]) -> Result<Sketch> {
    for bits in 0..=MOST_BITS {
        if let Some(sketch) = in_passes(table, shingler, text, bits) {
            return Ok(sketch);
        }
    }
    Err(Error::Internal {
        operation: OPERATION,
        found: format!("a text with hashes that share their upper {MOST_BITS} bits"),
    })
}

fn in_passes(table: &mut Table, shingler: &Shingler, text: &[u8], bits: u32) -> Option<Sketch> {
    let mut sketch = Sketch { bits: [0; WORDS], count: 0 };
    for pass in 0..1_u64 << bits {
        let (epoch, mut fits) = (table.next_epoch(), true);
        shingler.visit(text, 0..text.len(), |hash| {
            if fits
                && super::check::is_in(hash, (bits, pass))
                && let Place::Free(slot) = table.find(hash)
            {
                fits = table.put(slot, hash, epoch);
                // The upper bits choose the pass, the lower ones the slot.
                let bit = (hash >> 24) as usize % (64 * WORDS);
                sketch.bits[bit / 64] ^= 1 << (bit % 64);
                sketch.count += 1;
            }
        });
        if !fits {
            return None;
        }
    }
    Some(sketch)
}

fn write(room: &mut [u8], sketch: &Sketch) {
    let (words, count) = room.split_at_mut(SKETCH_BYTES - size_of::<u32>());
    for (room, word) in words.chunks_exact_mut(size_of::<u64>()).zip(sketch.bits) {
        room.copy_from_slice(&word.to_le_bytes());
    }
    count.copy_from_slice(&sketch.count.to_le_bytes());
}

#[inline(always)]
fn read(bytes: &[u8]) -> Option<Sketch> {
    let (words, rest) = bytes.as_chunks::<8>();
    let (words, count) = (words.first_chunk::<WORDS>()?, rest.first_chunk::<4>()?);
    Some(Sketch { bits: words.map(u64::from_le_bytes), count: u32::from_le_bytes(*count) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;
    use crate::minhash::Shingles;

    const OPTIONS: MinHashOptions =
        MinHashOptions { shingles: Shingles::Characters(5), functions: 16, seed: 3 };

    fn all(lines: &[String]) -> Vec<u8> {
        let bytes = lines.concat().into_bytes();
        let ends = lines.iter().scan(0, |end, line| {
            *end += line.len() as i64;
            Some(*end)
        });
        let offsets: Vec<i64> = std::iter::once(0).chain(ends).collect();
        let texts = TextsView::new(&bytes, &offsets[..]).unwrap();
        let mut room = vec![0xff; lines.len() * SKETCH_BYTES];
        sketches(texts, &OPTIONS, &mut room, &Execution::default()).unwrap();
        room
    }

    fn set(line: &str) -> HashSet<u64> {
        let mut set = HashSet::new();
        OPTIONS.plan().shingler.visit(line.as_bytes(), 0..line.len(), |hash| {
            set.insert(hash);
        });
        set
    }

    /// Lines of words of which each next one has a few others: all similarities there are.
    fn lines() -> Vec<String> {
        let mut state = 5;
        let mut random = |below: u64| super::super::shingle::splitmix(&mut state) % below;
        let mut words: Vec<u64> = (0..40).collect();
        let mut lines = vec![String::new(), "abc".into(), "é".repeat(200)];
        for _ in 0..120 {
            for _ in 0..1 + random(6) {
                let at = random(40) as usize;
                words[at] = random(1000);
            }
            lines.push(words.iter().map(|word| format!("w{word} ")).collect());
        }
        lines
    }

    #[test]
    fn nothing_similar_is_lost_and_most_else_is_told_apart() {
        let lines = lines();
        let (sketches, sets) = (all(&lines), lines.iter().map(|l| set(l)).collect::<Vec<_>>());
        let of = |row: usize| &sketches[row * SKETCH_BYTES..][..SKETCH_BYTES];
        let (mut kept, mut told, mut similar) = (0, 0, 0);
        for a in 0..lines.len() {
            for b in 0..a {
                let both = sets[a].intersection(&sets[b]).count() as f64;
                let either = sets[a].union(&sets[b]).count().max(1) as f64;
                for threshold in [0.3, 0.7, 0.9, 1.0] {
                    let can = can_be_similar(of(a), of(b), threshold);
                    if both / either >= threshold {
                        assert!(can, "{a} {b}: {} at {threshold}", both / either);
                        similar += 1;
                    } else if threshold >= 0.7 && both / either < 0.6 * threshold {
                        *if can { &mut kept } else { &mut told } += 1;
                    }
                }
            }
        }
        assert!(similar > 500, "{similar}");
        assert!(kept * 20 < told, "{kept} kept, {told} told apart");
    }

    #[test]
    fn a_text_that_needs_passes_has_the_sketch_of_its_set() {
        let long: String = (0..40_000_u64).map(|n| format!("{} ", n * 7_919_003)).collect();
        let twice = format!("{long}{long}");
        let found = all(&[long.clone(), twice]);
        let sketch = read(&found[..SKETCH_BYTES]).unwrap();
        let set = set(&long);
        assert!(set.len() > MOST_SLOTS);
        assert_eq!(sketch.count as usize, set.len());
        let mut bits = [0_u64; WORDS];
        for hash in set {
            let bit = (hash >> 24) as usize % 512;
            bits[bit / 64] ^= 1 << (bit % 64);
        }
        assert_eq!(sketch.bits, bits);
        assert!(can_be_similar(&found[..SKETCH_BYTES], &found[SKETCH_BYTES..], 0.99));
        assert!(can_be_similar(&[], &found[..SKETCH_BYTES], 1.0));
    }

    #[test]
    fn room_of_another_size_is_refused() {
        let texts = TextsView::new(b"abc", &[0_i64, 3][..]).unwrap();
        let error = sketches(texts, &OPTIONS, &mut [0; 3], &Execution::default()).unwrap_err();
        assert!(error.to_string().contains("1 texts x 68 bytes"), "{error}");
    }
}
