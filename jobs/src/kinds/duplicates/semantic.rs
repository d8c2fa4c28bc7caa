//! Texts that mean the same in other words: rows whose vectors, as the job `embed` made them, point the same way.
//!
//! Of texts that are the same the oldest alone is compared, as in [`super::find`], and a pair that is linked by its words is
//! not linked again. The pairs are those of a join over all vectors ([`kernels::nearest`]): exact, none is missed.
//!
//! Cost: the product of the rows that are compared and all rows, times the numbers of a vector. Memory: the vectors and
//! their 8-bit form.

use std::collections::HashSet;
use std::sync::Arc;

use analysis::vector_hash;
use arrow::array::{Array, LargeStringArray};
use engine::{Code, Error, Result};
use kernels::nearest::{
    JoinOptions, Metric, Pair, PairList, PairSink, Rows, Summary, join, join_within,
};
use kernels::{Execution, MatrixView};
use rayon::prelude::*;

use super::corpus::Corpus;
use super::find::{Grounds, Link};
use super::{NAME, Params};
use crate::run::context::RunContext;
use crate::run::stage::GpuUse;
use crate::similar::Vectors;

/// The vectors of the rows that are compared.
pub(super) struct Semantic {
    vectors: Vectors,
}

/// Links by vectors.
pub(super) struct SemanticLinks {
    pub(super) links: Vec<Link>,
    /// Rows that have none.
    pub(super) without_vector: usize,
    /// What it took.
    pub(super) seconds: f64,
    pub(super) gpu: GpuUse,
}

/// The vectors of records, by row.
pub(super) struct RecordVectors {
    semantic: Arc<Semantic>,
    /// Of each row: where its vector is.
    places: Vec<Option<usize>>,
}

impl RecordVectors {
    pub(super) fn of(semantic: Arc<Semantic>, ids: &LargeStringArray) -> Self {
        let place = |row| semantic.vectors.place(ids.value(row));
        Self { places: (0..ids.len()).map(place).collect(), semantic }
    }

    /// Who made them.
    pub(super) fn embedder(&self) -> &str {
        self.semantic.embedder()
    }

    /// Rows that have none.
    pub(super) fn missing(&self) -> usize {
        self.places.iter().filter(|place| place.is_none()).count()
    }

    /// The cosine of two rows' vectors; none where one has none.
    pub(super) fn cosine(&self, a: usize, b: usize) -> Option<f64> {
        let vector = |row: usize| Some(self.semantic.vectors.vector(self.places[row]?));
        analysis::cosine(vector(a)?, vector(b)?)
    }
}

impl Semantic {
    /// None where vectors are not asked for.
    pub(super) async fn read(ctx: &RunContext, params: &Params) -> Result<Option<Arc<Self>>> {
        let Some(name) = &params.vectors else { return Ok(None) };
        let mut stage = ctx.stage("vectors");
        let parts = if params.fields.is_some() { 1 } else { 2 };
        let bytes_max = ctx.memory_budget_bytes() / 4 * parts;
        let room = |bytes: usize| match bytes <= bytes_max {
            true => Ok(()),
            false => Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "{NAME}: the vectors of {} take {bytes} bytes; {parts} of four parts of the memory budget, \
                     {bytes_max} bytes, is for them: take a larger budget",
                    params.dataset
                ),
            )),
        };
        let read = Vectors::read(ctx.session(), name, &params.dataset, room).await?;
        let vectors = read.ok_or_else(|| {
            let problem = format!(
                "{NAME}: {0} has no vectors in {name}: run the job `embed` with dataset = \"{0}\"",
                params.dataset
            );
            Error::user(Code::NotFound, problem)
        })?;
        stage.record.rows_in = vectors.len() as u64;
        stage.record.rows_out = vectors.len() as u64;
        stage.finish();
        Ok(Some(Arc::new(Self { vectors })))
    }

    /// Who made the vectors.
    pub(super) fn embedder(&self) -> &str {
        &self.vectors.embedder
    }

    /// A number that tells the vector of a row from another one; 0 where it has none.
    pub(super) fn hash(&self, id: &str) -> u64 {
        self.vectors.place(id).map_or(0, |place| vector_hash(self.vectors.vector(place)))
    }

    /// The cosine of two rows' vectors; none where one has none.
    pub(super) fn cosine(&self, first: &str, second: &str) -> Option<f64> {
        let vector = |id| Some(self.vectors.vector(self.vectors.place(id)?));
        analysis::cosine(vector(first)?, vector(second)?)
    }

    /// The rows whose vector is near to that of one of these.
    pub(super) fn near(
        &self,
        ids: &HashSet<String>,
        min_cosine: f64,
        execution: &Execution,
    ) -> Result<Vec<String>> {
        let places: Vec<usize> = ids.iter().filter_map(|id| self.vectors.place(id)).collect();
        let mut hits = Hits(vec![false; self.vectors.len()]);
        self.join(&places, Rows::All, min_cosine, &mut hits, execution)?;
        let hits = hits.0.iter().enumerate().filter(|(_, hit)| **hit);
        Ok(hits.map(|(place, _)| self.vectors.id(place).to_owned()).collect())
    }

    /// The links among the rows of a corpus, those with a row from `first` on, without those in `linked`.
    pub(super) fn links(
        &self,
        corpus: &Corpus,
        first: usize,
        linked: &[Link],
        params: &Params,
        execution: &Execution,
    ) -> Result<SemanticLinks> {
        let began = std::time::Instant::now();
        let (texts, ids) = (corpus.texts()?, corpus.ids());
        let mut seen = HashSet::new();
        let first_of_its_kind: Vec<usize> =
            (0..corpus.len()).filter(|row| seen.insert(texts.text(*row))).collect();
        drop(seen);
        let place = |row: &usize| Some((self.vectors.place(ids.value(*row))?, *row));
        let placed: Vec<(usize, usize)> = first_of_its_kind.par_iter().filter_map(place).collect();
        let mut rows = vec![0; self.vectors.len()];
        placed.iter().for_each(|&(place, row)| rows[place] = row);
        let bits = |is_in: &dyn Fn(usize) -> bool| {
            let mut bits = vec![0_u64; self.vectors.len().div_ceil(64)];
            for &(place, _) in placed.iter().filter(|(_, row)| is_in(*row)) {
                bits[place / 64] |= 1 << (place % 64);
            }
            bits
        };
        let room = params.pairs_max.saturating_sub(linked.len());
        let min_cosine = params.min_cosine();
        let (new, before) = (bits(&|row| row >= first), bits(&|row| row < first));
        let options = JoinOptions {
            allowed: Rows::Bits(&new),
            ..JoinOptions::new(Metric::Cosine, min_cosine)
        };
        let mut within = PairList::with_limit(room);
        let mut gpu = GpuUse::default();
        let done = join_within(self.vectors.matrix()?, &options, &mut within, execution)?;
        gpu.add(&done.stats);
        let mut pairs = within.into_pairs();
        if first > 0 {
            let new: Vec<usize> =
                placed.iter().filter(|(_, row)| *row >= first).map(|(place, _)| *place).collect();
            let mut between = PairList::with_limit(room - pairs.len());
            let before = Rows::Bits(&before);
            gpu.add(&self.join(&new, before, min_cosine, &mut between, execution)?.stats);
            let between = between.into_pairs().into_iter();
            pairs.extend(between.map(|pair| Pair { row: new[pair.row], ..pair }));
        }
        let linked: HashSet<(usize, usize)> =
            linked.iter().map(|link| (link.first, link.second)).collect();
        let links = pairs.into_iter().filter_map(|pair| {
            let (a, b) = (rows[pair.row], rows[pair.col]);
            let (first, second) = (a.min(b), a.max(b));
            let similarity = pair.score.min(1.0);
            let link = Link { first, second, grounds: Grounds::Semantic, similarity };
            (!linked.contains(&(first, second))).then_some(link)
        });
        Ok(SemanticLinks {
            links: links.collect(),
            without_vector: first_of_its_kind.len() - placed.len(),
            seconds: began.elapsed().as_secs_f64(),
            gpu,
        })
    }

    /// The pairs of one of `places` and one of `base`.
    fn join(
        &self,
        places: &[usize],
        base: Rows<'_>,
        min_cosine: f64,
        sink: &mut dyn PairSink,
        execution: &Execution,
    ) -> Result<Summary> {
        let queries: Vec<f32> =
            places.iter().flat_map(|place| self.vectors.vector(*place)).copied().collect();
        let queries = MatrixView::new(&queries, places.len(), self.vectors.dimensions)?;
        let options = JoinOptions { allowed: base, ..JoinOptions::new(Metric::Cosine, min_cosine) };
        Ok(join(queries, self.vectors.matrix()?, &options, sink, execution)?)
    }
}

/// Which rows of the base are in a pair.
struct Hits(Vec<bool>);

impl PairSink for Hits {
    fn take(&mut self, pairs: &[Pair]) -> kernels::Result<()> {
        pairs.iter().for_each(|pair| self.0[pair.col] = true);
        Ok(())
    }
}
