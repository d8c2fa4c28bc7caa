//! Sections of a template: texts, figures, tables and charts.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

use super::read;
use crate::format::{Format as Written, Kind};
use crate::text::Text;

/// A part of a report, under a title of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its title.
    pub title: Option<Text>,
    /// What is to be known of it, in small letters under it.
    pub note: Option<Text>,
    /// Whether it is left out, with a sentence, where a dataset is not there.
    pub optional: bool,
    /// How wide it is; two halves beside each other.
    pub(crate) width: Width,
    /// What it shows.
    pub(crate) kind: SectionKind,
}

/// How wide a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    #[default]
    Full,
    Half,
}

/// What a section shows.
#[derive(Debug, Clone, PartialEq)]
pub enum SectionKind {
    Text(TextSection),
    Figures(FiguresSection),
    Table(TableSection),
    Chart(Box<ChartSection>),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSection {
    pub paragraphs: Vec<Text>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiguresSection {
    /// What `previous` is: `the week before`.
    pub against: Option<Text>,
    pub figures: Vec<FigureSpec>,
}

/// A headline number: a cell of the first row of a query.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    pub label: Text,
    /// `query.column`.
    pub value: Cell,
    /// The same of the time before.
    pub previous: Option<Cell>,
    /// Which way is the good one.
    #[serde(default)]
    pub better: Better,
    #[serde(default)]
    pub format: Kind,
    pub decimals: Option<u8>,
    pub unit: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Higher,
    Lower,
    #[default]
    Neither,
}

/// A column of the first row of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub query: String,
    pub column: String,
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once('.') {
            Some((query, column)) if !query.is_empty() && !column.is_empty() => {
                Ok(Self { query: query.to_owned(), column: column.to_owned() })
            }
            _ => Err(serde::de::Error::custom(format!("{text:?}: expected QUERY.COLUMN"))),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSection {
    pub query: String,
    /// All columns, plainly, where they are left out.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// Rows that are shown at most.
    #[serde(default = "usual_rows")]
    pub rows: usize,
    /// By which column, `-cost` from the greatest; as the query has them where it is left out.
    pub sort: Option<Order>,
    /// What is said where there are no rows.
    pub empty: Option<Text>,
}

fn usual_rows() -> usize {
    25
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub column: String,
    pub is_descending: bool,
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.strip_prefix('-') {
            Some(column) => Self { column: column.to_owned(), is_descending: true },
            None => Self { column: text, is_descending: false },
        })
    }
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    pub column: String,
    pub label: Option<String>,
    #[serde(default)]
    pub format: Kind,
    pub decimals: Option<u8>,
    pub unit: Option<String>,
    /// Whether all rows are summed under it, those that are left out too.
    #[serde(default)]
    pub total: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    Line,
    Area,
    Bar,
    StackedBar,
    Histogram,
    Heatmap,
    Scatter,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChartSection {
    pub chart: ChartKind,
    pub query: String,
    pub x: String,
    /// One column, or several that are series by themselves.
    #[serde(default, deserialize_with = "one_or_more")]
    pub y: Vec<String>,
    /// What they are called, in order.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The column that says which series a row is of.
    pub series: Option<String>,
    /// The column that colours a heat map.
    pub value: Option<String>,
    pub x_label: Option<Text>,
    pub y_label: Option<Text>,
    #[serde(default)]
    pub format: Kind,
    pub unit: Option<String>,
    #[serde(default)]
    pub x_format: Kind,
    pub x_unit: Option<String>,
    #[serde(default)]
    pub x_scale: Scale,
    #[serde(default)]
    pub y_scale: Scale,
    /// Bars that lie.
    #[serde(default)]
    pub horizontal: bool,
    /// Bins of a histogram.
    pub bins: Option<usize>,
    /// Series at most; those beyond are summed, or left out where a sum says nothing.
    #[serde(default = "usual_series")]
    pub most_series: usize,
    /// What is said where there are no rows.
    pub empty: Option<Text>,
}

fn usual_series() -> usize {
    7
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    #[default]
    Linear,
    Log,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a column, or a list of columns")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// A format by its three keys.
pub trait Format {
    fn written(&self) -> Written;
}

impl Format for FigureSpec {
    fn written(&self) -> Written {
        Written { kind: self.format, decimals: self.decimals, unit: self.unit.clone() }
    }
}

impl Format for ColumnSpec {
    fn written(&self) -> Written {
        Written { kind: self.format, decimals: self.decimals, unit: self.unit.clone() }
    }
}

/// What all sections have.
#[derive(Deserialize)]
struct Frame {
    title: Option<Text>,
    note: Option<Text>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    width: Width,
}

const TYPES: [&str; 4] = ["text", "figures", "table", "chart"];

impl Section {
    /// Reads one; the place and problem where it is none.
    pub(super) fn read(index: usize, mut table: toml::Table) -> Result<Self, (String, String)> {
        let place = place(index, table.get("title").and_then(toml::Value::as_str));
        let kind = match table.remove("type") {
            Some(toml::Value::String(kind)) => kind,
            Some(other) => {
                return Err((
                    format!("{place}: type"),
                    format!("{other}: expected {}", TYPES.join(", ")),
                ));
            }
            None => {
                return Err((
                    format!("{place}: type"),
                    format!("it is missing: expected {}", TYPES.join(", ")),
                ));
            }
        };
        let mut frame = toml::Table::new();
        for key in ["title", "note", "optional", "width"] {
            frame.extend(table.remove(key).map(|value| (key.to_owned(), value)));
        }
        let at = |(key, problem): (String, String)| (format!("{place}: {key}"), problem);
        let frame: Frame = read(toml::Value::Table(frame)).map_err(at)?;
        let rest = toml::Value::Table(table);
        let kind = match kind.as_str() {
            "text" => SectionKind::Text(read(rest).map_err(at)?),
            "figures" => SectionKind::Figures(read(rest).map_err(at)?),
            "table" => SectionKind::Table(read(rest).map_err(at)?),
            "chart" => SectionKind::Chart(Box::new(read(rest).map_err(at)?)),
            other => {
                let problem = super::unknown("type", other, &TYPES);
                return Err((format!("{place}: type"), problem));
            }
        };
        let Frame { title, note, optional, width } = frame;
        Ok(Self { title, note, optional, width, kind })
    }

    /// All texts with placeholders, by key.
    pub(super) fn texts(&self) -> Vec<(String, &Text)> {
        let mut texts: Vec<(String, &Text)> = Vec::new();
        texts.extend(self.title.iter().map(|text| ("title".to_owned(), text)));
        texts.extend(self.note.iter().map(|text| ("note".to_owned(), text)));
        match &self.kind {
            SectionKind::Text(text) => {
                let paragraphs = text.paragraphs.iter().enumerate();
                texts.extend(paragraphs.map(|(at, text)| (format!("paragraphs[{at}]"), text)));
            }
            SectionKind::Figures(figures) => {
                texts.extend(figures.against.iter().map(|text| ("against".to_owned(), text)));
                let labels = figures.figures.iter().enumerate();
                texts.extend(labels.map(|(at, f)| (format!("figures[{at}].label"), &f.label)));
            }
            SectionKind::Table(table) => {
                texts.extend(table.empty.iter().map(|text| ("empty".to_owned(), text)));
            }
            SectionKind::Chart(chart) => {
                for (key, text) in [
                    ("x_label", &chart.x_label),
                    ("y_label", &chart.y_label),
                    ("empty", &chart.empty),
                ] {
                    texts.extend(text.iter().map(|text| (key.to_owned(), text)));
                }
            }
        }
        texts
    }

    /// Names of queries, by key. Placeholders may name a parameter instead.
    pub(super) fn queries_by_key(&self) -> Vec<(String, String)> {
        match &self.kind {
            SectionKind::Text(_) => Vec::new(),
            SectionKind::Figures(figures) => {
                let cells = figures.figures.iter().enumerate().flat_map(|(at, figure)| {
                    let previous = figure.previous.iter().map(move |c| (at, "previous", c));
                    previous.chain([(at, "value", &figure.value)])
                });
                cells
                    .map(|(at, key, c)| (format!("figures[{at}].{key}"), c.query.clone()))
                    .collect()
            }
            SectionKind::Table(table) => vec![("query".to_owned(), table.query.clone())],
            SectionKind::Chart(chart) => vec![("query".to_owned(), chart.query.clone())],
        }
    }

    /// Names of the queries that it shows.
    pub(super) fn queries(&self) -> BTreeSet<String> {
        let texts = self.texts().into_iter();
        let named =
            texts.flat_map(|(_, text)| text.queries().map(str::to_owned).collect::<Vec<_>>());
        named.chain(self.queries_by_key().into_iter().map(|(_, query)| query)).collect()
    }
}

/// `sections[2] "Costs"`.
pub(crate) fn place(index: usize, title: Option<&str>) -> String {
    match title {
        Some(title) => format!("sections[{index}] {title:?}"),
        None => format!("sections[{index}]"),
    }
}
