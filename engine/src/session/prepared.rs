//! Queries that are prepared: values that have a place and no name, and what is known before there are any.

use std::collections::{BTreeSet, HashSet};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::planning_cost::require_plannable;
use super::provider::PinnedSchema;
use super::query::SqlQuery;
use super::semantics;
use super::sql::check_text;
use crate::error::{Code, Error, Result};

/// Most values of one query.
const VALUES_MAX: usize = 1_000;

/// A query whose values all have names, in the order in which they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedValues {
    /// The query, in which each value is a `$name`.
    pub text: String,
    /// The names, without the `$`.
    pub names: Vec<String>,
}

impl NamedValues {
    /// Of a query with values as `?`, as `$1`, or as `$name`: the first two become `$p1`, `$p2` and so on. BAD_INPUT where a query has
    /// values of several kinds.
    pub fn of(text: &str) -> Result<Self> {
        check_text(text)?;
        let whole = || Self { text: text.to_owned(), names: Vec::new() };
        // What can not be split into tokens is the parser's to refuse.
        let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
            return Ok(whole());
        };
        let tokens: Vec<TokenWithSpan> =
            tokens.into_iter().filter(|of| !matches!(of.token, Token::Whitespace(_))).collect();
        let (mut placed, mut numbered, mut named) = (0, BTreeSet::new(), Vec::new());
        let mut seen = HashSet::new();
        // Where a value is called anew, and how.
        let mut renamed: Vec<(Location, usize, String)> = Vec::new();
        let mut was_operand = false;
        for (at, TokenWithSpan { token, span }) in tokens.iter().enumerate() {
            let is_mark = match token {
                Token::Question => true,
                Token::Placeholder(text) => text == "?",
                _ => false,
            };
            let next = tokens.get(at + 1).map(|of| &of.token);
            // The operator of JSON stands between what it compares.
            let is_value = is_mark && !(was_operand && next.is_some_and(begins_operand));
            was_operand = if is_mark { is_value } else { is_operand(token) };
            if is_value {
                placed += 1;
                renamed.push((span.start, 1, format!("$p{placed}")));
            } else if let Token::Placeholder(text) = token
                && let Some(of) = text.strip_prefix('$')
            {
                match of.parse::<u16>() {
                    Ok(number) if number > 0 => {
                        renamed.push((span.start, text.len(), format!("$p{number}")));
                        numbered.insert(number);
                    }
                    _ if seen.insert(of) => named.push(of.to_owned()),
                    _ => {}
                }
            }
        }
        let count = placed.max(numbered.len()).max(named.len());
        if count > VALUES_MAX {
            let says = format!("SQL: {count} values; at most {VALUES_MAX} are taken");
            return Err(Error::user(Code::LimitExceeded, says));
        }
        let kinds = [placed > 0, !numbered.is_empty(), !named.is_empty()];
        if kinds.into_iter().filter(|is_there| *is_there).count() > 1 {
            let says = "SQL: expected all values as `?`, all as `$1`, or all as `$name`, found several of these";
            return Err(Error::user(Code::BadInput, says));
        }
        if renamed.is_empty() {
            return Ok(Self { names: named, ..whole() });
        }
        if let Some((absent, there)) = (1..).zip(&numbered).find(|(at, number)| at != *number) {
            let says =
                format!("SQL: expected values $1, $2 and so on, found ${there} and no ${absent}");
            return Err(Error::user(Code::BadInput, says));
        }
        let names = (1..=placed.max(numbered.len())).map(|number| format!("p{number}"));
        Ok(Self { text: spliced(text, renamed), names: names.collect() })
    }
}

/// A text with other letters in these places, which follow each other: where, how many there were, and what stands there instead.
fn spliced(text: &str, places: Vec<(Location, usize, String)>) -> String {
    let mut result = String::with_capacity(text.len() + 4 * places.len());
    let mut places = places.into_iter().peekable();
    // As the tokenizer counts.
    let (mut line, mut column, mut passed_over) = (1, 1, 0);
    for letter in text.chars() {
        if let Some((_, letters, instead)) =
            places.next_if(|(at, ..)| (at.line, at.column) == (line, column))
        {
            result.push_str(&instead);
            passed_over = letters;
        }
        match passed_over {
            0 => result.push(letter),
            _ => passed_over -= 1,
        }
        (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    result
}

/// Words behind which a value stands, though there may be columns of such names.
const BEFORE_VALUES: [Keyword; 26] = [
    Keyword::ALL,
    Keyword::AND,
    Keyword::ANY,
    Keyword::BETWEEN,
    Keyword::BY,
    Keyword::CASE,
    Keyword::DISTINCT,
    Keyword::ELSE,
    Keyword::ESCAPE,
    Keyword::FROM,
    Keyword::HAVING,
    Keyword::ILIKE,
    Keyword::IN,
    Keyword::INTERVAL,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::NOT,
    Keyword::OFFSET,
    Keyword::ON,
    Keyword::OR,
    Keyword::SELECT,
    Keyword::SIMILAR,
    Keyword::THEN,
    Keyword::VALUES,
    Keyword::WHEN,
    Keyword::WHERE,
];

/// Whether it may be what stands before an operator.
fn is_operand(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_some() || !BEFORE_VALUES.contains(&word.keyword),
        Token::Number(..) | Token::SingleQuotedString(_) | Token::RParen | Token::RBracket => true,
        Token::Placeholder(_) => true,
        _ => false,
    }
}

/// Whether it may be what stands behind one.
fn begins_operand(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_some() || word.keyword == Keyword::NoKeyword,
        Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::Question => true,
        _ => false,
    }
}

/// What is known of a query before its values are.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns of its rows, where they do not depend on values.
    pub columns: Option<SchemaRef>,
    /// Of each value its type, where the query tells it: what it is compared with, or is put into.
    pub values: Vec<(String, Option<DataType>)>,
}

impl SqlQuery {
    /// What is known of it without values.
    pub(super) async fn described(
        &self,
        context: &SessionContext,
        schema: &PinnedSchema,
    ) -> Result<Described> {
        let unknown = || self.values().iter().map(|name| (name.clone(), None)).collect();
        let mut statement = self.statement().clone();
        semantics::write_out(&mut statement, schema).await?;
        let tables = context.state().resolve_table_references(&statement)?;
        require_plannable(&statement, &tables, schema).await?;
        // A function that takes values of some types alone can not be planned with none, and says so when it has them.
        let Ok(plan) = context.state().statement_to_plan(statement).await else {
            return Ok(Described { columns: None, values: unknown() });
        };
        let mut types = plan.get_parameter_types().unwrap_or_default();
        let values = self.values().iter();
        let values = values.map(|name| (name.clone(), types.remove(&format!("${name}")).flatten()));
        Ok(Described {
            values: values.collect(),
            columns: Some(SchemaRef::clone(plan.schema().inner())),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(text: &str) -> (String, Vec<String>) {
        let NamedValues { text, names } = NamedValues::of(text).unwrap();
        (text, names)
    }

    #[test]
    fn values_by_place_get_names() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (text, expected, values) in [
            ("SELECT 1", "SELECT 1", &[][..]),
            (
                "SELECT ? + \"a?\", '?''' -- ?\nFROM t WHERE a=? AND b IN (?, ?) LIMIT ?",
                "SELECT $p1 + \"a?\", '?''' -- ?\nFROM t WHERE a=$p2 AND b IN ($p3, $p4) LIMIT $p5",
                &["p1", "p2", "p3", "p4", "p5"],
            ),
            ("SELECT $2, $1, $2", "SELECT $p2, $p1, $p2", &["p1", "p2"]),
            ("SELECT $b, $a, $b", "SELECT $b, $a, $b", &["b", "a"]),
            (
                "SELECT ?, a, -? WHERE b IS DISTINCT FROM ?",
                "SELECT $p1, a, -$p2 WHERE b IS DISTINCT FROM $p3",
                &["p1", "p2", "p3"],
            ),
            (
                "SELECT x FROM t WHERE NOT ? OR x LIKE ? LIMIT ? OFFSET ?",
                "SELECT x FROM t WHERE NOT $p1 OR x LIKE $p2 LIMIT $p3 OFFSET $p4",
                &["p1", "p2", "p3", "p4"],
            ),
            // The operator of JSON, and a value on its right.
            ("SELECT a ? 'k', a ? ?", "SELECT a ? 'k', a ? $p1", &["p1"]),
            (
                "SELECT substring(x FROM 1 FOR ?), at AT TIME ZONE ?, (a) ? 'k'",
                "SELECT substring(x FROM 1 FOR $p1), at AT TIME ZONE $p2, (a) ? 'k'",
                &["p1", "p2"],
            ),
            // Texts are as they were, whatever stands in them.
            (
                "SELECT E'x\\\\b', E'it\\'s', 'é?'\n, ?",
                "SELECT E'x\\\\b', E'it\\'s', 'é?'\n, $p1",
                &["p1"],
            ),
            ("SELECT 'open", "SELECT 'open", &[]),
        ] {
            assert_eq!(named(text), (expected.to_owned(), names(values)), "{text}");
        }
        for (text, expected) in [
            ("SELECT ?, $1", "several of these"),
            ("SELECT $a, ?", "several of these"),
            ("SELECT $1, $3", "found $3 and no $2"),
            (&format!("SELECT {}1", "?,".repeat(1_001)), "1001 values"),
            (&format!("SELECT '{}'", "a".repeat(2 << 20)), "bytes; at most"),
        ] {
            let error = NamedValues::of(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
