//! What people say of anomalies: rows of the dataset `anomaly_labels`, one for each time that somebody said so; of each finding, or stretch
//! of time, the last one counts. The job `anomalies` learns from them.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::logical_expr::{Expr, cast, ident, lit};
use datafusion::scalar::ScalarValue;
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{Code, Engine, Error, Principal, Result, Session};

use crate::definitions;
use crate::kinds::anomalies::require_kind;
use crate::parameters::dataset_name;
use crate::run::record::now;
use crate::series::microseconds;
use crate::tables::columns::{column, texts, timestamps};
use crate::texts::labels::{Labelled, append};

/// Longest comment, and longest name of a series, in bytes.
const COMMENT_MAX_BYTES: usize = 4_096;
const SERIES_MAX_BYTES: usize = 4_096;
/// Series that one which has no finding is compared with.
const SERIES_COMPARED: usize = 10_000;
/// Findings that one instant lies in, at most.
const FINDINGS_MAX: usize = 1_000;

/// What somebody says of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnomalyVerdict {
    /// It is one.
    Real,
    /// It is none: its like is not told any more.
    NotAnAnomaly,
    /// What was said before is taken back.
    TakenBack,
}

impl AnomalyVerdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Real, Self::NotAnAnomaly, Self::TakenBack];

    /// As it stands in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::NotAnAnomaly => "not_an_anomaly",
            Self::TakenBack => "taken_back",
        }
    }
}

impl fmt::Display for AnomalyVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AnomalyVerdict {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let says = "expected real, not_an_anomaly or taken_back";
            Error::user(Code::BadInput, format!("verdict: {says}, found {shown:?}"))
        })
    }
}

/// What is labelled: all findings of a series that hold an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnomalyAt {
    /// The dataset of the findings.
    pub dataset: DatasetName,
    /// The dataset that was looked at.
    pub source: DatasetName,
    /// The series.
    pub series: String,
    /// The instant.
    pub at: DateTime<Utc>,
    /// Only findings of this kind.
    pub kind: Option<String>,
}

/// The spec of `anomaly_labels`.
pub fn spec() -> DatasetSpec {
    let text = |name, about| column(name, ColumnType::Text, false, about);
    let instant = |name, about| column(name, ColumnType::Timestamp, false, about);
    DatasetSpec {
        name: dataset_name("anomaly_labels"),
        description: "What people say of anomalies; of each the last word counts".into(),
        owner: None,
        derived: true,
        key: ["source", "series", "kind", "started_at", "at"].map(String::from).into(),
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        partition_by: Vec::new(),
        columns: vec![
            text("source", "The dataset that was looked at"),
            text("series", "The series"),
            text("kind", "Kind of the finding; empty where there was none"),
            instant("started_at", "When it began"),
            instant("ended_at", "When it ended"),
            text("verdict", "real, not_an_anomaly or taken_back"),
            column(
                "severity",
                ColumnType::Float64,
                true,
                "Severity of the finding, 0 to 100; null where there was none",
            ),
            column("comment", ColumnType::Text, true, "Why"),
            instant("at", "When it was said"),
            text("by", "Who said it"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// A finding, or a stretch of time without one, that words are about.
struct About {
    kind: String,
    started_us: i64,
    ended_us: i64,
    severity: Option<f64>,
}

/// Commits a word on anomalies. `NOT_FOUND` where no finding holds the instant and it is not said that there is one.
pub async fn label_anomaly(
    engine: &Engine,
    who: &Principal,
    of: &AnomalyAt,
    verdict: AnomalyVerdict,
    comment: Option<&str>,
) -> Result<Labelled> {
    let too_long = |name: &str, found: usize, most: usize| {
        let says = format!("{name}: expected at most {most} bytes, found {found}");
        Err(Error::user(Code::BadInput, says))
    };
    match (comment.map_or(0, str::len), of.series.len()) {
        (found, _) if found > COMMENT_MAX_BYTES => {
            return too_long("comment", found, COMMENT_MAX_BYTES);
        }
        (_, found) if found > SERIES_MAX_BYTES => {
            return too_long("series", found, SERIES_MAX_BYTES);
        }
        _ => {}
    }
    let session = engine.session(who, &[]).await?;
    // What the asker may not see can't be labelled either.
    require_series(&session, of).await?;
    require_findings(&session, &of.dataset)?;
    of.kind.as_deref().map_or(Ok(()), require_kind)?;
    let mut about = holding(&session, &of.dataset, of).await?;
    // What is not told any more because of what was said is labelled anew by that.
    let before = holding(&session, &spec().name, of).await?;
    match about.is_empty() {
        true => about = before,
        // What was called real before anything was found is spoken of, too.
        false => about.extend(before.into_iter().filter(|before| before.kind.is_empty())),
    }
    let mut warnings = Vec::new();
    if about.is_empty() {
        if verdict != AnomalyVerdict::Real {
            return Err(nothing_there(&session, of).await?);
        }
        let at_us = of.at.timestamp_micros();
        about.push(About {
            kind: of.kind.clone().unwrap_or_default(),
            started_us: at_us,
            ended_us: at_us,
            severity: None,
        });
        warnings.push(format!(
            "no finding holds {}: the method windows looks there with half of its thresholds, where it has such a series",
            shown(of.at)
        ));
    }
    let count = about.len();
    let repeated = |text: &str| {
        let texts = std::iter::repeat_n(text, count);
        Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        repeated(of.source.as_str()),
        repeated(&of.series),
        Arc::new(StringArray::from_iter_values(about.iter().map(|about| &about.kind))),
        timestamps(about.iter().map(|about| about.started_us)),
        timestamps(about.iter().map(|about| about.ended_us)),
        repeated(verdict.as_str()),
        Arc::new(Float64Array::from_iter(about.iter().map(|about| about.severity))),
        Arc::new(StringArray::from_iter(std::iter::repeat_n(comment, count))),
        timestamps(std::iter::repeat_n(now().timestamp_micros(), count)),
        repeated(&who.subject),
    ];
    let commit = append(engine, who, &spec(), columns, "label anomaly").await?;
    Ok(Labelled { commit, warnings })
}

/// Fails where the dataset is not one that the job fills: what clients wrote is no finding.
fn require_findings(session: &Session, name: &DatasetName) -> Result<()> {
    if name.as_str() == "anomalies" && session.version(name).is_none() {
        return Ok(());
    }
    let spec = &session.catalog().dataset(name)?.spec;
    let key = ["source", "series", "kind", "started_at"];
    if spec.derived && spec.key.iter().map(String::as_str).eq(key) {
        return Ok(());
    }
    let says = format!("dataset: expected one that the job anomalies fills, found {name}");
    Err(Error::user(Code::BadInput, says))
}

/// Fails where the dataset has a column `series` in which nothing is called that. Of others it is the next run that says so.
async fn require_series(session: &Session, of: &AnomalyAt) -> Result<()> {
    let table = session.table(&of.source).await?;
    // A dataset that is one series is called by its own name.
    let is_whole = of.series == of.source.as_str();
    if is_whole || !table.schema().has_column_with_unqualified_name("series") {
        return Ok(());
    }
    let series = || cast(ident("series"), DataType::Utf8);
    let same = table.clone().filter(series().eq(lit(of.series.as_str())))?;
    let same = session.collect(same.select(vec![series()])?.limit(0, Some(1))?).await?;
    if same.iter().any(|batch| batch.num_rows() > 0) {
        return Ok(());
    }
    let some = table.select(vec![series().alias("name")])?.distinct()?;
    let some = session.collect(some.limit(0, Some(SERIES_COMPARED))?).await?;
    let some = some.iter().map(|batch| texts(batch, 0)).collect::<Result<Vec<_>>>()?;
    let shown: String = of.series.chars().take(80).collect();
    let near = definitions::meant(&shown, some.iter().flat_map(|texts| texts.iter().flatten()));
    let says = format!("series {shown:?}: {} has none of that name{near}", of.source);
    Err(Error::user(Code::NotFound, says))
}

/// The findings, or the words, that hold the instant; none where the dataset is not there.
async fn holding(session: &Session, dataset: &DatasetName, of: &AnomalyAt) -> Result<Vec<About>> {
    if session.version(dataset).is_none() {
        return Ok(Vec::new());
    }
    let at =
        lit(ScalarValue::TimestampMicrosecond(Some(of.at.timestamp_micros()), Some("UTC".into())));
    let instant = |name: &str| cast(ident(name), microseconds());
    let mut which =
        is_of(of).and(instant("started_at").lt_eq(at.clone())).and(instant("ended_at").gt_eq(at));
    if let Some(kind) = &of.kind {
        which = which.and(ident("kind").eq(lit(kind.as_str())));
    }
    let columns = vec![
        cast(ident("kind"), DataType::Utf8),
        instant("started_at"),
        instant("ended_at"),
        cast(ident("severity"), DataType::Float64),
    ];
    let mut table = session.table(dataset).await?.filter(which)?;
    if *dataset == spec().name {
        table = table.sort(vec![ident("at").sort(false, true)])?;
    }
    let mut found = Vec::new();
    for batch in session.collect(table.select(columns)?.limit(0, Some(FINDINGS_MAX))?).await? {
        found.extend(read(&batch)?);
    }
    // Of what was spoken of more than once the newest, which came first.
    let mut seen = HashSet::new();
    found.retain(|of| seen.insert((of.started_us, of.kind.clone())));
    found.sort_by(|a, b| (a.started_us, &a.kind).cmp(&(b.started_us, &b.kind)));
    Ok(found)
}

fn read(batch: &RecordBatch) -> Result<Vec<About>> {
    let kinds = texts(batch, 0)?;
    let instants = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
    let (started, ended) = (instants(1), instants(2));
    let severity = batch.column(3).as_primitive::<Float64Type>();
    let row = |row: usize| About {
        kind: kinds.value(row).to_owned(),
        started_us: started.value(row),
        ended_us: ended.value(row),
        severity: severity.is_valid(row).then(|| severity.value(row).clamp(0.0, 100.0)),
    };
    let is_known = |of: &About| of.kind.is_empty() || require_kind(&of.kind).is_ok();
    Ok((0..batch.num_rows()).map(row).filter(is_known).collect())
}

fn is_of(of: &AnomalyAt) -> Expr {
    let is = |name: &str, text: &str| ident(name).eq(lit(text));
    is("source", of.source.as_str()).and(is("series", &of.series))
}

/// The error for an instant that no finding holds.
async fn nothing_there(session: &Session, of: &AnomalyAt) -> Result<Error> {
    let mut names: Vec<String> = Vec::new();
    if session.version(&of.dataset).is_some() {
        let table = session.table(&of.dataset).await?;
        let of_source = ident("source").eq(lit(of.source.as_str()));
        let series = cast(ident("series"), DataType::Utf8);
        let series = table.filter(of_source)?.select(vec![series])?.distinct()?;
        for batch in session.collect(series.limit(0, Some(SERIES_COMPARED))?).await? {
            names.extend(texts(&batch, 0)?.iter().flatten().map(str::to_owned));
        }
    }
    let series: String = of.series.chars().take(80).collect();
    let near = match names.contains(&of.series) {
        true => String::new(),
        false => definitions::meant(&series, names.iter().map(String::as_str)),
    };
    let kind = of.kind.as_ref().map(|kind| format!(" of kind {kind:?}")).unwrap_or_default();
    let says = format!(
        "anomaly of series {series:?} of {} at {}: {} has no finding{kind} that holds this instant{near}",
        of.source,
        shown(of.at),
        of.dataset
    );
    Ok(Error::user(Code::NotFound, says))
}

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
