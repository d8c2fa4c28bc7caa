//! A template and the answers to its queries become a [`Report`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::chart;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::report::{Body, Part, Report};
use crate::template::{ChartSection, MOST_ROWS, Section, SectionKind, Template, Values, Width};
use crate::text::{Part as TextPart, Text};
use crate::value::{Rows, Value, clean};
use crate::{figures, table};

/// What a query gave.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Its rows, all of them, and no more than [`MOST_ROWS`].
    Rows(Rows),
    /// There is no answer, since a dataset is not there or may not be read; why, as the end of a sentence: `there is no dataset tickets`.
    Missing(String),
}

/// What a report says of itself.
#[derive(Debug, Clone)]
pub struct Origin {
    /// When it is made.
    pub made_at: DateTime<Utc>,
    /// What makes it, with its version: `Colonnade 0.1.0`.
    pub made_by: String,
    /// Who asks for it.
    pub asked_by: Option<String>,
    /// Datasets that were read, each with its version.
    pub sources: Vec<(String, i64)>,
    /// What is to be known of it as a whole, such as that who asks sees a part of the rows.
    pub notes: Vec<String>,
}

/// Cells of all tables of a report: some seconds of setting pages.
pub const MOST_CELLS: usize = 24_000;
/// Letters of a text with its placeholders filled.
const MOST_LETTERS: usize = 8_000;

pub(crate) struct Maker<'a> {
    template: &'a Template,
    values: &'a Values,
    answers: &'a BTreeMap<String, Answer>,
}

impl Report {
    /// Makes a report of a template, the values of its parameters, and the answers to its queries by name.
    pub fn make(
        template: &Template,
        values: &Values,
        answers: &BTreeMap<String, Answer>,
        origin: &Origin,
    ) -> Result<Self> {
        let maker = Maker { template, values, answers };
        let (mut parts, mut cells) = (Vec::new(), 0);
        for (index, section) in template.sections.iter().enumerate() {
            let title = section.title.as_ref().map(Text::source);
            let place = format!("{}: {}", template.file, crate::template::place(index, title));
            let part = maker.part(section).map_err(|problem| Error::Answer { place, problem })?;
            if let Body::Table(table) = &part.body {
                cells += table.rows.len() * table.columns.len();
            }
            if cells > MOST_CELLS {
                let problem = format!("over {MOST_CELLS} cells in all tables; show fewer rows");
                return Err(Error::Answer { place: template.file.clone(), problem });
            }
            parts.push(part);
        }
        let plain = |text: &str| {
            let text = Text::parse(text).and_then(|text| maker.fill(&text));
            text.map_err(|problem| Error::Answer { place: template.file.clone(), problem })
        };
        let subtitle = template.subtitle.as_deref().map(plain).transpose()?;
        let chosen = template.order.iter().map(|name| {
            let title =
                template.parameters.get(name).and_then(|parameter| parameter.title.as_ref());
            let title = title.unwrap_or(name);
            let value = values.get(name).map(ToString::to_string).unwrap_or_default();
            (clean(title, 120), clean(&value, 200))
        });
        let sources = origin.sources.iter();
        Ok(Self {
            title: clean(&template.title, MOST_LETTERS),
            subtitle,
            parameters: chosen.collect(),
            made_at: origin.made_at,
            made_by: clean(&origin.made_by, 200),
            asked_by: origin.asked_by.as_deref().map(|who| clean(who, 200)),
            sources: sources
                .map(|(name, version)| format!("{}@{version}", clean(name, 200)))
                .collect(),
            parts,
            notes: origin.notes.iter().map(|note| clean(note, MOST_LETTERS)).collect(),
        })
    }
}

impl Maker<'_> {
    fn part(&self, section: &Section) -> Result<Part, String> {
        let missing = self.template.queries_of(section).into_iter().find_map(|name| {
            match self.answers.get(&name) {
                Some(Answer::Rows(_)) => None,
                Some(Answer::Missing(why)) => Some((name, clean(why, 400))),
                None => Some((name, "the query was not asked".to_owned())),
            }
        });
        if let Some((query, why)) = missing {
            if !section.optional {
                return Err(format!(
                    "query {query}: {why}; `optional = true` would leave the section out"
                ));
            }
            return Ok(Part {
                title: section
                    .title
                    .as_ref()
                    .map(|title| self.fill(title).unwrap_or_else(|_| clean(title.source(), 120))),
                note: None,
                is_half: section.width == Width::Half,
                body: Body::Absent { sentence: format!("This section is left out: {why}.") },
            });
        }
        let body = match &section.kind {
            SectionKind::Text(text) => {
                let paragraphs = text.paragraphs.iter().map(|text| self.fill(text));
                Body::Text { paragraphs: paragraphs.collect::<Result<_, _>>()? }
            }
            SectionKind::Figures(section) => figures::figures(self, section)?,
            SectionKind::Table(section) => table::table(self, section)?,
            SectionKind::Chart(chart) => self.chart(chart, section)?,
        };
        Ok(Part {
            title: section.title.as_ref().map(|text| self.fill(text)).transpose()?,
            note: section.note.as_ref().map(|text| self.fill(text)).transpose()?,
            is_half: section.width == Width::Half,
            body,
        })
    }

    /// The rows of a query.
    pub(crate) fn rows(&self, query: &str) -> Result<&Rows, String> {
        let Some(Answer::Rows(rows)) = self.answers.get(query) else {
            return Err(format!("query {query}: there is no answer"));
        };
        if rows.count() > MOST_ROWS {
            return Err(format!("query {query}: over {MOST_ROWS} rows; ask for groups, or LIMIT"));
        }
        Ok(rows)
    }

    /// A cell of the first row, none where there is no row.
    pub(crate) fn cell(&self, query: &str, column: &str) -> Result<Value, String> {
        let cell = self
            .rows(query)?
            .first(column)
            .map_err(|problem| format!("query {query}: {problem}"))?;
        Ok(cell.unwrap_or(Value::Null))
    }

    /// A text with its placeholders filled.
    pub(crate) fn fill(&self, text: &Text) -> Result<String, String> {
        let mut out = String::new();
        for part in text.parts() {
            match part {
                TextPart::Plain(plain) => out.push_str(plain),
                TextPart::Parameter { name, format } => {
                    let value = self
                        .values
                        .get(name)
                        .ok_or_else(|| format!("parameter {name} has no value"))?;
                    out.push_str(&format.apply(&value.value()));
                }
                TextPart::Cell { query, column, format } => {
                    out.push_str(&format.apply(&self.cell(query, column)?));
                }
            }
        }
        Ok(clean(&out, MOST_LETTERS))
    }

    fn chart(&self, chart: &ChartSection, section: &Section) -> Result<Body, String> {
        let rows = self.rows(&chart.query)?;
        let problem = |problem: String| format!("query {}: {problem}", chart.query);
        let gathered = chart::gather(chart, rows).map_err(problem)?;
        if gathered.count() == 0 {
            return self.nothing(chart.empty.as_ref());
        }
        let fill = |text: &Option<Text>| text.as_ref().map(|text| self.fill(text)).transpose();
        let with_unit = |label: String, kind, unit: &Option<String>| {
            let format = Format { kind, decimals: None, unit: unit.clone() };
            match format.axis_unit() {
                Some(unit) if label.is_empty() => unit.to_owned(),
                Some(unit) => format!("{label}, {unit}"),
                None => label,
            }
        };
        let x_label =
            with_unit(fill(&chart.x_label)?.unwrap_or_default(), chart.x_format, &chart.x_unit);
        let y_label = match fill(&chart.y_label)? {
            Some(label) => label,
            None => chart.y.first().map(|column| column.replace('_', " ")).unwrap_or_default(),
        };
        let y_label = with_unit(y_label, chart.format, &chart.unit);
        let alt = chart::alt(chart, &gathered, &x_label, &y_label);
        let words = chart::Words { alt: &alt, x_label: &x_label, y_label: &y_label };
        let svg = chart::svg(chart, section.width, &gathered, &words)?;
        Ok(Body::Chart { svg, alt, left_out: gathered.left_out })
    }

    /// What is said where there are no rows.
    pub(crate) fn nothing(&self, said: Option<&Text>) -> Result<Body, String> {
        let said = said.map(|text| self.fill(text)).transpose()?;
        Ok(Body::Absent {
            sentence: said.unwrap_or_else(|| "There are no rows in this time.".to_owned()),
        })
    }
}
