//! Looking at what changed alone.
//!
//! A run over texts leaves an index behind ([`index`]): of each row the hash of its text, the keys of its bands and a sketch. The
//! next run of the same parameters reads the rows that came and went since, finds the rows that those can change a pair of
//! ([`kernels::minhash::affected`]), reads their texts, and links them. Pairs of a text that neither came nor went stay as they are; so do
//! clusters that none of these rows is in. The result is that of a run over everything:
//!
//! - the pairs of a text depend on its own rows and on those that share a band with it; of these all are read that its
//!   sketch does not rule out;
//! - where vectors are compared, those of all rows that came are, with all others; the rest have the vectors that they had;
//! - a cluster that loses or gains a link is read whole, so that its oldest row is known.
//!
//! Everything is looked at where there is no such index, where another run replaced pairs, clusters or index, where a fifth of
//! all rows changed, where an earlier row has another vector now, where ids repeat, and where a band is so crowded that which of its pairs are made depends on rows
//! older than a new one. The run says which.
//!
//! Cost: the index (92 + 4·bands bytes a row), the pairs and the clusters are read, pairs and clusters are written; the texts
//! of the source are gone over where an earlier row is affected.

mod earlier;
mod index;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, LargeStringArray};
use engine::{Code, Result, Version};
use kernels::components::Components;
use kernels::minhash::affected::{Change, entry_bytes, vector_of};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::Params;
use super::corpus::{Corpus, LeftOut};
use super::find::{self, Cluster, Link, Scope};
use super::semantic::Semantic;
use crate::parameters;
use crate::run::context::RunContext;
use crate::tables::replacing::in_place_of;
use earlier::{Earlier, checksum};
use index::{Added, Index};
pub(super) use index::{IndexRows, spec as index_spec};
pub(super) use rows::corpus_of;

/// Of so many rows one must have changed for all to be looked at.
const CHANGED_MAX: usize = 5;

/// Everything that is known after a run.
pub(super) struct Known {
    pub(super) ids: LargeStringArray,
    pub(super) links: Vec<Link>,
    pub(super) clusters: Vec<Cluster>,
    pub(super) index: Option<IndexRows>,
    /// Rows with a text.
    pub(super) rows: usize,
    /// Of the rows that were read.
    pub(super) left_out: LeftOut,
    /// Why all rows were looked at; none where only those that changed were.
    pub(super) all_because: Option<String>,
    /// Texts that were compared.
    pub(super) rows_read: usize,
}

/// Where what is known is updated, or why it can't be.
pub(super) enum Update {
    Done(Box<Known>),
    All(String),
}

fn all(reason: &str) -> Result<Update> {
    Ok(Update::All(reason.to_owned()))
}

/// What an entry of the index is made of: another number means another kind of entries.
const ENTRY_FORMAT: u32 = 2;

/// SHA-256 of all parameters, and of the kind of entries.
fn key(params: &Params) -> Result<String> {
    let named = format!("{ENTRY_FORMAT} {}", parameters::canonical(params)?);
    let digest = Sha256::digest(named.as_bytes());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The index of a run over everything; none where ids repeat or none is asked for.
pub(super) fn index_of_all(
    params: &Params,
    version: Version,
    ids: &LargeStringArray,
    entries: &[u8],
    links: &[Link],
    clusters: &[Cluster],
) -> Result<Option<IndexRows>> {
    let Some(name) = &params.index_output else { return Ok(None) };
    let spec = index_spec(name.clone());
    let width = entry_bytes(find::banding(params)?);
    let distinct = ids.iter().collect::<HashSet<_>>().len() == ids.len();
    let added = Added {
        ids: if distinct { ids.iter().flatten().collect() } else { Vec::new() },
        entries: entries.chunks_exact(width).collect(),
        gone: vec![false; ids.len()],
    };
    let sum = index::sealed(checksum(&|row| ids.value(row), links, clusters), added.ids.len());
    let batches = index::batches(&spec, &params.dataset, &key(params)?, &added, version, sum)?;
    let mode = in_place_of(params.dataset.as_str());
    Ok(Some(IndexRows { spec, mode, batches }))
}

/// Updates what an earlier run left behind.
pub(super) async fn update(
    ctx: &RunContext,
    params: &Params,
    semantic: Option<&Arc<Semantic>>,
) -> Result<Update> {
    let Some(name) = &params.index_output else { return all("there is no `index_output`") };
    let width = entry_bytes(find::banding(params)?);
    let mut stage = ctx.stage("recall");
    let index = Index::read(ctx, params, name, &key(params)?, width).await?;
    let Some(index) = index else {
        return all("no earlier run of these parameters left a whole index");
    };
    let Some(earlier) = Earlier::read(ctx, params).await? else {
        return all("there are no earlier pairs of texts");
    };
    if !index.belongs_to(earlier.checksum()) {
        return all("pairs, clusters or index were replaced by another run");
    }
    let to = ctx.input(&params.dataset)?.version;
    if index.version > to {
        return all("a later version was looked at before");
    }
    stage.record.rows_out = index.len() as u64;
    stage.finish();

    let mut stage = ctx.stage("read");
    let changes = ctx.engine().changes(ctx.principal(), &params.dataset, index.version, to).await;
    let changes = match changes {
        Err(error) if error.code() == Code::NotFound => return all("the log of changes is gone"),
        changes => changes?,
    };
    let added = rows::corpus(ctx, params, changes.added).await?;
    let removed = rows::ids(ctx, params, changes.removed).await?;
    if (added.len() + removed.len()) * CHANGED_MAX > index.len() {
        return all("much has changed");
    }
    let before = Before { index, earlier };
    if semantic.is_some_and(|semantic| before.has_other_vectors(ctx, semantic, &removed)) {
        return all("earlier rows have other vectors now");
    }
    let Some(reached) = before.reached(ctx, params, semantic, &added, &removed).await? else {
        return all("ids repeat");
    };
    let left_out = added.left_out;
    let affected = if reached.rows.is_empty() {
        added
    } else {
        let wanted = reached.rows.iter().map(String::as_str).chain(added.ids().iter().flatten());
        corpus_of(ctx, params, &wanted.collect()).await?
    };
    stage.record.rows_out = affected.len() as u64;
    stage.finish();
    let known = before.link(ctx, params, semantic, reached, affected, removed).await?;
    Ok(match known {
        Ok(known) => Update::Done(Box::new(Known { left_out, ..known })),
        Err(reason) => Update::All(reason),
    })
}

/// What an earlier run left behind.
struct Before {
    index: Index,
    earlier: Earlier,
}

/// The id of a row that came, and its entry.
type NewRow = (String, Vec<u8>);

/// What a change reaches.
struct Reached {
    /// Ids of earlier rows that are still there: those that can be similar to a text that came or went, and all of their
    /// clusters.
    rows: HashSet<String>,
    /// Ids of earlier rows with a text that came or went.
    of_texts: HashSet<String>,
    added: Vec<NewRow>,
    removed_rows: usize,
}

impl Before {
    /// Whether a row that is still there had another vector, or none.
    fn has_other_vectors(
        &self,
        ctx: &RunContext,
        semantic: &Semantic,
        removed: &HashSet<String>,
    ) -> bool {
        let has_another = |row: usize| {
            let id = self.index.ids.value(row);
            vector_of(self.index.entry(row)) != semantic.hash(id) && !removed.contains(id)
        };
        ctx.pool().install(|| (0..self.index.len()).into_par_iter().any(has_another))
    }

    /// None where ids repeat.
    async fn reached(
        &self,
        ctx: &RunContext,
        params: &Params,
        semantic: Option<&Arc<Semantic>>,
        added: &Corpus,
        removed: &HashSet<String>,
    ) -> Result<Option<Reached>> {
        let execution = ctx.execution(ctx.memory_budget_bytes() / 4);
        let entries = find::entries(added, params, semantic.map(Arc::as_ref), &execution)?;
        let width = self.index.entry_bytes;
        let added: Vec<NewRow> = added
            .ids()
            .iter()
            .flatten()
            .map(str::to_owned)
            .zip(entries.chunks_exact(width).map(<[u8]>::to_vec))
            .collect();
        let new: HashSet<&str> = added.iter().map(|row| row.0.as_str()).collect();
        if new.len() < added.len() {
            return Ok(None);
        }
        let mut gone = Vec::new();
        for (row, id) in self.index.ids.iter().flatten().enumerate() {
            if !removed.is_empty() && removed.contains(id) {
                gone.push(row);
            } else if new.contains(id) {
                return Ok(None);
            }
        }
        let change = Change::of(
            added
                .iter()
                .map(|row| row.1.as_slice())
                .chain(gone.iter().map(|&row| self.index.entry(row))),
        );
        let removed_rows = gone.len();
        let gone: HashSet<usize> = gone.into_iter().collect();
        let options = find::options(params)?;
        let hits = ctx.pool().install(|| change.reached(&self.index.entries, width, &options));
        let (mut rows, mut of_texts) = (HashSet::new(), HashSet::new());
        for row in hits.into_iter().filter(|row| !gone.contains(row)) {
            let id = self.index.ids.value(row).to_owned();
            if change.has_text(self.index.entry(row)) {
                of_texts.insert(id.clone());
            }
            rows.insert(id);
        }
        if let Some(semantic) = semantic {
            let changed: HashSet<String> =
                new.iter().map(|id| (*id).to_owned()).chain(of_texts.iter().cloned()).collect();
            let (semantic, min_cosine) = (semantic.clone(), params.min_cosine());
            let near = move || semantic.near(&changed, min_cosine, &execution);
            let near = ctx.compute(near).await?.into_iter();
            rows.extend(near.filter(|id| !new.contains(id.as_str()) && !removed.contains(id)));
        }
        let of = |id: &String| self.earlier.representative.get(id);
        let touched: HashSet<&String> = rows.iter().chain(removed).filter_map(of).collect();
        let members = self.earlier.representative.iter().filter(|(_, of)| touched.contains(of));
        let members = members.map(|(id, _)| id).filter(|id| !removed.contains(*id));
        rows.extend(members.cloned().collect::<Vec<_>>());
        Ok(Some(Reached { rows, of_texts, added, removed_rows }))
    }

    /// Links what is affected, and puts it in the place of what was known of it. The reason where that can't be done.
    async fn link(
        self,
        ctx: &RunContext,
        params: &Params,
        semantic: Option<&Arc<Semantic>>,
        reached: Reached,
        affected: Corpus,
        removed: HashSet<String>,
    ) -> Result<Result<Known, String>> {
        let Reached { rows: _, mut of_texts, added, removed_rows } = reached;
        let new: HashSet<&str> = added.iter().map(|row| row.0.as_str()).collect();
        let is_new: Vec<bool> =
            affected.ids().iter().flatten().map(|id| new.contains(id)).collect();
        let first_new = is_new.iter().position(|new| *new).unwrap_or(is_new.len());
        // Where rows only came, all of them younger, no earlier pair changes.
        let only_adds = removed.is_empty() && is_new[first_new..].iter().all(|new| *new);
        let scope = if only_adds { Scope::From(first_new) } else { Scope::Affected };
        let (affected, linked) =
            super::link(ctx, params, affected, scope, semantic.cloned()).await?;
        if only_adds {
            of_texts.clear();
        } else if linked.summary.crowded_rows > 0 {
            return Ok(Err(
                "a band is crowded, and not all changes are of the youngest rows".into()
            ));
        }
        let changed = |row: usize| is_new[row] || of_texts.contains(affected.ids().value(row));
        let kept = self.earlier.pairs.iter().filter(|pair| {
            let stays = |id: &String| !removed.contains(id) && !of_texts.contains(id);
            stays(&pair.first) && stays(&pair.second)
        });
        let mut graph = Graph::default();
        for pair in kept {
            let (first, second) = (graph.node(&pair.first), graph.node(&pair.second));
            graph.links.push(Link {
                first,
                second,
                grounds: pair.grounds,
                similarity: pair.similarity,
            });
        }
        for link in linked.links.iter().filter(|l| changed(l.first) || changed(l.second)) {
            let node = |row: usize| affected.ids().value(row);
            let (first, second) = (graph.node(node(link.first)), graph.node(node(link.second)));
            graph.links.push(Link { first, second, ..*link });
        }
        let ages: HashMap<&str, usize> = affected.ids().iter().flatten().zip(0..).collect();
        let Some(clusters) = graph.clusters(&ages, &self.earlier.representative)? else {
            return Ok(Err("earlier clusters are not those of the earlier pairs".into()));
        };
        let Graph { ids, links, .. } = graph;
        let ids = LargeStringArray::from_iter_values(ids);
        let rows = self.index.len() - removed_rows + added.len();
        let sum = index::sealed(checksum(&|row| ids.value(row), &links, &clusters), rows);
        let version = ctx.input(&params.dataset)?.version;
        let index = self.index.with(params, &key(params)?, &added, &removed, version, sum)?;
        let rows_read = affected.len();
        Ok(Ok(Known {
            ids,
            links,
            clusters,
            index,
            rows,
            left_out: LeftOut::default(),
            all_because: None,
            rows_read,
        }))
    }
}

/// Rows by their ids, and links between them.
#[derive(Default)]
struct Graph<'a> {
    nodes: HashMap<&'a str, usize>,
    ids: Vec<&'a str>,
    links: Vec<Link>,
}

impl<'a> Graph<'a> {
    fn node(&mut self, id: &'a str) -> usize {
        let next = self.ids.len();
        let node = *self.nodes.entry(id).or_insert(next);
        if node == next {
            self.ids.push(id);
        }
        node
    }

    /// The row that stands for a cluster first. The age of all rows of a cluster is known, or of none: then it is one of
    /// before. None where that is not so.
    fn clusters(
        &self,
        ages: &HashMap<&str, usize>,
        before: &HashMap<String, String>,
    ) -> Result<Option<Vec<Cluster>>> {
        let mut components = Components::<u64>::new(self.ids.len())?;
        let pairs: Vec<(u64, u64)> =
            self.links.iter().map(|link| (link.first as u64, link.second as u64)).collect();
        components.add(&pairs)?;
        let labels = components.labels();
        let mut members: Vec<(u64, usize)> = labels.iter().copied().zip(0..).collect();
        members.sort_unstable();
        let mut clusters = Vec::new();
        for cluster in members.chunk_by(|a, b| a.0 == b.0) {
            let mut rows: Vec<usize> = cluster.iter().map(|&(_, row)| row).collect();
            let age = |row: &usize| ages.get(self.ids[*row]).copied();
            if rows.iter().all(|row| age(row).is_some()) {
                rows.sort_by_key(age);
            } else {
                let of = |row: &usize| before.get(self.ids[*row]).map(String::as_str);
                let Some(oldest) = of(&rows[0]) else { return Ok(None) };
                let Some(at) = rows.iter().position(|row| self.ids[*row] == oldest) else {
                    return Ok(None);
                };
                if rows.iter().any(|row| age(row).is_some() || of(row) != Some(oldest)) {
                    return Ok(None);
                }
                rows.swap(0, at);
            }
            clusters.push(rows);
        }
        Ok(Some(clusters))
    }
}

#[cfg(test)]
mod graph_tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kinds::duplicates::find::Grounds;

    #[test]
    fn a_cluster_of_before_keeps_its_name_and_one_that_changed_takes_its_oldest_row() {
        let mut graph = Graph::default();
        for (a, b) in [("c", "d"), ("x", "y"), ("y", "new")] {
            let (first, second) = (graph.node(a), graph.node(b));
            graph.links.push(Link { first, second, grounds: Grounds::Near, similarity: 0.8 });
        }
        let before: HashMap<String, String> = [("c", "d"), ("d", "d"), ("x", "x"), ("y", "x")]
            .map(|(id, of)| (id.to_owned(), of.to_owned()))
            .into();
        let ages = HashMap::from([("new", 0), ("x", 1), ("y", 2)]);
        let named = |clusters: Vec<Cluster>| -> Vec<Vec<&str>> {
            clusters.iter().map(|rows| rows.iter().map(|&row| graph.ids[row]).collect()).collect()
        };
        let clusters = graph.clusters(&ages, &before).unwrap().unwrap();
        assert_eq!(named(clusters), [vec!["d", "c"], vec!["new", "x", "y"]]);
        // The age of a part is not enough.
        let some = HashMap::from([("new", 0)]);
        assert!(graph.clusters(&some, &before).unwrap().is_none());
    }
}
