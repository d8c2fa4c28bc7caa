//! What people say of alerts: that they have one, and that some are to be quiet for a while. They are rows of the dataset `alert_words`,
//! one for each time that somebody said so; of each silence the last one counts. The job `alerts` minds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::alerts::{Acknowledgement, Group, Silence, check_silences};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::logical_expr::{cast, ident, lit};
use datafusion::prelude::DataFrame;
use datasets::{ColumnType, DatasetSpec, Evolution};
use engine::{Code, Commit, Engine, Error, Principal, Result, Session, Version};
use serde_json::json;

use crate::definitions;
use crate::kinds::alerts::refused;
use crate::parameters::dataset_name;
use crate::run::context::RunContext;
use crate::run::record::now;
use crate::series::microseconds;
use crate::tables::columns::{column, texts, timestamps};
use crate::texts::labels::append;

/// Longest comment, in bytes.
const COMMENT_MAX_BYTES: usize = 1_024;
/// How long ago a silence is over that somebody ends: what the clock brought by then is looked at without delay.
const ENDS_BEFORE: TimeDelta = TimeDelta::milliseconds(1_100);
/// How long a silence that is over is still read.
const OVER_DAYS: i64 = 30;

/// An acknowledgement that somebody said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    pub(crate) at_us: i64,
    /// The rule of the alert.
    pub(crate) rule: String,
    pub(crate) given: Acknowledgement,
}

/// The spec of `alert_words`.
pub fn spec() -> DatasetSpec {
    let text = |name, nullable, about| column(name, ColumnType::Text, nullable, about);
    DatasetSpec {
        name: dataset_name("alert_words"),
        description: "What people say of alerts: acknowledgements and silences".into(),
        owner: None,
        derived: true,
        key: ["word", "at", "by"].map(String::from).into(),
        time_column: Some("at".into()),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            column("at", ColumnType::Timestamp, false, "When it was said"),
            text("by", false, "Who said it"),
            text("word", false, "acknowledge or silence"),
            text("rule", true, "The rule of the alert that is acknowledged"),
            text("group", true, "Which of its alerts"),
            text("comment", true, "Why"),
            column(
                "silence",
                ColumnType::Json,
                true,
                "Which alerts are not told, from when until when",
            ),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Says that whoever asks has an alert. BAD_INPUT for a group that is none, or a comment that is too long.
pub(crate) async fn acknowledge(
    engine: &Engine,
    who: &Principal,
    rule: &str,
    group: &str,
    comment: &str,
) -> Result<Commit> {
    let wrong = |says: String| Error::user(Code::BadInput, format!("alert {rule}: {says}"));
    group.parse::<Group>().map_err(|says| wrong(format!("group: {says}")))?;
    if comment.len() > COMMENT_MAX_BYTES {
        let found = comment.len();
        let says = format!("comment: expected at most {COMMENT_MAX_BYTES} bytes, found {found}");
        return Err(wrong(says));
    }
    say(engine, who, "acknowledge", [Some(rule), Some(group), Some(comment), None]).await
}

/// Has alerts be quiet for a while. BAD_INPUT says what is wrong with it. One of a name that was there takes the place of that.
pub(crate) async fn silence(
    engine: &Engine,
    who: &Principal,
    asked: Silence,
    require_known: impl Fn(&Silence) -> Result<()>,
) -> Result<Silence> {
    let made = Silence { by: who.subject.clone(), created_at: now(), ..asked };
    let session = engine.session(who, &[]).await?;
    let mut all = silences_of(&session).await?;
    all.retain(|there| there.name != made.name);
    all.push(made.clone());
    check_silences(&all).map_err(refused)?;
    require_known(&made)?;
    tell(engine, who, &made).await?;
    Ok(made)
}

/// Ends a silence now. NOT_FOUND where there is none of that name that goes on or is to come.
pub(crate) async fn end_silence(engine: &Engine, who: &Principal, name: &str) -> Result<Silence> {
    let now = now();
    let session = engine.session(who, &[]).await?;
    let mut all = silences_of(&session).await?;
    all.retain(|silence| silence.until > now);
    let Some(found) = all.iter().find(|silence| silence.name == name) else {
        let near = definitions::meant(name, all.iter().map(|silence| silence.name.as_str()));
        let shown: String = name.chars().take(80).collect();
        let says = format!("silence {shown:?}: there is none of that name that is not over{near}");
        return Err(Error::user(Code::NotFound, says));
    };
    // Of now, as far as it is looked at at once; one that did not begin has no time at all.
    let until = (now - ENDS_BEFORE).max(found.from + TimeDelta::microseconds(1));
    let ended = Silence { until, ..found.clone() };
    tell(engine, who, &ended).await?;
    Ok(ended)
}

async fn tell(engine: &Engine, who: &Principal, silence: &Silence) -> Result<Commit> {
    let text = json!(silence).to_string();
    say(engine, who, "silence", [None, None, Some(&silence.reason), Some(&text)]).await
}

async fn say(
    engine: &Engine,
    who: &Principal,
    word: &str,
    [rule, group, comment, silence]: [Option<&str>; 4],
) -> Result<Commit> {
    let one = |text: Option<&str>| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        timestamps(std::iter::once(now().timestamp_micros())),
        one(Some(&who.subject)),
        one(Some(word)),
        one(rule),
        one(group),
        one(comment),
        one(silence),
    ];
    append(engine, who, &spec(), columns, &format!("{word} alert")).await
}

/// The silences of a tenant that are not long over, by name: of each the last that was said.
pub(crate) async fn silences_of(session: &Session) -> Result<Vec<Silence>> {
    Ok(said(session).await?.into_values().filter_map(|mut of| of.pop()).collect())
}

/// The same with those whose place another took: they were silent until then.
pub(crate) async fn silences_for_alerts(session: &Session) -> Result<Vec<Silence>> {
    let mut all = Vec::new();
    for of in said(session).await?.into_values() {
        let made = of.iter().skip(1).map(|next| next.created_at).map(Some).chain([None]);
        for (silence, next_at) in of.iter().zip(made) {
            match next_at {
                // Its end came earlier.
                Some(next_at) if next_at == silence.created_at => {}
                Some(next_at) if next_at > silence.from => {
                    all.push(Silence { until: silence.until.min(next_at), ..silence.clone() });
                }
                Some(_) => {}
                None => all.push(silence.clone()),
            }
        }
    }
    Ok(all)
}

/// By name what was said of silences, in order, as far as it is not long over.
async fn said(session: &Session) -> Result<BTreeMap<String, Vec<Silence>>> {
    let spec = spec();
    let mut by_name: BTreeMap<String, Vec<Silence>> = BTreeMap::new();
    if session.version(&spec.name).is_none() {
        return Ok(by_name);
    }
    let frame = session.table(&spec.name).await?.filter(ident("word").eq(lit("silence")))?;
    let frame = frame.sort(vec![ident("at").sort(true, true)])?.select(vec![ident("silence")])?;
    let oldest = now() - TimeDelta::days(OVER_DAYS);
    for batch in session.collect(frame).await? {
        for text in texts(&batch, 0)?.iter().flatten() {
            let silence: Silence = serde_json::from_str(text)
                .map_err(|e| Error::internal(format!("a silence in {}: {e}", spec.name)))?;
            by_name.entry(silence.name.clone()).or_default().push(silence);
        }
    }
    by_name.retain(|_, of| of.last().is_some_and(|last| last.until > oldest));
    Ok(by_name)
}

/// The acknowledgements that came after a version, in the order in which they were said; none, where none was minded before. Where that
/// version is gone, those that were said after its last.
pub(crate) async fn since(
    ctx: &RunContext,
    session: &Session,
    minded: Option<(Option<u64>, i64)>,
) -> Result<Vec<Word>> {
    let spec = spec();
    let there = session.version(&spec.name);
    let (Some(version), Some((from, last_us))) = (there, minded) else { return Ok(Vec::new()) };
    let changes = match from {
        Some(from) if version.0 <= from => return Ok(Vec::new()),
        Some(from) => {
            let (engine, who) = (ctx.engine(), ctx.principal());
            match engine.changes(who, &spec.name, Version(from), version).await {
                Err(error) if error.code() == Code::NotFound => None,
                changes => Some(changes?),
            }
        }
        None => None,
    };
    let frame = match changes {
        Some(changes) => changes.added,
        None => {
            let last = cast(lit(last_us), microseconds());
            session.table(&spec.name).await?.filter(ident("at").gt(last))?
        }
    };
    let mut words = words(session, frame.filter(ident("word").eq(lit("acknowledge")))?).await?;
    words.sort_by_key(|word| word.at_us);
    Ok(words)
}

async fn words(session: &Session, frame: DataFrame) -> Result<Vec<Word>> {
    let wanted = ["at", "by", "rule", "group", "comment"].map(ident).to_vec();
    let mut words = Vec::new();
    for batch in session.collect(frame.select(wanted)?).await? {
        let at = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let of = (1..5).map(|column| texts(&batch, column)).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let text = |column: usize| {
                let texts = of.get(column)?;
                texts.is_valid(row).then(|| texts.value(row).to_owned())
            };
            let (Some(rule), Some(group)) = (text(1), text(2).and_then(|group| group.parse().ok()))
            else {
                continue;
            };
            let by = text(0).unwrap_or_default();
            let given = Acknowledgement { group, by, comment: text(3).unwrap_or_default() };
            words.push(Word { at_us: at.value(row), rule, given });
        }
    }
    Ok(words)
}

/// An instant from a text: RFC 3339, or so long from now, such as "2h".
pub fn instant(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text.trim()) {
        return Ok(at.to_utc());
    }
    let span = text.trim().parse::<analysis::alerts::Span>().ok();
    let at = span
        .and_then(|span| now.timestamp_micros().checked_add(span.us()))
        .and_then(DateTime::from_timestamp_micros);
    at.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let says = format!(
            "expected an instant as 2026-05-01T12:00:00Z, or a time from now as 2h, found {shown:?}"
        );
        Error::user(Code::BadInput, says)
    })
}
