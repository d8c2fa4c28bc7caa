//! The rows that `duplicates` commits.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
};
use datasets::{
    ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
use engine::Result;

use super::find::{Cluster, Grounds, Link};
use crate::tables::columns::{column, with_unit};

/// Rows of one batch: some megabytes.
const BATCH_ROWS: usize = 65_536;

/// The spec of the dataset of pairs.
pub(super) fn pairs_spec(name: DatasetName) -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    let columns = vec![
        text("source", "The dataset that was looked at"),
        text("id_a", "The row that came first"),
        text("id_b", "The other row"),
        text(
            "grounds",
            "exact: the same but for case and white space; near: mostly the same; semantic: vectors alike; record: \
             fields that agree",
        ),
        with_unit(
            column(
                "similarity",
                ColumnType::Float64,
                false,
                "Part of the runs of characters of either that both have (Jaccard); of semantic pairs the cosine of their \
                 vectors; of records the probability that they are one",
            ),
            "0 to 1",
        ),
        text("reason", "The same in words"),
        text("cluster_id", "The cluster that both are in"),
    ];
    let about = "Pairs of rows that say the same thing";
    spec(name, about, &["source", "id_a", "id_b"], columns)
}

/// The spec of the dataset of clusters.
pub(super) fn clusters_spec(name: DatasetName) -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    let columns = vec![
        text("source", "The dataset that was looked at"),
        text("cluster_id", "The id of the row that came first, which stands for the others"),
        text("id", "A row of the cluster"),
        column(
            "is_representative",
            ColumnType::Bool,
            false,
            "Whether the row is the one that stands for the others",
        ),
        with_unit(column("members", ColumnType::Int64, false, "Rows in the cluster"), "rows"),
        with_unit(
            column(
                "similarity",
                ColumnType::Float64,
                false,
                "The largest similarity of the row to another of the cluster",
            ),
            "0 to 1",
        ),
    ];
    let about = "Rows that say the same thing as others, by cluster";
    spec(name, about, &["source", "id"], columns)
}

fn spec(
    name: DatasetName,
    description: &str,
    key: &[&str],
    columns: Vec<datasets::ColumnSpec>,
) -> DatasetSpec {
    DatasetSpec {
        name,
        description: description.into(),
        owner: None,
        derived: true,
        key: key.iter().map(|&column| column.to_owned()).collect(),
        time_column: None,
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: vec![PartitionSpec {
            column: "source".into(),
            from: None,
            transform: PartitionTransform::Identity,
        }],
        columns,
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// What was found among the rows of a dataset.
pub(super) struct Found<'a> {
    pub(super) source: &'a DatasetName,
    /// By row, the oldest first.
    pub(super) ids: &'a LargeStringArray,
    pub(super) links: &'a [Link],
    pub(super) clusters: &'a [Cluster],
    /// Why two rows are linked, in words.
    pub(super) reason: &'a dyn Fn(&Link) -> String,
}

/// The links as rows.
pub(super) fn pairs(spec: &DatasetSpec, found: &Found<'_>) -> Result<Vec<RecordBatch>> {
    let Found { source, ids, links, clusters, reason } = found;
    let of_row: HashMap<usize, usize> =
        clusters.iter().flat_map(|members| members.iter().map(|&row| (row, members[0]))).collect();
    let batch = |links: &[Link]| {
        let texts = |get: &dyn Fn(&Link) -> String| {
            Arc::new(StringArray::from_iter_values(links.iter().map(get))) as ArrayRef
        };
        let similarity = links.iter().map(|link| link.similarity);
        let columns: Vec<ArrayRef> = vec![
            texts(&|_| source.to_string()),
            texts(&|link| ids.value(link.first).to_owned()),
            texts(&|link| ids.value(link.second).to_owned()),
            texts(&|link| link.grounds.as_str().to_owned()),
            Arc::new(Float64Array::from_iter_values(similarity)),
            texts(reason),
            texts(&|link| ids.value(of_row[&link.first]).to_owned()),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    links.chunks(BATCH_ROWS).map(batch).collect()
}

/// The members of the clusters as rows.
pub(super) fn clusters(spec: &DatasetSpec, found: &Found<'_>) -> Result<Vec<RecordBatch>> {
    let Found { source, ids, links, clusters, .. } = found;
    let mut closest: HashMap<usize, f64> = HashMap::new();
    for link in *links {
        for row in [link.first, link.second] {
            let most = closest.entry(row).or_insert(0.0);
            *most = most.max(link.similarity);
        }
    }
    let members: Vec<(&Cluster, usize)> = clusters
        .iter()
        .flat_map(|cluster| cluster.iter().map(move |&row| (cluster, row)))
        .collect();
    let batch = |members: &[(&Cluster, usize)]| {
        let texts = |get: &dyn Fn(&(&Cluster, usize)) -> String| {
            Arc::new(StringArray::from_iter_values(members.iter().map(get))) as ArrayRef
        };
        let first: Vec<bool> = members.iter().map(|(cluster, row)| cluster[0] == *row).collect();
        let sizes = members.iter().map(|(cluster, _)| cluster.len() as i64);
        let similarity = members.iter().map(|(_, row)| closest.get(row).copied().unwrap_or(0.0));
        let columns: Vec<ArrayRef> = vec![
            texts(&|_| source.to_string()),
            texts(&|(cluster, _)| ids.value(cluster[0]).to_owned()),
            texts(&|(_, row)| ids.value(*row).to_owned()),
            Arc::new(BooleanArray::from(first)),
            Arc::new(Int64Array::from_iter_values(sizes)),
            Arc::new(Float64Array::from_iter_values(similarity)),
        ];
        Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
    };
    members.chunks(BATCH_ROWS).map(batch).collect()
}

impl Grounds {
    /// As it stands in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Near => "near",
            Self::Semantic => "semantic",
            Self::Record => "record",
        }
    }
}
