//! The rows of a dataset that are most like a text, a row or a vector, by the vectors that the job `embed` has made
//! of them.
//!
//! ```text
//!   text ── its embedder ─▶ vector ─┐
//!   id ─────────── its row ─▶ vector ┼─▶ nearest among the rows that the filter takes ─▶ ids and scores
//!   vector ─────────────────────────┘
//! ```
//!
//! The score is the cosine of the angle between two vectors. The filter is applied first: what it takes is a set of
//! rows, and only those are looked at. A search is exact, as [`kernels::nearest`] says, equal scores by id; where the
//! job `vector_index` has made an index it is approximate ([`kernels::ivf`]), with the recall that was measured then,
//! unless an exact one is asked for or the filter leaves so few rows that looking at each is less work.
//!
//! Vectors are read once for each version and kept ([`shelf`]), and so are indexes and the sets of the latest filters.

mod index;
mod shelf;
#[cfg(test)]
mod tests;
mod vectors;

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datasets::DatasetName;
use engine::{Code, Error, Result, Session, TenantId, Version};
use futures::StreamExt;
use kernels::ivf::SearchOptions;
use kernels::nearest::Rows;
use kernels::{Budget, Control, Execution, GpuPolicy, MatrixView, Pool};
use models::{EmbedOptions, Role, TEXT_BYTES_MAX, TextEmbedder};

use crate::registry::embedders::{Embedders, model_error};
use crate::tables::columns::texts;
use index::{Indexed, Lists};
use shelf::{Shelf, Shelved};
pub(crate) use vectors::Vectors;
use vectors::bits_of;

/// Most rows of one answer.
pub const SIMILAR_ROWS_MAX: usize = 10_000;

/// What rows are to be like.
#[derive(Clone, Debug, PartialEq)]
pub enum Likeness {
    /// A text, which is embedded as the rows' texts were.
    Text(String),
    /// Another row, by its id, which is not in the answer itself.
    Id(String),
    /// A vector of the same embedder.
    Vector(Vec<f32>),
}

/// A search for similar rows.
#[derive(Clone, Debug)]
pub struct SimilarRequest {
    /// The dataset whose rows are searched, as the session sees it.
    pub dataset: DatasetName,
    /// The column that names its rows.
    pub id_column: String,
    /// The dataset of vectors, as `embed` makes it.
    pub vectors: DatasetName,
    /// The dataset of their index, as `vector_index` makes it; it need not be there.
    pub index: DatasetName,
    /// Not to take the index.
    pub exact: bool,
    /// What the rows shall be like.
    pub to: Likeness,
    /// Rows at most, 1 to [`SIMILAR_ROWS_MAX`].
    pub k: usize,
    /// Least score, -1 to 1.
    pub min_score: Option<f64>,
    /// Which rows of the dataset can be results. Without it all that have a vector, those among them that the
    /// dataset does not hold any more.
    pub filter: Option<Expr>,
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct SimilarRow {
    /// Its id.
    pub id: String,
    /// Cosine of the angle between its vector and the one asked for, -1 to 1.
    pub score: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Similar {
    /// The rows, most similar first.
    pub rows: Vec<SimilarRow>,
    /// Who made the vectors, `name@version`.
    pub embedder: String,
    /// The version of the dataset of vectors.
    pub vectors_version: Version,
    /// Rows with a vector that the filter takes.
    pub candidates: usize,
    /// How they were searched.
    pub method: Method,
}

/// How a search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// At every candidate.
    Exact,
    /// At the candidates in the lists nearest to what was asked for.
    Ivf {
        /// Lists that were looked into.
        probes: usize,
        /// Lists of the index.
        lists: usize,
        /// Part of the true nearest rows that such searches find, as it was measured without a filter.
        recall: f64,
    },
}

/// Searches in this process.
pub(crate) struct Searches {
    embedders: Arc<Embedders>,
    vectors: Arc<Shelf<VectorsKey, Vectors>>,
    filters: Arc<Shelf<FilterKey, Bits>>,
    indexes: Arc<Shelf<IndexKey, MaybeIndexed>>,
    pool: Pool,
    gpu: GpuPolicy,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct VectorsKey {
    tenant: TenantId,
    vectors: DatasetName,
    version: Version,
    source: DatasetName,
    /// Of what the one who asks sees.
    grants: String,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct FilterKey {
    vectors: VectorsKey,
    version: Version,
    id_column: String,
    filter: Expr,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct IndexKey {
    vectors: VectorsKey,
    index: DatasetName,
    version: Version,
}

/// Rows that a filter takes.
struct Bits {
    words: Arc<[u64]>,
    count: usize,
}

impl Bits {
    fn has(&self, place: usize) -> bool {
        self.words.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

impl Shelved for Bits {
    fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

/// An index, where there is one for these vectors.
struct MaybeIndexed(Option<Indexed>);

impl Shelved for MaybeIndexed {
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(1, Shelved::bytes)
    }
}

/// What was found, by place.
struct Found {
    rows: Vec<(usize, f64)>,
    candidates: usize,
    method: Method,
}

/// Stops the work when the one who asked is gone.
struct StopOnDrop(Control);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Searches {
    /// Vectors take at most half of `bytes_max`, their indexes nearly as much, and filters what is left.
    pub(crate) fn new(
        embedders: Arc<Embedders>,
        pool: Pool,
        gpu: GpuPolicy,
        bytes_max: usize,
    ) -> Self {
        let part = bytes_max / 32;
        let (vectors, indexes, filters) =
            (Shelf::new(part * 15), Shelf::new(part * 16), Shelf::new(part));
        Self { embedders, vectors, filters, indexes, pool, gpu }
    }

    /// Searches. `NOT_FOUND` where there are no vectors, or no row of that id; `BAD_INPUT` for a vector that does
    /// not fit the others.
    #[tracing::instrument(name = "similar", skip_all, fields(dataset = %request.dataset))]
    pub(crate) async fn run(&self, session: &Session, request: SimilarRequest) -> Result<Similar> {
        if !(1..=SIMILAR_ROWS_MAX).contains(&request.k) {
            let found = request.k;
            return Err(bad(format!("k: expected 1 to {SIMILAR_ROWS_MAX}, found {found}")));
        }
        if session.grants().has_masks(&request.dataset) {
            let dataset = &request.dataset;
            let says = format!(
                "{dataset}: some of its columns are masked, and vectors tell what stands in them"
            );
            return Err(Error::user(Code::Forbidden, says));
        }
        let (key, vectors) = self.vectors(session, &request).await?;
        // Vectors know nothing of rows that are kept back from the one who asks.
        let shown = match session.grants().sees_whole(&request.dataset) {
            true => None,
            false => Some(self.filter(session, &key, &vectors, &request, &lit(true)).await?),
        };
        let allowed = match &request.filter {
            None => shown.clone(),
            Some(filter) => Some(self.filter(session, &key, &vectors, &request, filter).await?),
        };
        let indexed = match request.exact {
            true => None,
            false => self.index(session, &key, &vectors, &request).await?,
        };
        let execution = self.execution(vectors.len());
        let _stop = StopOnDrop(execution.control.clone());
        let embedder = match &request.to {
            Likeness::Text(_) => Some(self.embedder(session, &request, &vectors).await?),
            Likeness::Id(_) | Likeness::Vector(_) => None,
        };
        let version = key.version;
        let work = move || {
            let shown = shown.as_deref();
            let (query, itself) = query_of(&request, &vectors, shown, embedder.as_deref())?;
            // A row is always the nearest to itself, or as near as a copy of it: one more is enough.
            let k = request.k + usize::from(itself.is_some());
            let index = indexed.as_ref().and_then(|index| index.0.as_ref());
            let found = search(&vectors, index, &query, k, allowed.as_deref(), &execution)?;
            let rows = found
                .rows
                .into_iter()
                .filter(|(place, _)| Some(*place) != itself)
                .take(request.k)
                .filter(|(_, score)| request.min_score.is_none_or(|least| *score >= least))
                .map(|(place, score)| SimilarRow { id: vectors.id(place).to_owned(), score })
                .collect();
            Ok(Similar {
                rows,
                embedder: vectors.embedder.clone(),
                vectors_version: version,
                candidates: found.candidates,
                method: found.method,
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::internal(format!("similar: {e}")))?
    }

    async fn vectors(
        &self,
        session: &Session,
        request: &SimilarRequest,
    ) -> Result<(VectorsKey, Arc<Vectors>)> {
        let (dataset, name) = (request.dataset.clone(), request.vectors.clone());
        let version = session.version(&name).ok_or_else(|| no_vectors(&dataset, &name))?;
        let key = VectorsKey {
            tenant: session.catalog().tenant.clone(),
            vectors: name.clone(),
            version,
            source: dataset.clone(),
            grants: session.grants().digest().to_owned(),
        };
        let older = |other: &VectorsKey| {
            let now = VectorsKey { version: other.version, ..key.clone() };
            *other == now && other.version < version
        };
        let (session, shelf, execution) =
            (session.clone(), self.vectors.clone(), self.execution(0));
        let make = move || async move {
            let room = |bytes| shelf.make_room(bytes, &format!("the vectors of {dataset}"));
            let read = Vectors::read(&session, &name, &dataset, room).await?;
            let mut vectors = read.ok_or_else(|| no_vectors(&dataset, &name))?;
            let work = move || vectors.code(&execution).map(|()| vectors);
            let coded = tokio::task::spawn_blocking(work).await;
            coded.map_err(|e| Error::internal(format!("coding vectors: {e}")))?
        };
        let vectors = self.vectors.get(key.clone(), older, make).await?;
        Ok((key, vectors))
    }

    /// The embedder of the vectors.
    async fn embedder(
        &self,
        session: &Session,
        request: &SimilarRequest,
        vectors: &Vectors,
    ) -> Result<Arc<dyn TextEmbedder>> {
        let found = self.embedders.of_vectors(session, &vectors.embedder, vectors.dimensions);
        found.await.map_err(|error| match error.code() {
            Code::Conflict => {
                let (dataset, problem) = (&request.dataset, error.to_string());
                Error::user(Code::Conflict, format!("{dataset}: {problem}: run `embed` again"))
            }
            _ => error,
        })
    }

    async fn filter(
        &self,
        session: &Session,
        key: &VectorsKey,
        vectors: &Arc<Vectors>,
        request: &SimilarRequest,
        filter: &Expr,
    ) -> Result<Arc<Bits>> {
        let table = session.table_of_today(&request.dataset).await?;
        let version = session
            .version(&request.dataset)
            .ok_or_else(|| Error::internal(format!("{} was not opened", request.dataset)))?;
        let key = FilterKey {
            vectors: key.clone(),
            version,
            id_column: request.id_column.clone(),
            filter: filter.clone(),
        };
        let id = cast(ident(&request.id_column), DataType::Utf8).alias("id");
        let frame = table.filter(filter.clone())?.select(vec![id])?;
        let (session, vectors) = (session.clone(), vectors.clone());
        let make = move || async move {
            let mut ids: Vec<StringArray> = Vec::new();
            let mut rows = session.stream(frame).await?;
            while let Some(batch) = rows.next().await {
                ids.push(texts(&batch.map_err(Error::from)?, 0)?);
            }
            let words = bits_of(&vectors, &ids);
            let count = words.iter().map(|word| word.count_ones() as usize).sum();
            Ok(Bits { words, count })
        };
        self.filters.get(key, |_| false, make).await
    }

    /// The index over `vectors`; none where there is none, or one of another embedder's vectors.
    async fn index(
        &self,
        session: &Session,
        key: &VectorsKey,
        vectors: &Arc<Vectors>,
        request: &SimilarRequest,
    ) -> Result<Option<Arc<MaybeIndexed>>> {
        let Some(version) = session.version(&request.index) else { return Ok(None) };
        let key = IndexKey { vectors: key.clone(), index: request.index.clone(), version };
        let older = |other: &IndexKey| {
            other.index == key.index
                && other.vectors.source == key.vectors.source
                && other.vectors.tenant == key.vectors.tenant
                && other.vectors.grants == key.vectors.grants
                && other.version <= key.version
                && other.vectors.version <= key.vectors.version
        };
        let (session, vectors, shelf) = (session.clone(), vectors.clone(), self.indexes.clone());
        let (index, source) = (request.index.clone(), request.dataset.clone());
        let execution = self.execution(vectors.len());
        let make = move || async move {
            let lists = Lists::read(&session, &index, &source).await?;
            let lists = lists.filter(|lists| lists.embedder == vectors.embedder);
            let Some(lists) = lists else { return Ok(MaybeIndexed(None)) };
            shelf.make_room(vectors.bytes(), &format!("the index of {source}"))?;
            let work = move || Ok(MaybeIndexed(Some(lists.over(&vectors, &execution)?)));
            let made = tokio::task::spawn_blocking(work).await;
            made.map_err(|e| Error::internal(format!("reading an index: {e}")))?
        };
        Ok(Some(self.indexes.get(key.clone(), older, make).await?))
    }

    /// For a search among so many rows.
    fn execution(&self, rows: usize) -> Execution {
        Execution {
            gpu: self.gpu,
            budget: Budget::host(SEARCH_BYTES + rows * SEARCH_ROW_BYTES),
            pool: Some(self.pool.clone()),
            control: Control::new(),
            ..Execution::default()
        }
    }
}

/// Memory of one search beside the vectors, and for each of them.
const SEARCH_BYTES: usize = 64 << 20;
const SEARCH_ROW_BYTES: usize = 32;

/// The vector to search for, and the row that it is, if it is one.
fn query_of(
    request: &SimilarRequest,
    vectors: &Vectors,
    shown: Option<&Bits>,
    embedder: Option<&dyn TextEmbedder>,
) -> Result<(Vec<f32>, Option<usize>)> {
    match &request.to {
        Likeness::Vector(vector) => {
            if vector.len() != vectors.dimensions {
                return Err(bad(format!(
                    "to.vector: expected {} numbers, as {} makes them, found {}",
                    vectors.dimensions,
                    vectors.embedder,
                    vector.len()
                )));
            }
            let is_usable =
                vector.iter().all(|x| x.is_finite()) && vector.iter().any(|x| *x != 0.0);
            match is_usable {
                true => Ok((vector.clone(), None)),
                false => Err(bad("to.vector: expected finite numbers, not all 0")),
            }
        }
        Likeness::Id(id) => match vectors.place(id).filter(|at| shown.is_none_or(|it| it.has(*at)))
        {
            Some(place) => Ok((vectors.vector(place).to_vec(), Some(place))),
            None => Err(Error::user(
                Code::NotFound,
                format!(
                    "to.id: no row of {} with this id has a vector; run `embed` again if it is new",
                    request.dataset
                ),
            )),
        },
        Likeness::Text(text) => {
            if text.trim().is_empty() {
                return Err(bad("to.text: expected a text, found none"));
            }
            if text.len() > TEXT_BYTES_MAX {
                let found = text.len();
                return Err(bad(format!(
                    "to.text: expected at most {TEXT_BYTES_MAX} bytes, found {found}"
                )));
            }
            let embedder = embedder.ok_or_else(|| Error::internal("similar: no embedder"))?;
            let options = EmbedOptions { role: Role::Query, ..EmbedOptions::default() };
            let made = embedder.embed(&[text], &options).map_err(model_error)?;
            Ok((made.values, None))
        }
    }
}

/// The `k` nearest of the rows that are allowed.
fn search(
    vectors: &Vectors,
    index: Option<&Indexed>,
    query: &[f32],
    k: usize,
    allowed: Option<&Bits>,
    execution: &Execution,
) -> Result<Found> {
    let candidates = allowed.map_or(vectors.len(), |bits| bits.count);
    // Of all rows, so many are in the lists that a query looks into, and it looks at each centre.
    let looked_at = |index: &Indexed| {
        index.probes.saturating_mul(vectors.len()) / index.index.lists().max(1)
            + index.index.lists()
    };
    if let Some(index) = index.filter(|index| looked_at(index) < candidates) {
        let filter = allowed.map(|bits| &*bits.words);
        let options = SearchOptions { filter, ..SearchOptions::new(k, index.probes) };
        // The index is on the processor, whatever else is not.
        let execution = Execution { gpu: GpuPolicy::Off, ..execution.clone() };
        let query = MatrixView::new(query, 1, query.len())?;
        let found = index.index.search(query, &options, &execution)?;
        let rows = found.of(0).iter().map(|row| (row.row as usize, f64::from(row.score))).collect();
        let (probes, lists, recall) = (index.probes, index.index.lists(), index.recall);
        return Ok(Found { rows, candidates, method: Method::Ivf { probes, lists, recall } });
    }
    let allowed = allowed.map_or(Rows::All, |bits| Rows::Bits(&bits.words));
    let found = vectors.nearest(query, k, allowed, execution)?;
    let rows = found.row(0).iter().map(|row| (row.index, row.score)).collect();
    Ok(Found { rows, candidates, method: Method::Exact })
}

fn no_vectors(dataset: &DatasetName, vectors: &DatasetName) -> Error {
    Error::user(
        Code::NotFound,
        format!(
            "{dataset} has no vectors in {vectors}: run the job `embed` with dataset = \"{dataset}\""
        ),
    )
}

fn bad(problem: impl Into<String>) -> Error {
    Error::user(Code::BadInput, problem)
}
