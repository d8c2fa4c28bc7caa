//! Texts with placeholders: `{{ from }}` is a parameter, `{{ totals.cost | money(2, usd) }}` a cell of the first row of a query.

use serde::{Deserialize, Deserializer};

use crate::format::Format;

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Plain(String),
    Parameter { name: String, format: Format },
    Cell { query: String, column: String, format: Format },
}

/// Placeholders of one text.
const MOST_PLACEHOLDERS: usize = 40;

impl Text {
    /// Reads a text.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inner, after) = after
                .split_once("}}")
                .ok_or_else(|| "a placeholder that begins with {{ has no }}".to_owned())?;
            parts.push(Part::Plain(before.to_owned()));
            parts.push(placeholder(inner)?);
            rest = after;
        }
        parts.push(Part::Plain(rest.to_owned()));
        if parts.len() > 2 * MOST_PLACEHOLDERS + 1 {
            return Err(format!("over {MOST_PLACEHOLDERS} placeholders"));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn queries(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Cell { query, .. } => Some(query.as_str()),
            _ => None,
        })
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Parameter { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn placeholder(inner: &str) -> Result<Part, String> {
    let (name, format) = match inner.split_once('|') {
        Some((name, format)) => (name.trim(), Format::parse(format.trim())?),
        None => (inner.trim(), Format::default()),
    };
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    match name.split_once('.') {
        Some((query, column)) if is_name(query) && !column.is_empty() => {
            Ok(Part::Cell { query: query.to_owned(), column: column.to_owned(), format })
        }
        None if is_name(name) => Ok(Part::Parameter { name: name.to_owned(), format }),
        _ => Err(format!("placeholder {name:?}: expected PARAMETER or QUERY.COLUMN")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_parameters_or_cells() {
        let text = Text::parse("a {{ from }} b {{ totals.cost | money(2, usd) }}").unwrap();
        assert_eq!(text.parameters().collect::<Vec<_>>(), ["from"]);
        assert_eq!(text.queries().collect::<Vec<_>>(), ["totals"]);
    }

    #[test]
    fn a_placeholder_that_is_none_is_refused() {
        assert!(Text::parse("{{ a").unwrap_err().contains("}}"));
        assert!(Text::parse("{{ a b }}").unwrap_err().contains("QUERY.COLUMN"));
        assert!(Text::parse("{{ a.b | x }}").unwrap_err().contains("percent"));
    }
}
