//! Whether the sentences that jobs write are true: each number, percentage, duration and instant of a sentence is parsed and must be
//! one of the values of its row, rounded as the sentence rounds it. Every run of a test is checked ([`crate::testing::record_of`]).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::util::display::array_value_to_string;
use chrono::DateTime;
use engine::{Engine, Principal};
use serde_json::Value;

use crate::run::record::RunRecord;

/// Rows of an output that are checked.
const ROWS_MAX: usize = 300;

/// A column of sentences, and what its numbers may be besides values of the row.
struct Sentences {
    job: &'static str,
    column: &'static str,
    /// Numbers that are the same in each sentence, such as a confidence of 95 %.
    constants: &'static [f64],
    /// Pairs of columns of which a sentence may have the difference, the ratio, or the difference as a part of the first.
    pairs: &'static [(&'static str, &'static str)],
}

const KINDS: [Sentences; 5] = [
    Sentences {
        job: "anomalies",
        column: "explanation",
        constants: &ASPECT_SAMPLES,
        pairs: &[("expected", "observed")],
    },
    Sentences {
        job: "explain",
        column: "explanation",
        constants: &[],
        pairs: &[("before", "after")],
    },
    Sentences { job: "quality", column: "words", constants: &[], pairs: &[("usual", "value")] },
    Sentences { job: "duplicates", column: "reason", constants: &[], pairs: &[] },
    Sentences {
        job: "trends",
        column: "explanation",
        constants: &[95.0],
        pairs: &[("before", "after")],
    },
];

/// Samples of the aspects that `anomalies` watches.
const ASPECT_SAMPLES: [f64; 4] = [3.0, 6.0, 24.0, 32.0];

/// What a part of a sentence says.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    /// A number with `decimals` decimals, or in the form of 1.5e-9.
    Number {
        value: f64,
        decimals: usize,
        is_short: bool,
    },
    Percentage {
        value: f64,
        decimals: usize,
    },
    /// In seconds, and the length of its unit.
    Duration {
        seconds: f64,
        decimals: usize,
        unit: f64,
    },
    Instant(i64),
}

/// The values of a row.
#[derive(Clone, Debug, Default)]
struct Row {
    numbers: BTreeMap<String, Vec<f64>>,
    instants: Vec<i64>,
    texts: Vec<String>,
}

fn digits(of: &str) -> usize {
    of.bytes().take_while(u8::is_ascii_digit).count()
}

/// A sentence without what stands in the parentheses of a call, such as a measure, and without what is [`UNCHECKED`].
fn without_arguments(sentence: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    for letter in sentence.chars() {
        let is_call = letter == '(' && text.ends_with(|of: char| of.is_alphanumeric() || of == '_');
        match letter {
            '(' if depth > 0 || is_call => depth += 1,
            ')' if depth > 0 => depth -= 1,
            letter if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    for (before, after) in UNCHECKED {
        let start = text.find(before).map(|start| start + before.len());
        let length = start.and_then(|start| text[start..].find(after));
        if let (Some(start), Some(length)) = (start, length) {
            text.replace_range(start..start + length, "");
        }
    }
    text
}

/// What no column of a row holds, between these words: the samples that are compared, the distances of shapes, the series of a group,
/// the end of what was learned, the values of a history and its begin, the quantile whose rows are counted, and the number of rows with
/// findings.
const UNCHECKED: [(&str, &str); 12] = [
    ("the medians of the ", " samples"),
    (" samples before and of the ", " after"),
    ("does not recur: ", "; by chance"),
    ("where the other ", " series of its group"),
    ("what the other ", " series predict"),
    ("its level before ", ", by"),
    (" of the ", " values since "),
    (" values since ", ";"),
    ("; before ", ", the "),
    ("rows above ", " went from"),
    ("; ", " groups (by "),
    ("; ", " group (by "),
];

/// A kind of anomaly whose sentence has values of several columns; its row has those of one.
const UNCHECKED_KIND: &str = "unlike";

/// What a sentence says, after the texts of its row are taken out of it.
fn said(sentence: &str, names: &[String]) -> Vec<Said> {
    let mut text = without_arguments(sentence);
    let mut names: Vec<&String> = names.iter().filter(|name| name.len() > 1).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        text = text.replace(name.as_str(), " \u{1} ");
    }
    let mut found = Vec::new();
    let mut rest = text.as_str();
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let is_begin = first.is_ascii_digit() && !before.is_alphanumeric() && before != '_';
        if !is_begin {
            before = first;
            rest = &rest[first.len_utf8()..];
            continue;
        }
        if let Some((at, length)) = instant(rest) {
            found.push(Said::Instant(at));
            before = 'Z';
            rest = &rest[length..];
            continue;
        }
        let (value, decimals, is_short, length) = number(rest);
        let value = if matches!(before, '-' | '−') { -value } else { value };
        rest = &rest[length..];
        before = '0';
        found.push(unit(rest).map_or_else(
            || match rest.trim_start_matches(' ').starts_with('%') || rest.starts_with(" points") {
                true => Said::Percentage { value, decimals },
                false => Said::Number { value, decimals, is_short },
            },
            |unit| Said::Duration { seconds: value * unit, decimals, unit },
        ));
    }
    found
}

/// An instant such as 2026-01-18T11:00:00Z, or a day.
fn instant(text: &str) -> Option<(i64, usize)> {
    let day = text.get(..10)?;
    let is_day = day.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !is_day {
        return None;
    }
    let length = match text.as_bytes().get(10) {
        Some(b'T') => text.find('Z')? + 1,
        _ => 10,
    };
    let whole = if length == 10 { format!("{day}T00:00:00Z") } else { text[..length].to_owned() };
    Some((DateTime::parse_from_rfc3339(&whole).ok()?.timestamp_micros(), length))
}

/// A number, its decimals, whether it has an exponent, and its length in bytes.
fn number(text: &str) -> (f64, usize, bool, usize) {
    let mut length = digits(text);
    let mut decimals = 0;
    if text[length..].starts_with('.') && digits(&text[length + 1..]) > 0 {
        decimals = digits(&text[length + 1..]);
        length += 1 + decimals;
    }
    let mut is_short = false;
    if let Some(exponent) = text[length..].strip_prefix('e') {
        let sign = usize::from(exponent.starts_with(['-', '+']));
        if digits(&exponent[sign..]) > 0 {
            length += 1 + sign + digits(&exponent[sign..]);
            is_short = true;
        }
    }
    (text[..length].parse().unwrap(), decimals, is_short, length)
}

/// The seconds of the unit behind a number, if that is one of time.
fn unit(rest: &str) -> Option<f64> {
    let is_apart = rest.starts_with(' ');
    let rest = rest.trim_start_matches(' ');
    let word: String = rest.chars().take_while(|of| of.is_alphabetic()).collect();
    Some(match (word.as_str(), is_apart) {
        ("day" | "days", true) | ("d", false) => 86_400.0,
        ("h" | "hour" | "hours", true) | ("h", false) => 3_600.0,
        ("min" | "minute" | "minutes", true) | ("min", false) => 60.0,
        ("second" | "seconds", true) | ("s", false) => 1.0,
        _ => return None,
    })
}

/// Whether a value, rounded to `decimals` decimals, is the number of the sentence. A sentence may leave the sign to its words.
fn is_rounded(said: f64, decimals: usize, value: f64) -> bool {
    let unit = 10_f64.powi(-(decimals as i32));
    let near = |a: f64, b: f64| (a - b).abs() <= unit * 0.500_001 + 1e-9 * b.abs();
    near(said, value) || near(said.abs(), value.abs())
}

impl Said {
    fn is_one_of(&self, numbers: &[f64], instants: &[i64]) -> bool {
        match *self {
            Self::Instant(at) => instants.contains(&at),
            Self::Number { value, decimals, is_short } => numbers.iter().any(|of| {
                is_rounded(value, decimals, *of) && !is_short
                    || is_short && (value.abs() - of.abs()).abs() <= 6e-4 * of.abs()
                    // Without decimals large numbers have four digits that count, or all.
                    || *of == value
            }),
            Self::Percentage { value, decimals } => numbers.iter().any(|of| {
                is_rounded(value, decimals, 100.0 * of) || is_rounded(value, decimals, *of)
            }),
            Self::Duration { seconds, decimals, unit } => {
                let span = |a: i64| instants.iter().map(move |b| (a - b) as f64 / 1e6);
                let spans = instants.iter().copied().flat_map(span);
                numbers
                    .iter()
                    .copied()
                    .chain(spans)
                    .any(|of| is_rounded(seconds / unit, decimals, of / unit))
            }
        }
    }
}

impl Row {
    fn of(batch: &RecordBatch, row: usize, sentences: &str) -> Self {
        let mut found = Self::default();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            if column.is_null(row) || field.name() == sentences {
                continue;
            }
            let name = field.name();
            match column.data_type() {
                of if of.is_numeric() => {
                    let numbers = cast(column, &DataType::Float64).unwrap();
                    let number = numbers.as_primitive::<Float64Type>().value(row);
                    found.numbers.entry(name.clone()).or_default().push(number);
                }
                DataType::Timestamp(..) => {
                    let at = DataType::Timestamp(TimeUnit::Microsecond, None);
                    let at = cast(&cast(column, &at).unwrap(), &DataType::Int64).unwrap();
                    found.instants.push(at.as_primitive::<Int64Type>().value(row));
                }
                _ => {
                    let text = array_value_to_string(column, row).unwrap();
                    if let Ok(json) = serde_json::from_str::<Value>(&text) {
                        found.add(name, &json);
                    }
                    found.texts.push(text);
                }
            }
        }
        found
    }

    /// The numbers and texts of JSON.
    fn add(&mut self, name: &str, json: &Value) {
        match json {
            Value::Number(number) => {
                self.numbers.entry(name.to_owned()).or_default().extend(number.as_f64());
            }
            Value::String(text) => self.texts.push(text.clone()),
            Value::Array(items) => {
                self.numbers.entry(name.to_owned()).or_default().push(items.len() as f64);
                items.iter().for_each(|item| self.add(name, item));
            }
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                self.texts.push(key.clone());
                self.add(name, value);
            }),
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// Seconds from an instant to the end of the interval that begins at another one.
    fn spans_with_their_last_interval(&self) -> Vec<f64> {
        let intervals = self.numbers.get("interval_seconds").into_iter().flatten();
        let spans = |interval: &f64| {
            let from = self
                .instants
                .iter()
                .flat_map(|from| self.instants.iter().map(move |to| (from, to)));
            from.map(|(from, to)| (to - from) as f64 / 1e6 + interval).collect::<Vec<f64>>()
        };
        intervals.flat_map(spans).collect()
    }

    /// All that a sentence may say.
    fn values(&self, kind: &Sentences) -> Vec<f64> {
        let mut all: Vec<f64> = self.numbers.values().flatten().copied().collect();
        all.extend(kind.constants);
        for (from, to) in kind.pairs {
            let (Some(from), Some(to)) = (self.numbers.get(*from), self.numbers.get(*to)) else {
                continue;
            };
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
                all.extend([to - from, (to - from) / from.abs(), to / from, from / to]);
            }
        }
        // A chance of 0.01 is one in a hundred.
        let chances = all.iter().filter(|of| **of > 0.0 && **of < 1.0).map(|of| (1.0 / of).round());
        let chances: Vec<f64> = chances.collect();
        all.extend(chances);
        // A score that is a negative logarithm of a chance: 3 is one in 1,000.
        let scores = self.numbers.get("score").into_iter().flatten();
        all.extend(scores.map(|score| 10_f64.powf(score.abs()).round()));
        all
    }
}

/// What sentences say that their rows do not, after a run.
pub(crate) async fn untrue(engine: &Engine, record: &RunRecord) -> Vec<String> {
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.job == record.job) {
        for output in &record.outputs {
            let session = engine.session(&Principal::local(), &[]).await.unwrap();
            let name = output.dataset.as_str();
            let all = format!("SELECT * FROM \"{name}\" LIMIT {ROWS_MAX}");
            let Ok(frame) = session.sql(&all).await else { continue };
            for batch in session.collect(frame).await.unwrap() {
                let Some(sentences) = batch.column_by_name(kind.column) else { continue };
                for at in (0..batch.num_rows()).filter(|at| sentences.is_valid(*at)) {
                    let sentence = array_value_to_string(sentences, at).unwrap();
                    let row = Row::of(&batch, at, kind.column);
                    if row.texts.iter().any(|text| text == UNCHECKED_KIND) {
                        continue;
                    }
                    let mut values = row.values(kind);
                    values.extend(row.spans_with_their_last_interval());
                    let parts = said(&sentence, &row.texts);
                    let unknown =
                        parts.iter().filter(|part| !part.is_one_of(&values, &row.instants));
                    found.extend(unknown.map(|part| {
                        format!(
                            "{} of {name}: {part:?} of {sentence:?} is none of {:?}",
                            kind.job, row.numbers
                        )
                    }));
                }
            }
        }
    }
    found
}

#[test]
fn numbers_of_sentences_are_read_with_their_units() {
    let texts = ["gpt-4".to_owned(), "region = r2".to_owned()];
    let sentence = "gpt-4, region = r2: from 2026-01-18T11:00:00Z on it fell by -3.5 (-46.56 %) in 1.5 hours, of 1d, p 1.2e-9; 900 rows of m2";
    let number = |value: f64, decimals: usize| Said::Number { value, decimals, is_short: false };
    assert_eq!(
        said(sentence, &texts),
        [
            Said::Instant(1_768_734_000_000_000),
            number(-3.5, 1),
            Said::Percentage { value: -46.56, decimals: 2 },
            Said::Duration { seconds: 5_400.0, decimals: 1, unit: 3_600.0 },
            Said::Duration { seconds: 86_400.0, decimals: 0, unit: 86_400.0 },
            Said::Number { value: 1.2e-9, decimals: 1, is_short: true },
            number(900.0, 0),
        ]
    );
    assert!(Said::Percentage { value: -46.56, decimals: 2 }.is_one_of(&[-0.465_57], &[]));
    assert!(!Said::Percentage { value: -46.57, decimals: 2 }.is_one_of(&[-0.465_57], &[]));
    assert!(!number(3.6, 1).is_one_of(&[3.5], &[]) && number(3.5, 1).is_one_of(&[-3.46], &[]));
    let duration = Said::Duration { seconds: 5_400.0, decimals: 1, unit: 3_600.0 };
    assert!(duration.is_one_of(&[], &[0, 5_400_000_000]) && !duration.is_one_of(&[5_600.0], &[]));
    assert!(!Said::Instant(5).is_one_of(&[5.0], &[6]));
}
