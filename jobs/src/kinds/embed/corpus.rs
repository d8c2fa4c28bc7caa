//! The rows to embed: which text each has, by its hash, and the texts whose vectors are not known yet.

use std::collections::HashMap;

use arrow::array::{LargeStringArray, LargeStringBuilder};
use engine::{Code, Error, Result};
use sha2::{Digest, Sha256};

use super::NAME;
use crate::texts::TextRows;

/// The first half of a text's SHA-256: the chance that two of a billion texts share one is 1e-21.
pub(super) type TextHash = [u8; 16];

/// Vectors that are known already, or shall be: a place for each text.
pub(super) type Places = HashMap<TextHash, usize>;

/// Rows, their texts, and which of those are still without a vector.
pub(super) struct Corpus {
    pub(super) ids: LargeStringArray,
    /// By row.
    pub(super) hashes: Vec<TextHash>,
    /// Of each different text, in the order of their first rows.
    pub(super) places: Places,
    /// Texts whose vectors are to be made, with their places.
    pub(super) missing: Vec<(usize, String)>,
    pub(super) without_id: u64,
}

/// A corpus that is being read.
pub(super) struct CorpusBuilder<'a> {
    known: &'a (dyn Fn(&TextHash) -> bool + Sync),
    ids: LargeStringBuilder,
    corpus: Corpus,
    vector_bytes: usize,
    bytes: usize,
    bytes_max: usize,
}

impl<'a> CorpusBuilder<'a> {
    /// `known` says for which texts there are vectors; texts and vectors together may take `bytes_max`.
    pub(super) fn new(
        known: &'a (dyn Fn(&TextHash) -> bool + Sync),
        vector_bytes: usize,
        bytes_max: usize,
    ) -> Self {
        let corpus = Corpus {
            ids: LargeStringBuilder::new().finish(),
            hashes: Vec::new(),
            places: Places::new(),
            missing: Vec::new(),
            without_id: 0,
        };
        let ids = LargeStringBuilder::new();
        Self { known, ids, corpus, vector_bytes, bytes: 0, bytes_max }
    }

    /// Adds rows. `RESOURCES_EXHAUSTED` when they are more than fits.
    pub(super) fn add(&mut self, rows: &TextRows) -> Result<()> {
        for row in 0..rows.len() {
            let Some(id) = rows.id(row) else {
                self.corpus.without_id += 1;
                continue;
            };
            let text = rows.texts(row).collect::<Vec<_>>().join("\n");
            let hash = hash_of(&text);
            self.ids.append_value(id);
            self.corpus.hashes.push(hash);
            self.bytes += id.len() + size_of::<TextHash>();
            let place = self.corpus.places.len();
            if self.corpus.places.contains_key(&hash) {
                continue;
            }
            self.corpus.places.insert(hash, place);
            self.bytes += self.vector_bytes;
            if !(self.known)(&hash) {
                self.bytes += text.len();
                self.corpus.missing.push((place, text));
            }
        }
        if self.bytes > self.bytes_max {
            return Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "{NAME}: the first {} rows, their texts and vectors take {} bytes; three quarters of the memory \
                     budget, {} bytes, are for them: take a larger budget",
                    self.corpus.hashes.len(),
                    self.bytes,
                    self.bytes_max
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Corpus {
        self.corpus.ids = self.ids.finish();
        self.corpus
    }
}

/// The hash of a text.
pub(super) fn hash_of(text: &str) -> TextHash {
    let digest = Sha256::digest(text.as_bytes());
    let mut hash = TextHash::default();
    hash.copy_from_slice(&digest[..size_of::<TextHash>()]);
    hash
}
