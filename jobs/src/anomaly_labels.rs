//! What people say of anomalies: rows of the dataset `anomaly_labels`, one for each time that somebody said so; of each finding, or stretch
//! of time, the last one counts. The job `anomalies` learns from them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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
use futures::StreamExt;

use crate::definitions;
use crate::kinds::anomalies::{BESIDE, family, is_near, require_kind};
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
/// Findings that one instant lies in, and words that are of it or of them, at most.
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
        load: datasets::LoadSettings::default(),
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

/// A finding as a run told it last.
struct Told {
    about: About,
    interval_us: i64,
}

/// The last word on something.
struct Word {
    about: About,
    verdict: AnomalyVerdict,
    at_us: i64,
}

impl About {
    /// The job tells words apart by this.
    fn key(&self) -> (i64, &'static str) {
        (self.started_us, family(&self.kind))
    }

    fn holds(&self, at_us: i64) -> bool {
        self.started_us <= at_us && at_us <= self.ended_us
    }

    /// Whether a word on this counts for a finding, however the run that was spoken of told it.
    fn is_of(&self, told: &Told) -> bool {
        let kind = family(&self.kind);
        let times = [self.started_us, self.ended_us];
        (kind.is_empty() || kind == family(&told.about.kind))
            && is_near(
                times,
                self.severity.is_none(),
                [told.about.started_us, told.about.ended_us],
                told.interval_us,
            )
    }
}

impl Word {
    fn is_in_force(&self) -> bool {
        self.verdict != AnomalyVerdict::TakenBack
    }
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
    let told = told(&session, of).await?;
    let words = words(&session, of, &told).await?;
    let mut about = meant(told, words, verdict);
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
            "no finding holds {}: the methods auto and windows look there with half of their thresholds, where they have such a series",
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

/// What a word is about, out of what a run told and the words that are there.
fn meant(told: Vec<Told>, words: Vec<Word>, verdict: AnomalyVerdict) -> Vec<About> {
    let is_in_force = words.iter().any(Word::is_in_force);
    let last_us = words.iter().map(|word| word.at_us).max();
    let is_meant = |word: &Word| match told.is_empty() {
        // What is not told any more because of what was said is spoken of by that. What was taken back stays so beside a word in force.
        true if is_in_force => word.is_in_force(),
        true => Some(word.at_us) == last_us,
        // Otherwise nobody could take back what no run tells any more.
        false if verdict == AnomalyVerdict::TakenBack => word.is_in_force(),
        // What was called real before anything was found is spoken of, too.
        false => word.is_in_force() && word.about.severity.is_none(),
    };
    let words: Vec<About> = words.into_iter().filter(is_meant).map(|word| word.about).collect();
    let mut about = BTreeMap::new();
    for of in told.into_iter().map(|told| told.about).chain(words) {
        about.entry(of.key()).or_insert(of);
    }
    about.into_values().collect()
}

/// The findings that hold the instant; none where the dataset is not there.
async fn told(session: &Session, of: &AnomalyAt) -> Result<Vec<Told>> {
    if session.version(&of.dataset).is_none() {
        return Ok(Vec::new());
    }
    let at_us = of.at.timestamp_micros();
    let mut which = is_of(of).and(is_within(at_us, at_us));
    if let Some(kind) = &of.kind {
        which = which.and(ident("kind").eq(lit(kind.as_str())));
    }
    let mut columns = columns();
    columns.push(cast(ident("interval_seconds"), DataType::Float64));
    let table = session.table(&of.dataset).await?.filter(which)?.select(columns)?;
    let mut found = Vec::new();
    for batch in session.collect(table.limit(0, Some(FINDINGS_MAX))?).await? {
        let seconds = batch.column(4).as_primitive::<Float64Type>();
        let of_row = |(row, about): (usize, About)| {
            let interval_us = (seconds.value(row) * 1e6) as i64;
            Some(Told { about, interval_us }).filter(|told| !family(&told.about.kind).is_empty())
        };
        found.extend(abouts(&batch)?.enumerate().filter_map(of_row));
    }
    Ok(found)
}

/// The last words on what holds the instant, and on the findings that do.
async fn words(session: &Session, of: &AnomalyAt, told: &[Told]) -> Result<Vec<Word>> {
    let name = spec().name;
    if session.version(&name).is_none() {
        return Ok(Vec::new());
    }
    let at_us = of.at.timestamp_micros();
    let until =
        |told: &Told| told.about.ended_us.saturating_add(told.interval_us.saturating_mul(BESIDE));
    let to_us = told.iter().map(until).fold(at_us, i64::max);
    // Of words whose stretch was longer before the newest counts, too: so what ended earlier is left out last.
    let table = session.table(&name).await?.filter(is_of(of).and(begins_by(to_us)))?;
    let mut columns = columns();
    columns.push(cast(ident("verdict"), DataType::Utf8));
    columns.push(cast(ident("at"), microseconds()));
    let table = table.sort(vec![ident("at").sort(false, true)])?.select(columns)?;
    let mut rows = session.stream(table).await?;
    let is_of_kind = |about: &About| {
        let kind = of.kind.as_deref();
        kind.is_none_or(|kind| family(kind) == family(&about.kind))
    };
    let is_meant = |about: &About| {
        about.holds(at_us) && is_of_kind(about) || told.iter().any(|told| about.is_of(told))
    };
    let mut last = BTreeMap::new();
    while let Some(batch) = rows.next().await.transpose()? {
        let verdicts = texts(&batch, 4)?;
        let said = batch.column(5).as_primitive::<TimestampMicrosecondType>();
        for (row, about) in abouts(&batch)?.enumerate() {
            // Of a kind that there is no more nothing follows.
            let is_known = about.kind.is_empty() || !family(&about.kind).is_empty();
            if !is_known {
                continue;
            }
            // The newest comes first.
            if let Entry::Vacant(free) = last.entry(about.key()) {
                let (verdict, at_us) = (verdicts.value(row).parse()?, said.value(row));
                free.insert(Word { about, verdict, at_us });
            }
        }
    }
    let meant = last.into_values().filter(|word| is_meant(&word.about));
    Ok(meant.take(FINDINGS_MAX).collect())
}

/// What [`abouts`] reads.
fn columns() -> Vec<Expr> {
    vec![
        cast(ident("kind"), DataType::Utf8),
        cast(ident("started_at"), microseconds()),
        cast(ident("ended_at"), microseconds()),
        cast(ident("severity"), DataType::Float64),
    ]
}

fn abouts(batch: &RecordBatch) -> Result<impl Iterator<Item = About>> {
    let kinds = texts(batch, 0)?;
    let instants = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>().clone();
    let (started, ended) = (instants(1), instants(2));
    let severity = batch.column(3).as_primitive::<Float64Type>().clone();
    Ok((0..batch.num_rows()).map(move |row| About {
        kind: kinds.value(row).to_owned(),
        started_us: started.value(row),
        ended_us: ended.value(row),
        severity: severity.is_valid(row).then(|| severity.value(row).clamp(0.0, 100.0)),
    }))
}

/// That it begins at an instant, or before.
fn begins_by(us: i64) -> Expr {
    let instant = lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
    cast(ident("started_at"), microseconds()).lt_eq(instant)
}

/// That it shares an instant with that stretch of time.
fn is_within(from_us: i64, to_us: i64) -> Expr {
    let instant = lit(ScalarValue::TimestampMicrosecond(Some(from_us), Some("UTC".into())));
    begins_by(to_us).and(cast(ident("ended_at"), microseconds()).gt_eq(instant))
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
