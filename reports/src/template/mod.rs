//! What a report is made of: a TOML file with parameters, queries and sections that show the answers. Everything that can be wrong
//! without any data is found when it is read, and named by section and key.

mod check;
mod parameters;
mod sections;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use parameters::{Parameter, ParameterType, ParameterValue, Values};
pub use sections::Section;
pub(crate) use sections::{
    Better, ChartKind, ChartSection, ColumnSpec, FigureSpec, FiguresSection, Format, Order, Scale,
    SectionKind, TableSection, Width, place,
};

use crate::error::{Error, Result};
use crate::value::{Rows, nearest};

/// Bytes of a template.
pub const MOST_BYTES: usize = 256 * 1024;
/// Sections of a report.
pub const MOST_SECTIONS: usize = 60;
/// Queries of a template.
pub const MOST_QUERIES: usize = 60;
/// Parameters of a template.
pub const MOST_PARAMETERS: usize = 20;
/// Rows of one answer.
pub const MOST_ROWS: usize = 100_000;
/// Rows that a table shows.
pub const MOST_TABLE_ROWS: usize = 1_000;
/// Columns of a table.
pub const MOST_COLUMNS: usize = 12;
/// Figures of one section.
pub const MOST_FIGURES: usize = 12;
/// Paragraphs of one section.
pub const MOST_PARAGRAPHS: usize = 20;
/// Letters of a title, a label or a unit.
pub const MOST_TITLE: usize = 120;
/// Letters of a paragraph.
pub const MOST_PARAGRAPH: usize = 4_000;

/// The page that a report is set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paper {
    /// 210 × 297 mm.
    #[default]
    A4,
    /// 8.5 × 11 in.
    Letter,
}

impl std::str::FromStr for Paper {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "a4" => Ok(Self::A4),
            "letter" => Ok(Self::Letter),
            _ => Err(Error::Pages(format!("paper {text:?}: expected a4 or letter"))),
        }
    }
}

/// One query of a template.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// One SELECT; `$name` is the value of a parameter.
    pub sql: String,
}

/// A template of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Where it is from: a file, or the name of a ready one.
    pub(crate) file: String,
    /// What the report is called.
    pub title: String,
    /// The line under the title, with placeholders.
    pub subtitle: Option<String>,
    /// What the report tells, for whoever chooses one.
    pub description: Option<String>,
    /// The page that it is set on where nobody says.
    pub paper: Paper,
    /// What can be chosen, by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// Names of the parameters, in the order of the file.
    pub(crate) order: Vec<String>,
    /// What is asked, by name.
    pub queries: BTreeMap<String, Query>,
    /// What is shown, in order.
    pub sections: Vec<Section>,
}

/// The file, before its parts are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    subtitle: Option<String>,
    description: Option<String>,
    #[serde(default)]
    paper: Paper,
    #[serde(default)]
    parameters: BTreeMap<String, toml::Value>,
    #[serde(default)]
    queries: BTreeMap<String, toml::Value>,
    #[serde(default)]
    sections: Vec<toml::Table>,
}

impl Template {
    /// Reads a template. `file` names it in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let at = |place: &str, problem: String| Error::Template {
            file: file.to_owned(),
            place: place.to_owned(),
            problem,
        };
        if text.len() > MOST_BYTES {
            return Err(at("the file", format!("{} bytes: at most {MOST_BYTES}", text.len())));
        }
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text.get(..span.start).unwrap_or(text).matches('\n').count());
            at(&format!("line {line}"), error.message().to_owned())
        })?;
        let file_parts: File = read(toml::Value::Table(table)).map_err(|(key, e)| at(&key, e))?;
        let mut template = Self {
            file: file.to_owned(),
            title: file_parts.title,
            subtitle: file_parts.subtitle,
            description: file_parts.description,
            paper: file_parts.paper,
            parameters: BTreeMap::new(),
            order: Vec::new(),
            queries: BTreeMap::new(),
            sections: Vec::new(),
        };
        for (name, value) in file_parts.parameters {
            let parameter =
                read(value).map_err(|(key, e)| at(&format!("parameters.{name}: {key}"), e))?;
            template.parameters.insert(name, parameter);
        }
        // Tables of TOML have no order of their own here.
        let place =
            |name: &String| text.find(&format!("[parameters.{name}]")).unwrap_or(usize::MAX);
        template.order = template.parameters.keys().cloned().collect();
        template.order.sort_by_key(place);
        for (name, value) in file_parts.queries {
            let query = read(value).map_err(|(key, e)| at(&format!("queries.{name}: {key}"), e))?;
            template.queries.insert(name, query);
        }
        for (index, table) in file_parts.sections.into_iter().enumerate() {
            let section =
                Section::read(index, table).map_err(|(place, problem)| at(&place, problem))?;
            template.sections.push(section);
        }
        check::template(&template).map_err(|(place, problem)| at(&place, problem))?;
        Ok(template)
    }

    /// Where it is from: a file, or the name of a ready one.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Queries that parameters without a value take theirs from. They have no parameters themselves, and come first.
    pub fn queries_of_parameters(&self, given: &BTreeMap<String, String>) -> Vec<(&str, &Query)> {
        let open = self.parameters.iter().filter(|(name, _)| !given.contains_key(*name));
        let names: BTreeSet<&String> = open.filter_map(|(_, p)| p.query.as_ref()).collect();
        let queries = names.into_iter();
        queries.filter_map(|name| Some((name.as_str(), self.queries.get(name)?))).collect()
    }

    /// Values of all parameters: those that were given, those that [`Self::queries_of_parameters`] answered, and defaults, of which
    /// `today` is the day of `now` in UTC.
    pub fn values(
        &self,
        given: &BTreeMap<String, String>,
        answers: &BTreeMap<String, Rows>,
        now: DateTime<Utc>,
    ) -> Result<Values> {
        parameters::values(&self.parameters, given, answers, now)
    }

    /// Queries that sections show.
    pub fn queries_of_sections(&self) -> Vec<(&str, &Query)> {
        let shown: BTreeSet<String> =
            self.sections.iter().flat_map(|section| self.queries_of(section)).collect();
        let queries = self.queries.iter().map(|(name, query)| (name.as_str(), query));
        queries.filter(|(name, _)| shown.contains(*name)).collect()
    }

    /// Queries without an answer to which no report is made: those of sections that are not optional.
    pub fn required_queries(&self) -> Vec<(&str, &Query)> {
        let needed = self.sections.iter().filter(|section| !section.optional);
        let needed: BTreeSet<String> =
            needed.flat_map(|section| self.queries_of(section)).collect();
        let queries = self.queries.iter().map(|(name, query)| (name.as_str(), query));
        queries.filter(|(name, _)| needed.contains(*name)).collect()
    }

    /// Fails, with the near name, where there is no parameter of this name.
    pub fn require_parameter(&self, name: &str) -> Result<()> {
        if self.parameters.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
        Err(Error::Parameter {
            name: name.to_owned(),
            problem: unknown("the parameter", name, &names),
        })
    }

    /// The queries that one section shows.
    pub(crate) fn queries_of(&self, section: &Section) -> BTreeSet<String> {
        let mut names = section.queries();
        names.retain(|name| self.queries.contains_key(name));
        names
    }

    /// Names of the parameters that a query takes: `$name`, outside of texts and comments.
    pub fn parameters_of(&self, query: &Query) -> BTreeSet<String> {
        check::dollars(&query.sql)
    }
}

/// A part of the file: the key that is wrong, and what is wrong.
pub(crate) fn read<T: DeserializeOwned>(value: toml::Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { "keys".to_owned() } else { path };
        (key, error.into_inner().message().trim().to_owned())
    })
}

/// A name that is not there, with the near one.
pub(crate) fn unknown(what: &str, name: &str, names: &[&str]) -> String {
    match nearest(name, names) {
        Some(near) => format!("{what} {name:?} is not there; there is {near:?}"),
        None if names.is_empty() => format!("{what} {name:?} is not there; there are none"),
        None => format!("{what} {name:?} is not there; there are {}", names.join(", ")),
    }
}
