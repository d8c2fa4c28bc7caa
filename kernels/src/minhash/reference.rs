//! The definitions, word by word. Slow and obviously right.

use super::{MinHashOptions, Shingles};

/// The shingles of a text as they occur, each as its pieces: bytes, or words.
pub(super) fn shingles(text: &[u8], shingles: Shingles) -> Vec<Vec<Vec<u8>>> {
    let (pieces, n): (Vec<Vec<u8>>, usize) = match shingles {
        Shingles::Characters(n) => {
            let mut characters: Vec<Vec<u8>> = Vec::new();
            for &byte in text {
                match characters.last_mut() {
                    Some(character) if byte & 0b1100_0000 == 0b1000_0000 => character.push(byte),
                    _ => characters.push(vec![byte]),
                }
            }
            (characters, n)
        }
        Shingles::Words(n) => {
            let blank = |byte: &u8| [9, 10, 11, 12, 13, 32].contains(byte);
            let words = text.split(blank).filter(|word| !word.is_empty());
            (words.map(<[u8]>::to_vec).collect(), n)
        }
    };
    let whole = if pieces.is_empty() { Vec::new() } else { vec![pieces.clone()] };
    if pieces.len() < n { whole } else { pieces.windows(n).map(<[_]>::to_vec).collect() }
}

/// The Jaccard similarity of the sets of shingles; 0 for two empty ones.
#[cfg(test)]
pub(super) fn jaccard(a: &[u8], b: &[u8], kind: Shingles) -> f64 {
    use std::collections::BTreeSet;

    let a: BTreeSet<_> = shingles(a, kind).into_iter().collect();
    let b: BTreeSet<_> = shingles(b, kind).into_iter().collect();
    let either = a.union(&b).count();
    if either == 0 { 0.0 } else { a.intersection(&b).count() as f64 / either as f64 }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product % (1 << 64)) as u64 ^ (product / (1 << 64)) as u64
}

fn hash_bytes(k: &[u64; 4], bytes: &[u8]) -> u64 {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(16), 0);
    let mut h = k[0];
    for pair in padded.chunks(16) {
        let word = |half: &[u8]| half.iter().rev().fold(0u64, |w, &byte| w << 8 | u64::from(byte));
        h = fold(word(&pair[..8]) ^ k[1], word(&pair[8..]) ^ h);
    }
    fold(h ^ k[2], bytes.len() as u64 ^ k[3])
}

/// The signature of a text.
pub(super) fn signature(text: &[u8], options: &MinHashOptions) -> Vec<u32> {
    let mut state = options.seed;
    let k = [(); 4].map(|()| splitmix(&mut state));
    let hashes: Vec<u64> = shingles(text, options.shingles)
        .iter()
        .map(|pieces| match options.shingles {
            Shingles::Characters(_) => hash_bytes(&k, &pieces.concat()),
            Shingles::Words(_) => {
                let join = |h, word: &Vec<u8>| fold(hash_bytes(&k, word) ^ k[2], h ^ k[0]);
                fold(pieces.iter().fold(k[1], join) ^ k[3], pieces.len() as u64 ^ k[1])
            }
        })
        .collect();
    let mut state = options.seed ^ 0x6d69_6e68_6173_685f;
    let mut bits = 0;
    while 1usize << bits < options.functions {
        bits += 1;
    }
    (0..options.functions as u64)
        .map(|function| {
            let a = (splitmix(&mut state) << bits | function) % (1 << 32);
            let value = |hash: &u64| (a * (hash % (1 << 32)) + (hash >> 32)) % (1 << 32);
            hashes.iter().map(value).min().map_or(u32::MAX, |least| least as u32)
        })
        .collect()
}
