//! Vectors without a model: the words of a text and the beginnings, middles and ends of its words, hashed into a
//! fixed number of signed counters (feature hashing: Weinberger et al. 2009, "Feature Hashing for Large Scale
//! Multitask Learning", section 2; parts of words as features: Bojanowski et al. 2017, section 3.2). It finds texts
//! that share words or spell them alike; it knows nothing of meaning. For use where no model can be had, or none
//! is wanted: it needs no file, and a text takes microseconds.
//!
//! A text is lower-cased and split where a character is neither letter nor digit nor mark. A word counts as
//! itself and as each of its runs of 3, 4 and 5 characters, with a `<` before it and a `>` after it:
//!
//! ```text
//!  card   ->   card   <ca car ard rd>   <car card ard>   <card card>
//! ```
//!
//! A feature that is there n times weighs √n, so that a word that is repeated does not drown the rest, and a
//! whole word weighs twice what a part of it does. Its hash says which counter, and whether to add or
//! subtract: two features in one counter are then as often apart as together, and the inner product of two texts
//! is right on average. Square roots and divisions are exact everywhere, and so are the vectors: the same bits on
//! every machine, for one version of Unicode's tables (Rust's).

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::embedding::{EmbedOptions, EmbedderId, Embeddings, TextEmbedder, check_count};
use crate::error::{Error, Result};
use crate::tokens::{TEXT_BYTES_MAX, beginning};

/// The name under which it is chosen.
pub const NGRAM: &str = "ngram";
/// Changes with anything that changes a vector.
const ALGORITHM: u32 = 1;
/// Lengths of the parts of a word, in characters.
const PART_CHARS: [usize; 3] = [3, 4, 5];
/// Longest word that is taken as a whole, in characters; a longer one is many words of this length.
const WORD_CHARS_MAX: usize = 64;
/// Texts a thread takes at a time.
const CHUNK_TEXTS: usize = 256;
/// Smallest and largest number of counters.
const DIMENSIONS: RangeInclusive<usize> = 16..=1 << 16;

/// The embedder that counts hashed parts of words.
#[derive(Clone, Debug)]
pub struct NgramEmbedder {
    id: EmbedderId,
    dimension: usize,
}

/// What can be chosen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NgramOptions {
    /// Counters of a vector. A text of 20 words has some 300 features: with fewer counters than that the
    /// likeness of two texts is blurred by features that meet by chance.
    pub dimension: usize,
}

impl Default for NgramOptions {
    fn default() -> Self {
        Self { dimension: 1024 }
    }
}

impl NgramEmbedder {
    /// Fails for fewer than 16 or more than 65,536 counters.
    pub fn new(options: NgramOptions) -> Result<Self> {
        let dimension = options.dimension;
        if !DIMENSIONS.contains(&dimension) {
            return Err(Error::Config {
                problem: format!(
                    "ngram: dimension: expected {} to {}, found {dimension}",
                    DIMENSIONS.start(),
                    DIMENSIONS.end()
                ),
            });
        }
        let version = format!("{ALGORITHM}-{dimension}");
        Ok(Self { id: EmbedderId { name: NGRAM.into(), version }, dimension })
    }

    /// Adds the vector of `text` to the zeros in `row`; answers the number of features.
    fn embed_one(&self, text: &str, features: &mut Vec<Feature>, row: &mut [f32]) -> u64 {
        features.clear();
        features_of(text, features);
        let count = features.len() as u64;
        // In the order of their hashes: sums do not depend on the order of the text.
        features.sort_unstable();
        let mut sums = vec![0_f64; self.dimension];
        for same in features.chunk_by(|a, b| a == b) {
            let Feature { hash, kind } = same[0];
            let weight = kind.weight() * (same.len() as f64).sqrt();
            let counter = (hash >> 1) % self.dimension as u64;
            sums[counter as usize] += if hash & 1 == 0 { weight } else { -weight };
        }
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().zip(&sums).for_each(|(value, sum)| *value = (sum / length) as f32);
        }
        count
    }
}

impl TextEmbedder for NgramEmbedder {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    /// As the trait says; a text without a letter or digit has the zero vector, which is like no other.
    fn embed(&self, texts: &[&str], options: &EmbedOptions<'_>) -> Result<Embeddings> {
        check_count(texts.len())?;
        let dimension = self.dimension;
        let mut values = vec![0_f32; texts.len() * dimension];
        let done = AtomicUsize::new(0);
        let counts = values
            .par_chunks_mut(CHUNK_TEXTS * dimension)
            .zip(texts.par_chunks(CHUNK_TEXTS))
            .map(|(rows, chunk)| -> Result<Counts> {
                let mut features = Vec::new();
                let mut counts = Counts::default();
                for (row, text) in rows.chunks_exact_mut(dimension).zip(chunk) {
                    let kept = beginning(text, TEXT_BYTES_MAX);
                    let found = self.embed_one(kept, &mut features, row);
                    counts.cut += usize::from(kept.len() < text.len());
                    counts.empty += usize::from(found == 0);
                    counts.features += found;
                }
                let before = done.fetch_add(chunk.len(), Ordering::Relaxed);
                options.report(before + chunk.len(), texts.len())?;
                Ok(counts)
            })
            .try_reduce(Counts::default, |a, b| Ok(a.and(b)))?;
        Ok(Embeddings {
            values,
            dimension,
            cut_texts: counts.cut,
            empty_texts: counts.empty,
            tokens: counts.features,
        })
    }
}

#[derive(Default)]
struct Counts {
    cut: usize,
    empty: usize,
    features: u64,
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            cut: self.cut + other.cut,
            empty: self.empty + other.empty,
            features: self.features + other.features,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Feature {
    hash: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Word,
    Part,
}

impl Kind {
    fn weight(self) -> f64 {
        match self {
            Self::Word => 2.0,
            Self::Part => 1.0,
        }
    }
}

fn features_of(text: &str, features: &mut Vec<Feature>) {
    let lower = text.to_lowercase();
    let mut word: Vec<char> = Vec::new();
    for c in lower.chars().chain([' ']) {
        let is_part = c.is_alphanumeric() || is_mark(c);
        if is_part {
            word.push(c);
        }
        if !word.is_empty() && (!is_part || word.len() == WORD_CHARS_MAX) {
            word_features(&word, features);
            word.clear();
        }
    }
}

/// Combining marks, which `is_alphanumeric` leaves out: they belong to the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}')
}

fn word_features(word: &[char], features: &mut Vec<Feature>) {
    features.push(Feature { hash: hash_of(Kind::Word, word), kind: Kind::Word });
    let mut framed = [' '; WORD_CHARS_MAX + 2];
    let framed = &mut framed[..word.len() + 2];
    framed[0] = '<';
    framed[1..=word.len()].copy_from_slice(word);
    framed[word.len() + 1] = '>';
    for chars in PART_CHARS {
        let parts = framed.windows(chars);
        features.extend(
            parts.map(|part| Feature { hash: hash_of(Kind::Part, part), kind: Kind::Part }),
        );
    }
}

/// FNV-1a over the kind and the UTF-8 bytes of the characters, its bits then mixed as in SplitMix64's last
/// steps: FNV alone leaves its lowest bits, which choose sign and counter, to the last character.
#[inline]
fn hash_of(kind: Kind, chars: &[char]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    add(kind as u8);
    for c in chars {
        c.encode_utf8(&mut [0; 4]).bytes().for_each(&mut add);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ops::ControlFlow;

    use super::*;
    use crate::embedding::Progress;
    use crate::hash::Sha256Hash;

    fn embed(texts: &[&str]) -> Embeddings {
        let embedder = NgramEmbedder::new(NgramOptions::default()).unwrap();
        embedder.embed(texts, &EmbedOptions::default()).unwrap()
    }

    fn likeness(a: &str, b: &str) -> f32 {
        let found = embed(&[a, b]);
        let (a, b) = found.values.split_at(found.dimension);
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_that_share_words_are_alike_and_others_are_not() {
        let text = "My card has not arrived yet";
        assert!((likeness(text, text) - 1.0).abs() < 1e-6);
        assert!((likeness(text, "my CARD, has not -- arrived yet!") - 1.0).abs() < 1e-6);
        let alike = likeness(text, "my cards havent arived yet");
        let other = likeness(text, "Transfer declined by shop");
        assert!(alike > 0.4, "{alike}");
        assert!(other.abs() < 0.15, "{other}");
        assert!(likeness("银行卡还没有寄到", "银行卡还没寄到") > 0.4);
    }

    #[test]
    fn order_does_not_matter_and_repetition_matters_little() {
        let ordered = embed(&["lost my card", "card my lost"]);
        let (a, b) = ordered.values.split_at(ordered.dimension);
        assert_eq!(a, b);
        let (once, often) = ("card lost", "card card card card card card card card card lost");
        let likeness = likeness(once, often);
        assert!((0.85..0.97).contains(&likeness), "{likeness}");
    }

    #[test]
    fn features_that_meet_by_chance_cancel_on_average() {
        let texts: Vec<String> = (0..400).map(|n| format!("word{n} other{}", n * n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let found = embed(&texts);
        let rows: Vec<&[f32]> = found.rows().collect();
        // `word` and `other` are in all of them; what is left is compared with another word altogether.
        let probe = embed(&["xyzzy plugh"]);
        let mean: f32 = rows
            .iter()
            .map(|row| row.iter().zip(&probe.values).map(|(a, b)| a * b).sum::<f32>())
            .sum::<f32>()
            / 400.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }

    #[test]
    fn vectors_have_the_same_bits_on_every_machine() {
        let found = embed(&["My card has not arrived yet", "Straße 12, Ελλάδα e\u{301}", "银行卡"]);
        let bytes: Vec<u8> = found.values.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(
            Sha256Hash::of(&bytes).to_string(),
            "34d59a596f478dda7b296bb339be8354f8682c18f22f2a789c337390590285e0"
        );
    }

    #[test]
    fn empty_and_endless_texts_are_counted() {
        let endless = "card ".repeat(TEXT_BYTES_MAX / 4);
        let word = "a".repeat(100_000);
        let found = embed(&["", " ?! ", &endless, &word, "card"]);
        assert_eq!((found.cut_texts, found.empty_texts), (1, 2));
        let rows: Vec<&[f32]> = found.rows().collect();
        assert!(rows[0].iter().chain(rows[1]).all(|x| *x == 0.0));
        assert!(rows[2].iter().zip(rows[4]).all(|(a, b)| (a - b).abs() < 5e-3));
        assert!(found.values.iter().all(|x| x.is_finite()));
        assert_eq!(embed(&[]).values.len(), 0);
    }

    #[test]
    fn a_call_can_be_stopped_and_a_dimension_is_bounded() {
        let embedder = NgramEmbedder::new(NgramOptions { dimension: 16 }).unwrap();
        assert_eq!(embedder.id().to_string(), "ngram@1-16");
        let stop = |_: Progress| ControlFlow::Break(());
        let options = EmbedOptions { progress: Some(&stop), ..EmbedOptions::default() };
        assert_eq!(embedder.embed(&["a"; 1000], &options), Err(Error::Cancelled));
        for dimension in [0, 15, 65_537] {
            let message = NgramEmbedder::new(NgramOptions { dimension }).unwrap_err().to_string();
            assert!(message.contains("expected 16 to 65536"), "{message}");
        }
    }
}
