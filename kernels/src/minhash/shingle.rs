//! Shingles of a text, and their hashes.
//!
//! ```text
//!   the fox      characters(5)  the␣f  he␣fo  e␣fox
//!   0      6     words(2)       the·fox
//! ```
//! A character begins at the first byte of a text and at every byte that is not 10xxxxxx, as in UTF-8; words lie
//! between the bytes 9 to 13 and 32. A text of fewer than n characters or words is one shingle, one of none has none.
//!
//! **Hash.** With fold(a, b) the two halves of the 128 bits of a·b, xored (Wang Yi's wyhash, public domain, and
//! Steele & Vigna, "Computationally easy, spectrally good multipliers", 2021, for its mixing), keys k₀…k₃ from the seed by
//! splitmix64, and the bytes as little-endian 64-bit words w₀ w₁ …, filled up with zeros to pairs:
//! ```text
//!   bytes   h = k₀;  for each pair  h = fold(w₂ᵢ ^ k₁, w₂ᵢ₊₁ ^ h);     hash = fold(h ^ k₂, length ^ k₃)
//!   words   h = k₁;  for each word  h = fold(bytes(word) ^ k₂, h ^ k₀);  hash = fold(h ^ k₃, words ^ k₁)
//! ```
//! The same on every machine and in every version. It is no cryptographic hash: who knows the seed can make
//! texts that collide.

use std::ops::Range;

/// What a text is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shingles {
    /// Every run of this many characters.
    Characters(usize),
    /// Every run of this many words.
    Words(usize),
}

/// The longest shingle, in characters or words.
pub(super) const LONGEST: usize = 256;

impl Shingles {
    /// Characters or words of a shingle.
    pub(super) fn size(&self) -> usize {
        match *self {
            Self::Characters(size) | Self::Words(size) => size,
        }
    }
}

/// The next number of splitmix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
pub(super) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[inline(always)]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Cuts texts and hashes the pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shingler {
    pub(super) shingles: Shingles,
    pub(super) keys: [u64; 4],
}

impl Shingler {
    pub(super) fn new(shingles: Shingles, seed: u64) -> Self {
        let mut state = seed;
        Self { shingles, keys: std::array::from_fn(|_| splitmix(&mut state)) }
    }

    /// The hash of some bytes.
    #[inline(always)]
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let [k0, k1, ..] = self.keys;
        let mut h = k0;
        for pair in bytes.chunks(16) {
            let (first, second) = pair.split_at(pair.len().min(8));
            h = fold(word(first) ^ k1, word(second) ^ h);
        }
        self.finish(h, bytes.len())
    }

    /// The hash of a part of a text; of a short one in one step.
    #[inline(always)]
    fn piece(&self, text: &[u8], part: Range<usize>) -> u64 {
        let len = part.len();
        match text.get(part.start..part.start + 8) {
            Some(eight) if (1..=8).contains(&len) => {
                let [k0, k1, ..] = self.keys;
                let first = word(eight) & (u64::MAX >> (64 - 8 * len));
                self.finish(fold(first ^ k1, k0), len)
            }
            _ => self.hash(text.get(part).unwrap_or(&[])),
        }
    }

    #[inline(always)]
    fn finish(&self, h: u64, len: usize) -> u64 {
        fold(h ^ self.keys[2], len as u64 ^ self.keys[3])
    }

    /// Hashes, in their order, the shingles of `text` that begin within `starts`; a shingle that occurs twice
    /// comes twice.
    #[inline(always)]
    pub(super) fn visit(&self, text: &[u8], starts: Range<usize>, mut take: impl FnMut(u64)) {
        match self.shingles {
            Shingles::Characters(n) => {
                let reach = starts.end.saturating_add(n).min(text.len());
                let ascii = text.get(starts.start..reach).is_some_and(<[u8]>::is_ascii);
                if ascii && text.len() >= n {
                    let end = reach.min(starts.end + n - 1);
                    self.runs(text.get(starts.start..end).unwrap_or(&[]), n, take);
                } else {
                    self.characters(text, n, starts, &mut take);
                }
            }
            Shingles::Words(n) => self.words(text, n, starts, &mut take),
        }
    }

    /// Every `n` bytes of ASCII.
    #[inline(always)]
    fn runs(&self, text: &[u8], n: usize, mut take: impl FnMut(u64)) {
        let [k0, k1, ..] = self.keys;
        let mut done = 0;
        if n <= 8 {
            // Eight bytes at a time, and what is not of the shingle masked away.
            let mask = u64::MAX >> (64 - 8 * n);
            for bytes in text.windows(8) {
                take(self.finish(fold((word(bytes) & mask) ^ k1, k0), n));
            }
            done = text.len().saturating_sub(7);
        }
        for bytes in text.get(done..).unwrap_or(&[]).windows(n) {
            take(self.hash(bytes));
        }
    }

    fn characters(&self, text: &[u8], n: usize, starts: Range<usize>, take: &mut impl FnMut(u64)) {
        // The first beginning of a character at or after `from`, or the end.
        let boundary = |from: usize| {
            let rest = text.get(from..).unwrap_or(&[]);
            from + rest.iter().position(|byte| byte & 0xc0 != 0x80).unwrap_or(rest.len())
        };
        let mut start = if starts.start == 0 { 0 } else { boundary(starts.start) };
        let (mut end, mut seen) = (start, 0);
        while seen < n && end < text.len() {
            end = boundary(end + 1);
            seen += 1;
        }
        if seen < n && (start > 0 || text.is_empty()) {
            return;
        }
        while start < starts.end {
            take(self.piece(text, start..end));
            if end >= text.len() {
                return;
            }
            (start, end) = (boundary(start + 1), boundary(end + 1));
        }
    }

    fn words(&self, text: &[u8], n: usize, starts: Range<usize>, take: &mut impl FnMut(u64)) {
        let mut at = starts.start;
        if at > 0 && !text.get(at - 1).copied().is_some_and(is_blank) {
            // In the middle of a word that began before.
            at = next(text, at, true);
        }
        // The last n words: where each begins, and its hash.
        let mut ring = [(0usize, 0u64); LONGEST];
        let ring = &mut ring[..n.min(LONGEST)];
        let mut count = 0;
        loop {
            let start = next(text, at, false);
            if start >= text.len() || (count == 0 && start >= starts.end) {
                break;
            }
            at = next(text, start, true);
            ring[count % n] = (start, self.piece(text, start..at));
            count += 1;
            if count >= n {
                let oldest = count % n;
                if ring[oldest].0 >= starts.end {
                    return;
                }
                let (later, first) = ring.split_at(oldest);
                take(self.join(first.iter().chain(later)));
            }
        }
        if count > 0 && count < n && next(text, 0, false) == ring[0].0 {
            take(self.join(ring[..count].iter()));
        }
    }

    #[inline(always)]
    fn join<'a>(&self, words: impl Iterator<Item = &'a (usize, u64)>) -> u64 {
        let [k0, k1, k2, k3] = self.keys;
        let (mut h, mut count) = (k1, 0);
        for (_, word) in words {
            h = fold(word ^ k2, h ^ k0);
            count += 1;
        }
        fold(h ^ k3, count ^ k1)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, 9..=13 | 32)
}

/// The first place from `at` on that is blank, or is not; the end where there is none.
#[inline(always)]
fn next(text: &[u8], mut at: usize, blank: bool) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    while let Some(eight) = text.get(at..at + 8) {
        // Eight bytes at once, in seven bits each, so that no sum reaches the next byte: its top bit says whether
        // the byte is at least so much.
        let bytes = word(eight);
        let low = bytes & !TOP;
        let from = |least: u64| low + (0x80 - least) * EACH;
        let blanks = ((from(9) & !from(14)) | (from(32) & !from(33))) & !bytes & TOP;
        let found = if blank { blanks } else { blanks ^ TOP };
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or(&[]);
    at + rest.iter().position(|&byte| is_blank(byte) == blank).unwrap_or(rest.len())
}

/// Up to 8 bytes, little-endian, filled up with zeros.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    let of_four = |four: &[u8]| four.try_into().map_or(0, u32::from_le_bytes);
    match bytes.len() {
        8 => bytes.try_into().map_or(0, u64::from_le_bytes),
        0 => 0,
        len @ 4.. => {
            // Two fours that overlap agree where they do.
            let (first, last) = (of_four(&bytes[..4]), of_four(&bytes[len - 4..]));
            u64::from(first) | u64::from(last) << (8 * (len - 4))
        }
        len => {
            let byte = |at: usize| u64::from(bytes[at]) << (8 * at);
            byte(0) | byte(len / 2) | byte(len - 1)
        }
    }
}
