//! Texts to token ids. A model's own `tokenizer.json` says how; only its truncation and padding are ignored,
//! because what is published there is often a leftover of some script (all-MiniLM-L6-v2 orders 128 tokens,
//! always, for a model of 256). The ids are cut here instead, and the special tokens put around what is left.
//!
//! A text is given to the tokenizer by growing beginnings, until there are tokens enough: of a megabyte only
//! the first kilobytes are ever looked at. A beginning ends where it ends, maybe within a word; the pieces of
//! that word are then not trusted, and a word has at most as many pieces as the tokenizer allows characters.

use rayon::prelude::*;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

use crate::error::{Error, Result};

/// Largest `tokenizer.json` in bytes.
pub const TOKENIZER_BYTES_MAX: usize = 64 << 20;
/// Bytes of a text that are looked at; what follows is cut.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most characters of a word that is looked up, as a tokenizer may say itself: what it does is quadratic in them.
const WORD_CHARS_MAX: usize = 1000;
/// Bytes of the first beginning for every token that is wanted: English has 5.
const BYTES_PER_TOKEN: usize = 12;
/// How much longer every next beginning is.
const GROWTH: usize = 4;
/// The token before a text and the one after it.
const FIRST: &str = "[CLS]";
const LAST: &str = "[SEP]";

/// A WordPiece tokenizer for texts of at most so many tokens.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    first: u32,
    last: u32,
    tokens_max: usize,
    word_chars_max: usize,
}

/// The tokens of one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Their ids, the two special tokens included.
    pub ids: Vec<u32>,
    /// Whether the text has more.
    pub is_cut: bool,
}

impl Tokenizer {
    /// Reads a `tokenizer.json` for a network that knows `vocabulary` tokens and takes `tokens_max` of them.
    /// Fails for a tokenizer that is not BERT's WordPiece, that has another vocabulary, or that does not put `[CLS]`
    /// before a text and `[SEP]` after it.
    pub fn read(bytes: &[u8], vocabulary: usize, tokens_max: usize) -> Result<Self> {
        if bytes.len() > TOKENIZER_BYTES_MAX {
            return Err(Error::Limit {
                part: "tokenizer",
                found: bytes.len() as u64,
                limit: TOKENIZER_BYTES_MAX as u64,
                unit: "bytes",
            });
        }
        if tokens_max < 2 {
            return fail(format!("expected room for at least 2 tokens, found {tokens_max}"));
        }
        let mut inner =
            tokenizers::Tokenizer::from_bytes(bytes).or_else(|e| fail(e.to_string()))?;
        let ModelWrapper::WordPiece(model) = inner.get_model() else {
            return fail("expected a WordPiece vocabulary, found another kind".into());
        };
        // With these two, what a word becomes depends on nothing but the word.
        let (normalizer, splitter) = (inner.get_normalizer(), inner.get_pre_tokenizer());
        if !matches!(normalizer, Some(NormalizerWrapper::BertNormalizer(_)))
            || !matches!(splitter, Some(PreTokenizerWrapper::BertPreTokenizer(_)))
        {
            return fail("expected BERT's normalizer and pre-tokenizer, found others".into());
        }
        let word_chars_max = model.max_input_chars_per_word;
        if !(1..=WORD_CHARS_MAX).contains(&word_chars_max) {
            return fail(format!(
                "max_input_chars_per_word: expected 1 to {WORD_CHARS_MAX}, found {word_chars_max}"
            ));
        }
        let unknown = model.unk_token.clone();
        inner.with_padding(None);
        inner.with_truncation(None).or_else(|e| fail(e.to_string()))?;
        check_vocabulary(&inner, vocabulary)?;
        let id = |token: &str| match inner.token_to_id(token) {
            Some(id) => Ok(id),
            None => fail(format!("expected the special token {token}, found none")),
        };
        let (first, last) = (id(FIRST)?, id(LAST)?);
        id(&unknown)?;
        let around = inner.encode_fast("", true).or_else(|e| fail(e.to_string()))?;
        if around.get_ids() != [first, last] {
            return fail(format!(
                "expected {FIRST} {LAST} for the empty text, found {:?}",
                around.get_tokens()
            ));
        }
        Ok(Self { inner, first, last, tokens_max, word_chars_max })
    }

    /// Most tokens of a text, the two special ones included.
    pub fn tokens_max(&self) -> usize {
        self.tokens_max
    }

    /// The tokens of `texts`, on all threads.
    pub fn encode_all(&self, texts: &[impl AsRef<str> + Sync]) -> Result<Vec<Tokens>> {
        texts.par_iter().map(|text| self.encode(text.as_ref())).collect()
    }

    /// The tokens of `text`; of the empty text the two special ones.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let (pieces, is_cut) = self.pieces(text, self.tokens_max - 2)?;
        Ok(self.framed(&pieces, is_cut))
    }

    /// The same of a longer text: as many windows as it takes, one after the other, and `most` of them at most, at least one. Only
    /// the last can say that the text has more.
    pub fn encode_windows(&self, text: &str, most: usize) -> Result<Vec<Tokens>> {
        let width = (self.tokens_max - 2).max(1);
        let (pieces, is_cut) = self.pieces(text, width.saturating_mul(most.max(1)))?;
        let mut windows: Vec<Tokens> =
            pieces.chunks(width).map(|window| self.framed(window, false)).collect();
        if windows.is_empty() {
            windows.push(self.framed(&[], false));
        }
        if let Some(last) = windows.last_mut() {
            last.is_cut = is_cut;
        }
        Ok(windows)
    }

    fn framed(&self, pieces: &[u32], is_cut: bool) -> Tokens {
        Tokens { ids: [&[self.first], pieces, &[self.last]].concat(), is_cut }
    }

    /// The first `wanted` tokens of a text, without the special ones, and whether it has more.
    fn pieces(&self, text: &str, wanted: usize) -> Result<(Vec<u32>, bool)> {
        let whole = beginning(text, TEXT_BYTES_MAX);
        let mut bytes = wanted.saturating_mul(BYTES_PER_TOKEN).max(1);
        let (pieces, is_cut) = loop {
            let part = beginning(whole, bytes);
            let pieces =
                self.inner.encode_fast(part, false).or_else(|e| fail(format!("on a text: {e}")))?;
            let found = pieces.len();
            if part.len() == whole.len() {
                break (pieces, found > wanted || whole.len() < text.len());
            }
            if found.saturating_sub(self.word_chars_max) > wanted {
                break (pieces, true);
            }
            bytes = bytes.saturating_mul(GROWTH);
        };
        Ok((pieces.get_ids()[..wanted.min(pieces.len())].to_vec(), is_cut))
    }
}

/// Ids are rows of the network's first table: each must be one.
fn check_vocabulary(tokenizer: &tokenizers::Tokenizer, expected: usize) -> Result<()> {
    let vocabulary = tokenizer.get_vocab(true);
    let found = vocabulary.len();
    if found != expected {
        return fail(format!("expected {expected} tokens, as the network has, found {found}"));
    }
    match vocabulary.into_iter().find(|(_, id)| *id as usize >= expected) {
        Some((token, id)) => {
            let token: String = token.chars().take(40).collect();
            fail(format!("token {token:?}: expected an id below {expected}, found {id}"))
        }
        None => Ok(()),
    }
}

/// The first `bytes` bytes of `text`, or a few fewer, so that no character is broken.
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Tokenizer { problem })
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    /// Words of the tokenizer that the tests of this crate use; ids are places in this list.
    pub const VOCABULARY: [&str; 16] = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "card", "lost", "my", "is", "##s", "##t",
        "los", ".", "a", "b", "##b",
    ];

    pub fn tokenizer_json() -> Value {
        let mut json = crate::suite::tokenizer_json(VOCABULARY.into_iter().map(str::to_owned));
        json["truncation"] = json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": {"Fixed": 8}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
        json
    }

    pub fn tokenizer_bytes() -> Vec<u8> {
        tokenizer_json().to_string().into_bytes()
    }

    fn tokenizer(tokens_max: usize) -> Tokenizer {
        Tokenizer::read(&tokenizer_bytes(), VOCABULARY.len(), tokens_max).unwrap()
    }

    #[test]
    fn the_truncation_and_padding_of_the_file_are_ignored() {
        let tokens = tokenizer(16).encode("My CARD is lost. Cards!").unwrap();
        assert_eq!(tokens.ids, [2, 7, 5, 8, 6, 12, 5, 9, 1, 3]);
        assert!(!tokens.is_cut);
    }

    #[test]
    fn a_text_of_too_many_tokens_is_cut_and_said_to_be() {
        let tokenizer = tokenizer(4);
        assert_eq!(
            tokenizer.encode("my card").unwrap(),
            Tokens { ids: vec![2, 7, 5, 3], is_cut: false }
        );
        assert_eq!(
            tokenizer.encode("my card is").unwrap(),
            Tokens { ids: vec![2, 7, 5, 3], is_cut: true }
        );
    }

    #[test]
    fn a_long_text_is_windows_one_after_the_other() {
        let tokenizer = tokenizer(4);
        let windows = |text: &str, most| {
            let windows = tokenizer.encode_windows(text, most).unwrap();
            windows.into_iter().map(|window| (window.ids, window.is_cut)).collect::<Vec<_>>()
        };
        let first = (vec![2, 7, 5, 3], false);
        assert_eq!(windows("my card is", 3), [first.clone(), (vec![2, 8, 3], false)]);
        assert_eq!(
            windows("my card is lost a", 2),
            [first, (vec![2, 8, 6, 3], true)],
            "only the last one is cut"
        );
        assert_eq!(windows("my card is", 1), [(vec![2, 7, 5, 3], true)]);
        assert_eq!(windows("", 3), [(vec![2, 3], false)]);
        assert_eq!(windows("my", 0), [(vec![2, 7, 3], false)], "one at least");
    }

    #[test]
    fn the_empty_text_is_two_special_tokens() {
        for text in ["", " \t\r\n", "\u{200b}\u{feff}"] {
            assert_eq!(tokenizer(8).encode(text).unwrap().ids, [2, 3], "{text:?}");
        }
    }

    /// What the tokenizer says of the whole text, cut afterwards: slow and obviously right.
    fn at_once(tokenizer: &Tokenizer, text: &str) -> Tokens {
        let all = tokenizer.inner.encode(text, false).unwrap();
        let wanted = tokenizer.tokens_max - 2;
        let kept = &all.get_ids()[..wanted.min(all.len())];
        Tokens { ids: [&[2], kept, &[3]].concat(), is_cut: all.len() > wanted }
    }

    #[test]
    fn growing_beginnings_give_the_tokens_of_the_whole() {
        let texts = [
            "my card is lost. ".repeat(300),
            "ab".repeat(700),
            format!("{}{}", "a".repeat(99), " card".repeat(400)),
            format!("my {} card", "a".repeat(5000)),
            format!("{}card", " ".repeat(40_000)),
            "卡银".repeat(900),
            "e\u{301}a\u{300}\u{301}b ".repeat(500),
            "[CLS] my [MASK]".repeat(200),
            ".".repeat(3000),
        ];
        for tokens_max in [2, 3, 8, 31, 256, 512] {
            let tokenizer = tokenizer(tokens_max);
            for text in &texts {
                let (found, expected) =
                    (tokenizer.encode(text).unwrap(), at_once(&tokenizer, text));
                assert_eq!(found, expected, "{tokens_max} tokens of {:?}", beginning(text, 40));
            }
        }
    }

    #[test]
    fn more_than_a_megabyte_is_cut_even_if_it_is_blank() {
        let text = " ".repeat(TEXT_BYTES_MAX) + "card";
        let tokens = tokenizer(8).encode(&text).unwrap();
        assert_eq!(tokens, Tokens { ids: vec![2, 3], is_cut: true });
    }

    #[test]
    fn a_tokenizer_that_does_not_match_is_refused() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut json = tokenizer_json();
            change(&mut json);
            json.to_string().into_bytes()
        };
        let cases = [
            (tokenizer_bytes(), 17, "expected 17 tokens, as the network has, found 16"),
            (changed(&|j| j["model"]["vocab"]["b"] = 99.into()), 16, "\"b\": expected an id below"),
            (
                changed(&|j| {
                    j["model"]["vocab"].as_object_mut().unwrap().remove("[SEP]");
                    j["model"]["vocab"]["[SEQ]"] = 3.into();
                    j["added_tokens"][3]["content"] = "[SEQ]".into();
                }),
                16,
                "special token [SEP], found none",
            ),
            (changed(&|j| j["post_processor"] = Value::Null), 16, "for the empty text, found []"),
            (
                changed(&|j| {
                    j["model"] = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]})
                }),
                16,
                "expected a WordPiece vocabulary",
            ),
            (changed(&|j| j["normalizer"] = Value::Null), 16, "expected BERT's normalizer"),
            (
                changed(&|j| j["pre_tokenizer"] = json!({"type": "WhitespaceSplit"})),
                16,
                "expected BERT's normalizer and pre-tokenizer",
            ),
            (
                changed(&|j| j["model"]["max_input_chars_per_word"] = (1_u64 << 53).into()),
                16,
                "max_input_chars_per_word: expected 1 to 1000, found 9007199254740992",
            ),
            (b"{}".to_vec(), 16, ""),
            (b"\xff".to_vec(), 16, ""),
        ];
        for (bytes, vocabulary, expected) in cases {
            let message = Tokenizer::read(&bytes, vocabulary, 8).unwrap_err().to_string();
            assert!(message.starts_with("tokenizer: "), "{message}");
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }
}
