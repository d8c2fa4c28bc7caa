//! The published all-MiniLM-L6-v2 against what PyTorch answers with it: `embedding_reference` of the real data.
//! Needs the model, as `colonnade models pull` leaves it, in the folder that `COLONNADE_MINILM` names.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Deserialize;

use crate::{ArtifactFiles, EmbedOptions, Embedder, TextEmbedder};

/// Rows and columns of the reference vectors, and the bytes before them.
const ROWS: usize = 200;
const DIMENSION: usize = 384;
const HEADER_BYTES: usize = 128;

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
struct Ids {
    ids: Vec<u32>,
    n_tokens_untruncated: usize,
}

#[derive(Deserialize)]
struct Ticket {
    text: String,
}

struct Reference {
    texts: Vec<String>,
    ids: Vec<Ids>,
    vectors: Vec<f32>,
}

fn lines<T: for<'a> Deserialize<'a>>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A folder of the real data and the model; nothing, and a word about it, when one is not there.
pub fn data_and_model(folder: &str) -> Option<(PathBuf, Embedder)> {
    let is_required =
        std::env::var_os("COLONNADE_REQUIRE_MINILM").is_some_and(|value| value == "1");
    let skip = |says: String| {
        assert!(!is_required, "{says}");
        println!("skipped: {says}");
    };
    let data = std::env::var_os("COLONNADE_SHARED_DATA")
        .map_or_else(|| PathBuf::from("../../shared/data"), PathBuf::from)
        .join(folder);
    let folder = match std::env::var_os("COLONNADE_MINILM").map(PathBuf::from) {
        Some(folder) if folder.is_dir() => folder,
        Some(folder) => {
            skip(format!("no folder {} (COLONNADE_MINILM)", folder.display()));
            return None;
        }
        None => {
            skip("COLONNADE_MINILM names no folder with all-MiniLM-L6-v2".into());
            return None;
        }
    };
    if !data.is_dir() {
        let is_required =
            std::env::var_os("COLONNADE_REQUIRE_SHARED_DATA").is_some_and(|value| value == "1");
        assert!(!is_required, "no real data at {}", data.display());
        skip(format!("no real data at {} (COLONNADE_SHARED_DATA)", data.display()));
        return None;
    }
    let files = ArtifactFiles::read(&folder).unwrap();
    let embedder = Embedder::load(&files.artifact().unwrap()).unwrap();
    Some((data, embedder))
}

fn read_reference(data: &Path) -> Reference {
    let read = |name: &str| fs::read(data.join(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    let vectors = read("embeddings.npy");
    let (vectors, _) = vectors[HEADER_BYTES..].as_chunks::<4>();
    let reference = Reference {
        texts: lines::<Text>(&text("texts.jsonl")).into_iter().map(|line| line.text).collect(),
        ids: lines(&text("token_ids.jsonl")),
        vectors: vectors.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    assert_eq!((reference.texts.len(), reference.vectors.len()), (ROWS, ROWS * DIMENSION));
    reference
}

/// The smallest cosine of a row with its reference.
fn worst_cosine(found: &[f32], expected: &[f32]) -> f64 {
    let rows = found.chunks_exact(DIMENSION).zip(expected.chunks_exact(DIMENSION));
    let cosine = |(a, b): (&[f32], &[f32])| {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    rows.map(cosine).fold(f64::INFINITY, f64::min)
}

#[test]
fn the_published_model_answers_as_its_authors_code_does() {
    let Some((data, embedder)) = data_and_model("embedding_reference") else { return };
    let reference = read_reference(&data);
    let texts: Vec<&str> = reference.texts.iter().map(String::as_str).collect();

    let tokens = embedder.tokenizer().encode_all(&texts).unwrap();
    for (id, (found, expected)) in tokens.iter().zip(&reference.ids).enumerate() {
        assert_eq!(found.ids, expected.ids, "text {id}: {:?}", texts[id]);
        let is_cut = expected.n_tokens_untruncated > expected.ids.len();
        assert_eq!(found.is_cut, is_cut, "text {id}");
    }

    let together = embedder.embed(&texts, &EmbedOptions::default()).unwrap();
    let mut alone = Vec::new();
    for text in &texts {
        alone.extend(embedder.embed(&[*text], &EmbedOptions::default()).unwrap().values);
    }
    let difference = together.values.iter().zip(&alone).map(|(a, b)| (a - b).abs());
    let difference = difference.fold(0.0, f32::max);
    let cosines = [&together.values, &alone].map(|found| worst_cosine(found, &reference.vectors));
    println!("worst cosine together and alone: {cosines:.9?}; most between them: {difference:e}");
    assert!(cosines.iter().all(|cosine| *cosine >= 0.999_99), "{cosines:?}");
    assert!(difference < 1e-6, "{difference:e}");
}

/// `COLONNADE_TEXTS` names a JSON list of texts; without it they are Banking77's.
#[test]
#[ignore = "measures: `make test-embeddings` and `benches/embed.sh`, on a quiet machine"]
fn throughput_of_the_published_model() {
    let Some((data, embedder)) = data_and_model("banking77") else { return };
    let texts: Vec<String> = match std::env::var_os("COLONNADE_TEXTS") {
        Some(file) => serde_json::from_slice(&fs::read(file).unwrap()).unwrap(),
        None => {
            let mut reader = csv::Reader::from_path(data.join("train.csv")).unwrap();
            reader.deserialize().map(|row: csv::Result<Ticket>| row.unwrap().text).collect()
        }
    };
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for _ in 0..3 {
        let start = Instant::now();
        embedder.tokenizer().encode_all(&texts).unwrap();
        let tokenised_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let found = embedder.embed(&texts, &EmbedOptions::default()).unwrap();
        let elapsed_s = start.elapsed().as_secs_f64();
        println!(
            "{} texts, {} tokens, {} threads: {elapsed_s:.2} s ({tokenised_s:.3} s of it to tokenise), {:.0} texts/s, {:.0} tokens/s",
            texts.len(),
            found.tokens,
            rayon::current_num_threads(),
            texts.len() as f64 / elapsed_s,
            found.tokens as f64 / elapsed_s,
        );
    }
}
