//! From texts to pairs, and from pairs to clusters.
//!
//! A text that repeats an earlier one is paired with the first of its kind only, and that one alone is compared with
//! the others: a thousand copies are a thousand pairs, not half a million, and the clusters are the same.

use std::ops::Range;

use engine::Result;
use kernels::components::Components;
use kernels::minhash::affected::{self, Facts};
use kernels::minhash::{
    Banding, Corpus as Signed, MinHashOptions, SKETCH_BYTES, Shingles, SimilarOptions,
    SimilarPairs, Summary, signatures, similar, sketches,
};
use kernels::{Execution, MatrixView, MatrixViewMut, Stats};

use super::corpus::Corpus;
use super::params::Params;
use super::semantic::{Semantic, SemanticLinks};

/// Why two rows are taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grounds {
    /// Their texts are the same but for case and white space.
    Exact,
    /// Most of their texts is the same.
    Near,
    /// Their texts mean the same, as far as their vectors say.
    Semantic,
    /// Their fields say together that they describe one thing.
    Record,
}

/// Two rows that say the same; `first` is the older.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Link {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) grounds: Grounds,
    /// Jaccard similarity of their runs of characters; cosine of their vectors; of records the probability that they are one.
    pub(super) similarity: f64,
}

/// Rows that are linked, directly or through others; the oldest first, at least two.
pub(super) type Cluster = Vec<usize>;

/// Links and what it took to find them.
pub(super) struct Linked {
    /// By first and then second row.
    pub(super) links: Vec<Link>,
    /// Those among them that vectors gave; none without vectors.
    pub(super) by_vectors: Option<SemanticLinks>,
    /// What an index keeps of each row; empty where there is none.
    pub(super) entries: Vec<u8>,
    pub(super) signed: Stats,
    pub(super) summary: Summary,
}

impl Grounds {
    /// From rows of pairs of texts.
    pub(super) fn of_texts(grounds: &str) -> Option<Self> {
        [Self::Exact, Self::Near, Self::Semantic].into_iter().find(|of| of.as_str() == grounds)
    }
}

/// How the texts are cut and signed.
pub(super) fn minhash(params: &Params) -> MinHashOptions {
    MinHashOptions {
        shingles: Shingles::Characters(params.shingle_characters),
        functions: params.functions,
        ..MinHashOptions::default()
    }
}

/// How similar texts are looked for.
pub(super) fn options(params: &Params) -> Result<SimilarOptions> {
    Ok(SimilarOptions::for_threshold(params.min_similarity(), minhash(params))?)
}

/// The bands of the signatures.
pub(super) fn banding(params: &Params) -> Result<Banding> {
    Ok(options(params)?.banding)
}

/// What an index keeps of each text.
pub(super) fn entries(
    corpus: &Corpus,
    params: &Params,
    semantic: Option<&Semantic>,
    execution: &Execution,
) -> Result<Vec<u8>> {
    let (texts, functions) = (corpus.texts()?, params.functions);
    let mut values = vec![0_u32; texts.len() * functions];
    let room = MatrixViewMut::new(&mut values, texts.len(), functions)?;
    signatures(texts, &minhash(params), room, execution)?;
    let values = MatrixView::new(&values, texts.len(), functions)?;
    entries_of(corpus, params, values, semantic, execution)
}

fn entries_of(
    corpus: &Corpus,
    params: &Params,
    signatures: MatrixView<'_, u32>,
    semantic: Option<&Semantic>,
    execution: &Execution,
) -> Result<Vec<u8>> {
    let (texts, ids) = (corpus.texts()?, corpus.ids());
    let mut room = vec![0; texts.len() * SKETCH_BYTES];
    sketches(texts, &minhash(params), &mut room, execution)?;
    let vector = |row| semantic.map_or(0, |semantic| semantic.hash(ids.value(row)));
    let facts = Facts { text: &|row| texts.text(row), vector: &vector, sketches: &room };
    Ok(affected::entries(&facts, signatures, banding(params)?))
}

/// Which pairs of a corpus are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All, and an index is kept.
    Everything,
    /// All.
    Affected,
    /// Those with a row from this one on.
    From(usize),
}

/// Finds the links among the texts.
pub(super) fn link(
    corpus: &Corpus,
    params: &Params,
    scope: Scope,
    semantic: Option<&Semantic>,
    execution: &Execution,
) -> Result<Linked> {
    let texts = corpus.texts()?;
    let minhash = minhash(params);
    let mut values = vec![0_u32; texts.len() * minhash.functions];
    let room = MatrixViewMut::new(&mut values, texts.len(), minhash.functions)?;
    let signed = signatures(texts, &minhash, room, execution)?;
    let options = options(params)?;
    let mut pairs = SimilarPairs::new().with_limit(params.pairs_max);
    let functions = minhash.functions;
    let first = match scope {
        Scope::From(first) => first.min(texts.len()),
        _ => 0,
    };
    let signed_rows = |rows: Range<usize>| -> Result<Signed<'_>> {
        let values = &values[rows.start * functions..rows.end * functions];
        let view = MatrixView::new(values, rows.len(), functions)?;
        Ok(Signed::new(corpus.texts_of(rows)?, view)?)
    };
    let before = (first > 0).then(|| signed_rows(0..first)).transpose()?;
    let new = signed_rows(first..texts.len())?;
    let summary = similar(before, new, &options, &mut pairs, execution)?;
    let of = |pair: kernels::minhash::SimilarPair| {
        let same = texts.text(pair.first) == texts.text(pair.second);
        Link {
            first: pair.first,
            second: pair.second,
            grounds: if same { Grounds::Exact } else { Grounds::Near },
            similarity: pair.jaccard,
        }
    };
    let mut links: Vec<Link> = pairs.into_pairs().into_iter().map(of).collect();
    let by_vectors =
        semantic.map(|of| of.links(corpus, first, &links, params, execution)).transpose()?;
    if let Some(by_vectors) = &by_vectors {
        links.extend(&by_vectors.links);
        links.sort_unstable_by_key(|link| (link.first, link.second));
    }
    let entries = match (scope, &params.index_output) {
        (Scope::Everything, Some(_)) => {
            let values = MatrixView::new(&values, texts.len(), functions)?;
            entries_of(corpus, params, values, semantic, execution)?
        }
        _ => Vec::new(),
    };
    Ok(Linked { links, by_vectors, entries, signed, summary })
}

/// The clusters of `rows` rows, by their oldest member.
pub(super) fn clusters(rows: usize, links: &[Link]) -> Result<Vec<Cluster>> {
    let mut components = Components::<u64>::new(rows)?;
    let pairs: Vec<(u64, u64)> =
        links.iter().map(|link| (link.first as u64, link.second as u64)).collect();
    components.add(&pairs)?;
    let labels = components.labels();
    let mut members: Vec<(u64, usize)> = links
        .iter()
        .flat_map(|link| [link.first, link.second])
        .map(|row| (labels[row], row))
        .collect();
    members.sort_unstable();
    members.dedup();
    let of_one = |a: &(u64, usize), b: &(u64, usize)| a.0 == b.0;
    let rows = |members: &[(u64, usize)]| members.iter().map(|&(_, row)| row).collect();
    Ok(members.chunk_by(of_one).map(rows).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_in_one_cluster_when_links_lead_from_one_to_the_other() {
        let link = |first, second| Link { first, second, grounds: Grounds::Near, similarity: 0.9 };
        let links = [link(1, 7), link(2, 3), link(3, 8), link(7, 9)];
        assert_eq!(clusters(10, &links).unwrap(), [vec![1, 7, 9], vec![2, 3, 8]]);
        assert!(clusters(10, &[]).unwrap().is_empty());
    }
}
