//! Labels by hand: what a person says that a row is, and whether two rows are one. They are rows of the datasets
//! `labels_by_hand` and `pairs_by_hand`, one for each time that somebody said so; of each row or pair the last one counts.
//! `triage_train` takes the first with its parameter `corrections`, `duplicates` the second with `labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{
    Code, Commit, CommitLabel, Engine, Error, Principal, Result, Session, WriteMode, near_names,
};
use futures::StreamExt;
use models::LABEL_BYTES_MAX;

use crate::anomaly_labels;
use crate::parameters::dataset_name;
use crate::run::record::now;
use crate::tables::columns::{column, timestamps};

/// Rows that can be labelled at a time.
pub const ROWS_LABELLED_MAX: usize = 10_000;
/// Ids that an error names at most.
const IDS_SHOWN: usize = 5;
/// New labels that are told at most.
const WARNINGS_MAX: usize = 100;
/// Labels that a new one is compared with, at most.
const KNOWN_MAX: usize = 100_000;

/// A row and its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLabel {
    /// The row, by the dataset's key.
    pub id: String,
    /// What it is.
    pub label: String,
}

/// Labels that were committed.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The commit.
    pub commit: Commit,
    /// Labels that no row had before, each in a sentence; none where no row had any.
    pub warnings: Vec<String>,
}

/// The spec of `labels_by_hand`.
pub fn labels_spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name: dataset_name("labels_by_hand"),
        description: "What people say that rows are; of each row the last label counts".into(),
        owner: None,
        derived: true,
        key: ["source", "id", "at"].map(String::from).into(),
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            text("source", "The dataset that holds the row"),
            text("id", "The row"),
            text("label", "What it is"),
            column("at", ColumnType::Timestamp, false, "When it was said"),
            text("by", "Who said it"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Commits labels of rows of `dataset`, whose key is one column. `BAD_INPUT` for none, for too many, for a label that is
/// empty or longer than a class's name may be, and for a key of more columns; `NOT_FOUND` names rows that are not there.
/// All or none are committed. A label that no row had before is taken, and told.
pub async fn label_rows(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    labels: &[RowLabel],
) -> Result<Labelled> {
    let bad = |text: String| Error::user(Code::BadInput, format!("labels of {dataset}: {text}"));
    if labels.is_empty() || labels.len() > ROWS_LABELLED_MAX {
        let found = labels.len();
        return Err(bad(format!("expected 1 to {ROWS_LABELLED_MAX} rows, found {found}")));
    }
    let is_good = |label: &str| !label.trim().is_empty() && label.len() <= LABEL_BYTES_MAX;
    if let Some(row) = labels.iter().find(|row| !is_good(&row.label)) {
        return Err(bad(format!(
            "row {:?}: expected a label of 1 to {LABEL_BYTES_MAX} bytes, found {}",
            row.id,
            row.label.len()
        )));
    }
    check_there(engine, who, dataset, labels.iter().map(|row| row.id.as_str()).collect()).await?;
    let warnings = new_labels(engine, who, dataset, labels).await?;
    let count = labels.len();
    let columns = vec![
        repeated(dataset.as_str(), count),
        texts(labels.iter().map(|row| &row.id)),
        texts(labels.iter().map(|row| &row.label)),
        timestamps(std::iter::repeat_n(now().timestamp_micros(), count)),
        repeated(&who.subject, count),
    ];
    let commit = append(engine, who, &labels_spec(), columns, "label rows").await?;
    Ok(Labelled { commit, warnings })
}

/// Which of `labels` no row of the dataset had before, each in a sentence; none where no row had any.
async fn new_labels(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    labels: &[RowLabel],
) -> Result<Vec<String>> {
    let session = engine.session(who, &[]).await?;
    let mut new: BTreeSet<&str> = labels.iter().map(|row| row.label.as_str()).collect();
    let given = new.iter().map(|label| lit(*label)).collect();
    let used = known_labels(&session, dataset, Some(ident("label").in_list(given, false))).await?;
    new.retain(|label| !used.contains(*label));
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let known = known_labels(&session, dataset, None).await?;
    let new = new.into_iter().filter(|_| !known.is_empty());
    Ok(new.take(WARNINGS_MAX).map(|label| is_new(label, &known)).collect())
}

/// The labels that rows of a dataset have, in its column `label` and by hand: those that `which` says.
async fn known_labels(
    session: &Session,
    dataset: &DatasetName,
    which: Option<Expr>,
) -> Result<BTreeSet<String>> {
    let catalog = session.catalog();
    let mut frames = Vec::new();
    let of_rows = &catalog.dataset(dataset)?.spec;
    if of_rows.column("label").is_some_and(|column| column.data_type == ColumnType::Text) {
        frames.push(session.table(dataset).await?);
    }
    let by_hand = labels_spec().name;
    if catalog.has(&by_hand)? {
        let of_source = ident("source").eq(lit(dataset.as_str()));
        frames.push(session.table(&by_hand).await?.filter(of_source)?);
    }
    let mut known = BTreeSet::new();
    for mut frame in frames {
        if let Some(which) = &which {
            frame = frame.filter(which.clone())?;
        }
        let labels = frame.select(vec![ident("label")])?.distinct()?.limit(0, Some(KNOWN_MAX))?;
        let mut labels = session.stream(labels).await?;
        while let Some(batch) = labels.next().await.transpose()? {
            known.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    Ok(known)
}

/// That nobody used a label before, and which are spelt alike.
fn is_new(label: &str, known: &BTreeSet<String>) -> String {
    let near = near_names(label, known.iter().map(String::as_str));
    match near.is_empty() {
        true => format!("label {label:?} is new: no row had it before"),
        false => format!(
            "label {label:?} is new: no row had it before; did you mean {}?",
            near.iter().map(|near| format!("{near:?}")).collect::<Vec<_>>().join(" or ")
        ),
    }
}

/// Two rows, and whether they are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairLabel {
    /// One row, by the dataset's key.
    pub id_a: String,
    /// The other.
    pub id_b: String,
    /// Whether they describe the same.
    pub is_duplicate: bool,
}

/// The spec of `pairs_by_hand`.
pub fn pairs_spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    DatasetSpec {
        name: dataset_name("pairs_by_hand"),
        description: "Which rows are one, as people say; of each pair the last word counts".into(),
        owner: None,
        derived: true,
        key: ["source", "id_a", "id_b", "at"].map(String::from).into(),
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            text("source", "The dataset that holds both rows"),
            text("id_a", "The row whose id comes first"),
            text("id_b", "The other"),
            column("is_duplicate", ColumnType::Bool, false, "Whether they describe the same"),
            column("at", ColumnType::Timestamp, false, "When it was said"),
            text("by", "Who said it"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Commits what pairs of rows of `dataset` are, whose key is one column. `BAD_INPUT` for none, for too many, for a row
/// beside itself, for one pair that is said to be both, and for a key of more columns; `NOT_FOUND` names rows that are not
/// there. All or none are committed.
pub async fn label_pairs(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    pairs: &[PairLabel],
) -> Result<Commit> {
    let bad = |text: String| Error::user(Code::BadInput, format!("pairs of {dataset}: {text}"));
    if pairs.is_empty() || pairs.len() > ROWS_LABELLED_MAX {
        let found = pairs.len();
        return Err(bad(format!("expected 1 to {ROWS_LABELLED_MAX} pairs, found {found}")));
    }
    let mut said: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for PairLabel { id_a, id_b, is_duplicate } in pairs {
        if id_a == id_b {
            return Err(bad(format!("expected two rows, found {id_a:?} twice")));
        }
        let pair = (id_a.min(id_b).as_str(), id_a.max(id_b).as_str());
        if said.insert(pair, *is_duplicate) == Some(!is_duplicate) {
            return Err(bad(format!("{id_a:?} and {id_b:?}: expected one word, found both")));
        }
    }
    let ids = said.keys().flat_map(|(a, b)| [*a, *b]).collect();
    check_there(engine, who, dataset, ids).await?;
    let count = said.len();
    let columns = vec![
        repeated(dataset.as_str(), count),
        texts(said.keys().map(|(a, _)| a)),
        texts(said.keys().map(|(_, b)| b)),
        Arc::new(BooleanArray::from_iter(said.values().map(|is_one| Some(*is_one)))) as ArrayRef,
        timestamps(std::iter::repeat_n(now().timestamp_micros(), count)),
        repeated(&who.subject, count),
    ];
    append(engine, who, &pairs_spec(), columns, "label pairs").await
}

/// Has what people said of `from` said of `to`, too, as often and by whom they did: the dataset has another name. Answers how often.
pub async fn follow_rename(
    engine: &Engine,
    who: &Principal,
    from: &DatasetName,
    to: &DatasetName,
) -> Result<u64> {
    let mut rows = 0;
    for spec in [labels_spec(), pairs_spec(), anomaly_labels::spec()] {
        let session = engine.session(who, &[]).await?;
        if !session.catalog().has(&spec.name)? {
            continue;
        }
        let of_source = ident("source").eq(lit(from.as_str()));
        let columns = spec.columns.iter().map(|column| match column.name.as_str() {
            "source" => lit(to.as_str()).alias("source"),
            name => ident(name),
        });
        let said = session.table(&spec.name).await?.filter(of_source)?;
        let said = session.collect(said.select(columns.collect::<Vec<_>>())?).await?;
        let count: usize = said.iter().map(RecordBatch::num_rows).sum();
        if count > 0 {
            let label = CommitLabel { operation: "rename".into(), ..CommitLabel::default() };
            engine.write(who, &spec.name, WriteMode::Append, said, label).await?;
            rows += count as u64;
        }
    }
    Ok(rows)
}

/// Fails for a dataset whose key is not one column, and for rows that are not there.
async fn check_there(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    ids: BTreeSet<&str>,
) -> Result<()> {
    let session = engine.session(who, &[]).await?;
    let entry = session.catalog().dataset(dataset)?;
    let [key] = &entry.spec.key[..] else {
        let found = entry.spec.key.len();
        return Err(Error::user(
            Code::BadInput,
            format!(
                "labels of {dataset}: expected a dataset whose key is one column, found {found}"
            ),
        ));
    };
    let (asked, mut missing) = (ids.iter().map(|id| lit(*id)).collect(), ids.clone());
    let id = cast(ident(key), DataType::Utf8);
    let frame = session.table(dataset).await?.filter(id.clone().in_list(asked, false))?;
    let mut rows = session.stream(frame.select(vec![id.alias("id")])?).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        let found = batch.column(0).as_string::<i32>();
        found.iter().flatten().for_each(|id| {
            missing.remove(id);
        });
    }
    if missing.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = missing.iter().copied().take(IDS_SHOWN).collect();
    Err(Error::user(
        Code::NotFound,
        format!(
            "labels of {dataset}: {} of {} rows are not there: {}",
            missing.len(),
            ids.len(),
            shown.join(", ")
        ),
    ))
}

fn repeated(text: &str, count: usize) -> ArrayRef {
    texts(std::iter::repeat_n(text, count))
}

fn texts(texts: impl Iterator<Item = impl AsRef<str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

/// Commits rows that a person said.
pub(crate) async fn append(
    engine: &Engine,
    who: &Principal,
    spec: &DatasetSpec,
    columns: Vec<ArrayRef>,
    operation: &str,
) -> Result<Commit> {
    let batch = RecordBatch::try_new(spec.arrow_schema(), columns)?;
    engine.ensure_derived(who, spec).await?;
    let label = CommitLabel { operation: operation.into(), ..CommitLabel::default() };
    engine.write(who, &spec.name, WriteMode::Append, vec![batch], label).await
}
