//! `where` → one expression of the plan.
//!
//! Comparisons follow SQL: a null matches nothing but `isNull`. An object's fields are all required,
//! a list under `or` needs one. NaN matches no order comparison.

use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Value};
use datafusion::common::ScalarValue;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions::string::expr_fn::{contains, ends_with, starts_with};
use datafusion::functions_nested::expr_fn::{array_has, map_keys};
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator, lit};
use datafusion::prelude::in_list as in_list_of;
use datasets::ColumnType;
use engine::{Error, JsonAs, Result, json_at, json_has, list_part};

use regex::{Regex, RegexBuilder};

use super::functions::matches_regex;
use super::items::{self, Quantifier};
use super::literals::literal;
use crate::error::{bad_input, over_limit};
use crate::limits::Limits;
use crate::names::{WHERE_WORDS, camel_beside};
use crate::schema::nested::{fields_asked, words_beside};
use crate::shape::{Column, Shape};

/// The predicate of a `where` argument; `None` when it asks for nothing.
pub(crate) fn predicate(
    shape: &Shape,
    value: Option<&Value>,
    limits: &Limits,
) -> Result<Option<Expr>> {
    predicate_after(shape, value, limits, &mut Terms::default())
}

/// The same, where others of one question were read before.
pub(crate) fn predicate_after(
    shape: &Shape,
    value: Option<&Value>,
    limits: &Limits,
    terms: &mut Terms,
) -> Result<Option<Expr>> {
    let mut reading = Reading { shape, limits, terms };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => reading.object(value, "where", 0),
    }
}

/// What of conditions is bounded.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    all: usize,
    regexes: usize,
}

/// Regular expressions of a question: each takes milliseconds to compile.
const REGEXES_MAX: usize = 16;

/// Whether `condition` is true of every row, or of none, whatever the rows hold.
pub(crate) fn constant(condition: &Expr) -> Option<bool> {
    match condition {
        Expr::Literal(ScalarValue::Boolean(value), _) => *value,
        Expr::Not(inner) => constant(inner).map(|value| !value),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            // What decides alone, and what both must be otherwise.
            let decides = *op == Operator::Or;
            match (constant(left), constant(right)) {
                (Some(value), _) | (_, Some(value)) if value == decides => Some(value),
                (Some(_), Some(_)) => Some(!decides),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What in a `where` asks for nothing, as what was forgotten does: something empty, or null.
pub(crate) fn forgotten(value: &Value, place: &str) -> Option<String> {
    match value {
        Value::Null => Some(format!("{place} is null")),
        Value::Object(fields) if fields.is_empty() => Some(format!("{place} is empty")),
        Value::Object(fields) => {
            fields.iter().find_map(|(field, value)| forgotten(value, &format!("{place}.{field}")))
        }
        Value::List(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| forgotten(item, &format!("{place}[{at}]")))
        }
        _ => None,
    }
}

/// Names in a path into a document, at most.
const PATH_MAX: usize = 32;

struct Reading<'a> {
    shape: &'a Shape,
    limits: &'a Limits,
    terms: &'a mut Terms,
}

impl<'a> Reading<'a> {
    fn object(&mut self, value: &Value, place: &str, nesting: usize) -> Result<Option<Expr>> {
        if nesting > self.limits.where_nesting_max {
            return Err(over_limit("nesting of where", self.limits.where_nesting_max, nesting));
        }
        let Value::Object(fields) = value else {
            return Err(not_an_object(value, place));
        };
        // What asks for nothing is read like others.
        self.count(usize::from(fields.is_empty()))?;
        let mut all = Vec::new();
        for (field, value) in fields {
            let place = format!("{place}.{field}");
            let is_empty = matches!(value, Value::List(items) if items.is_empty());
            self.count(usize::from(is_empty || *value == Value::Null))?;
            if *value == Value::Null {
                continue;
            }
            match field.as_str() {
                "and" => {
                    for (i, part) in list(value).iter().enumerate() {
                        all.extend(self.object(part, &format!("{place}[{i}]"), nesting + 1)?);
                    }
                }
                "or" => {
                    let mut any = Vec::new();
                    for (i, part) in list(value).iter().enumerate() {
                        // An empty object asks for nothing, so it takes every row.
                        let part = self.object(part, &format!("{place}[{i}]"), nesting + 1)?;
                        any.push(part.unwrap_or_else(|| lit(true)));
                    }
                    all.push(joined(any, Expr::or).unwrap_or_else(|| lit(false)));
                }
                "not" => {
                    let part = self.object(value, &place, nesting + 1)?;
                    all.push(Expr::Not(Box::new(part.unwrap_or_else(|| lit(true)))));
                }
                field => {
                    let column = self.column(field, &place)?;
                    let Value::Object(operators) = value else {
                        return Err(not_an_object(value, &place));
                    };
                    let value = On { value: column.value(), kind: &column.kind, in_list: false };
                    self.conditions(&value, operators, &place, &mut all)?;
                }
            }
        }
        Ok(joined(all, Expr::and))
    }

    fn column(&self, field: &str, place: &str) -> Result<&'a Column> {
        let shape: &'a Shape = self.shape;
        let mut columns = shape.conditional();
        columns
            .find(|column| camel_beside(&column.name, &WHERE_WORDS) == field)
            .ok_or_else(|| bad_input(format!("{place}: {} has no column {field}", self.shape.name)))
    }

    fn conditions(
        &mut self,
        on: &On<'_>,
        conditions: &IndexMap<Name, Value>,
        place: &str,
        all: &mut Vec<Expr>,
    ) -> Result<()> {
        self.count(usize::from(conditions.is_empty()))?;
        for (word, asked) in conditions {
            let place = format!("{place}.{word}");
            if let (Some(quantifier), Some(kind)) = (Quantifier::of(word), on.items()) {
                self.items(on, (quantifier, kind), asked, &place, all)?;
                continue;
            }
            if let Some(part) = on.part(word) {
                match asked {
                    Value::Null => self.count(1)?,
                    Value::Object(conditions) => self.conditions(&part, conditions, &place, all)?,
                    other => return Err(not_an_object(other, &place)),
                }
                continue;
            }
            self.count(1)?;
            match (word.as_str(), on.kind) {
                ("entry", ColumnType::Map(kind)) => self.entry(on, kind, asked, &place, all)?,
                ("at", ColumnType::Json) => {
                    for (i, asked) in list(asked).iter().enumerate() {
                        self.path(on, asked, &format!("{place}[{i}]"), all)?;
                    }
                }
                (operator, _) => all.push(self.operator(on, operator, asked, &place)?),
            }
        }
        Ok(())
    }

    /// Adds a condition on the items of a list.
    fn items(
        &mut self,
        list: &On<'_>,
        (quantifier, kind): (Quantifier, &ColumnType),
        asked: &Value,
        place: &str,
        all: &mut Vec<Expr>,
    ) -> Result<()> {
        self.count(1)?;
        let conditions = match asked {
            Value::Null => return Ok(()),
            Value::Object(conditions) => conditions,
            other => return Err(not_an_object(other, place)),
        };
        let mut of_item = Vec::new();
        let on = On { value: items::item(), kind, in_list: false };
        self.conditions(&on, conditions, place, &mut of_item)?;
        let condition = joined(of_item, Expr::and).unwrap_or_else(|| lit(true));
        all.push(items::items(list.value.clone(), quantifier, kind.arrow_type(), condition)?);
        Ok(())
    }

    /// Conditions on the value of one key of a map.
    fn entry(
        &mut self,
        map: &On<'_>,
        kind: &ColumnType,
        asked: &Value,
        place: &str,
        all: &mut Vec<Expr>,
    ) -> Result<()> {
        let Value::Object(asked) = asked else { return Err(not_an_object(asked, place)) };
        let key = match asked.get("key") {
            Some(Value::String(key)) => key.as_str(),
            _ => return Err(bad_input(format!("{place}.key: expected a string"))),
        };
        let value = On { value: get_field(map.value.clone(), key), kind, in_list: false };
        match asked.get("value") {
            Some(Value::Object(conditions)) => {
                self.conditions(&value, conditions, &format!("{place}.value"), all)
            }
            other => {
                let found = other.cloned().unwrap_or_default();
                Err(not_an_object(&found, &format!("{place}.value")))
            }
        }
    }

    /// Conditions on what lies at a path in a document.
    fn path(
        &mut self,
        document: &On<'_>,
        asked: &Value,
        place: &str,
        all: &mut Vec<Expr>,
    ) -> Result<()> {
        let Value::Object(asked) = asked else { return Err(not_an_object(asked, place)) };
        let path: Option<Vec<String>> = asked.get("path").and_then(|path| {
            let name = |name: &Value| match name {
                Value::String(name) => Some(name.clone()),
                _ => None,
            };
            list(path).iter().map(name).collect()
        });
        let path = path.filter(|path| (1..=PATH_MAX).contains(&path.len())).ok_or_else(|| {
            bad_input(format!("{place}.path: expected 1 to {PATH_MAX} names of members"))
        })?;
        for (word, asked) in asked.iter().filter(|(word, _)| word.as_str() != "path") {
            let place = format!("{place}.{word}");
            let (taken, kind) = match word.as_str() {
                "text" => (JsonAs::Text, ColumnType::Text),
                "number" => (JsonAs::Number, ColumnType::Float64),
                "integer" => (JsonAs::Integer, ColumnType::Int64),
                "boolean" => (JsonAs::Boolean, ColumnType::Bool),
                "exists" => {
                    self.count(1)?;
                    let there = json_has(document.value.clone(), &path);
                    if *asked != Value::Null {
                        all.push(match truth(asked, &place)? {
                            true => there.is_true(),
                            false => there.is_not_true(),
                        });
                    }
                    continue;
                }
                other => return Err(bad_input(format!("{place}: there is no {other}"))),
            };
            match asked {
                Value::Null => {}
                Value::Object(conditions) => {
                    let value = json_at(document.value.clone(), &path, taken);
                    let on = On { value, kind: &kind, in_list: false };
                    self.conditions(&on, conditions, &place, all)?;
                }
                other => return Err(not_an_object(other, &place)),
            }
        }
        Ok(())
    }

    fn operator(
        &mut self,
        on: &On<'_>,
        operator: &str,
        value: &Value,
        place: &str,
    ) -> Result<Expr> {
        let On { kind, in_list, .. } = *on;
        let of = || on.value.clone();
        if operator == "isNull" {
            return Ok(match truth(value, place)? {
                true => of().is_null(),
                false => of().is_not_null(),
            });
        }
        match (operator, kind) {
            ("has", kind) if in_list => {
                return Ok(array_has(of(), lit(literal(kind, value, place)?)));
            }
            ("has", ColumnType::List(item)) => {
                return Ok(array_has(of(), lit(literal(item, value, place)?)));
            }
            ("hasKey", ColumnType::Map(_)) => {
                let key = literal(&ColumnType::Text, value, place)?;
                return Ok(array_has(map_keys(of()), lit(key)));
            }
            _ => {}
        }
        if operator == "in" || operator == "notIn" {
            let values = list(value);
            self.count(values.len())?;
            let values = values
                .iter()
                .enumerate()
                .map(|(i, v)| Ok(lit(literal(kind, v, &format!("{place}[{i}]"))?)))
                .collect::<Result<Vec<_>>>()?;
            return Ok(match (operator, values.is_empty()) {
                ("in", true) => lit(false),
                (_, true) => lit(true),
                (operator, false) => in_list_of(of(), values, operator == "notIn"),
            });
        }
        if operator == "between" {
            let [low, high] = list(value) else {
                let found = list(value).len();
                return Err(bad_input(format!("{place}: expected two values, found {found}")));
            };
            self.count(1)?;
            let low = lit(literal(kind, low, &format!("{place}[0]"))?);
            let high = lit(literal(kind, high, &format!("{place}[1]"))?);
            return Ok(not_nan(on, of().gt_eq(low).and(of().lt_eq(high))));
        }
        if let ("regex", Value::String(text)) = (operator, value) {
            self.terms.regexes += 1;
            if self.terms.regexes > REGEXES_MAX {
                let found = self.terms.regexes;
                return Err(over_limit("regular expressions in where", REGEXES_MAX, found));
            }
            return Ok(matches_regex(of(), regex_of(text, place)?));
        }
        let value = lit(literal(kind, value, place)?);
        let like =
            |value, any_case| Expr::Like(Like::new(false, Box::new(of()), value, None, any_case));
        Ok(match operator {
            "like" => like(Box::new(value), false),
            "ilike" => like(Box::new(value), true),
            "eq" => of().eq(value),
            "ne" => of().not_eq(value),
            "gt" => not_nan(on, of().gt(value)),
            "gte" => not_nan(on, of().gt_eq(value)),
            "lt" => of().lt(value),
            "lte" => of().lt_eq(value),
            "contains" => contains(of(), value),
            "startsWith" => starts_with(of(), value),
            "endsWith" => ends_with(of(), value),
            other => return Err(bad_input(format!("{place}: there is no operator {other}"))),
        })
    }

    fn count(&mut self, terms: usize) -> Result<()> {
        self.terms.all += terms;
        let (found, most) = (self.terms.all, self.limits.where_terms_max);
        match found > most {
            true => Err(over_limit("conditions in where", most, found)),
            false => Ok(()),
        }
    }
}

/// All `terms` in one expression, a balanced tree: what walks it recurses no deeper than the logarithm of their number.
fn joined(mut terms: Vec<Expr>, join: fn(Expr, Expr) -> Expr) -> Option<Expr> {
    while terms.len() > 1 {
        let mut rest = terms.into_iter();
        let pair = || rest.next().map(|left| (left, rest.next()));
        terms = std::iter::from_fn(pair)
            .map(|(left, right)| match right {
                Some(right) => join(left, right),
                None => left,
            })
            .collect();
    }
    terms.pop()
}

/// What conditions are on: a value, or a part of each item of a list.
struct On<'a> {
    value: Expr,
    kind: &'a ColumnType,
    in_list: bool,
}

impl On<'_> {
    /// The type of a list's items, if conditions on them are supported.
    fn items(&self) -> Option<&ColumnType> {
        match (self.kind, self.in_list) {
            (ColumnType::List(item), false) => Some(item.as_ref()),
            (kind, true) if kind.is_scalar() => Some(kind),
            _ => None,
        }
    }

    /// The part that a word of the conditions names, where it has such.
    fn part(&self, word: &str) -> Option<On<'_>> {
        let (fields, in_list) = fields_asked(self.kind, self.in_list)?;
        let words = words_beside(self.kind, self.in_list);
        let field = fields.iter().find(|field| camel_beside(&field.name, words) == word)?;
        let value = match in_list {
            true => list_part(self.value.clone(), &field.name),
            false => get_field(self.value.clone(), field.name.as_str()),
        };
        Some(On { value, kind: &field.data_type, in_list })
    }
}

/// Bytes of a regular expression, and of what it comes to.
const REGEX_BYTES_MAX: usize = 1 << 10;
const REGEX_COMPILED_MAX: usize = 1 << 20;

fn regex_of(text: &str, place: &str) -> Result<Regex> {
    if text.len() > REGEX_BYTES_MAX {
        let what = format!("{place} (bytes of a regular expression)");
        return Err(over_limit(&what, REGEX_BYTES_MAX, text.len()));
    }
    let compiled = RegexBuilder::new(text).size_limit(REGEX_COMPILED_MAX).build();
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(most) => {
            let what = format!("{place} (bytes of a regular expression when compiled)");
            over_limit(&what, most, "more")
        }
        error => {
            // Of a text with a mark below the place, the last line says what is wrong.
            let says = error.to_string();
            let says = says.lines().last().unwrap_or_default().trim_start_matches("error: ");
            bad_input(format!("{place}: {text:?} is no regular expression: {says}"))
        }
    })
}

fn truth(asked: &Value, place: &str) -> Result<bool> {
    match asked {
        Value::Boolean(truth) => Ok(*truth),
        other => Err(bad_input(format!("{place}: expected true or false, found {other}"))),
    }
}

fn not_an_object(found: &Value, place: &str) -> Error {
    bad_input(format!("{place}: expected an object, found {found}"))
}

/// Arrow orders NaN above infinity; a NaN is not "greater than 5" to anybody who asks.
fn not_nan(on: &On<'_>, comparison: Expr) -> Expr {
    match on.kind {
        ColumnType::Float32 => comparison.and(on.value.clone().lt_eq(lit(f32::INFINITY))),
        ColumnType::Float64 => comparison.and(on.value.clone().lt_eq(lit(f64::INFINITY))),
        _ => comparison,
    }
}

/// GraphQL takes a single value where a list is expected.
fn list(value: &Value) -> &[Value] {
    match value {
        Value::List(values) => values,
        single => std::slice::from_ref(single),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use async_graphql::value;
    use datasets::DatasetSpec;

    fn shape() -> std::sync::Arc<Shape> {
        let spec = DatasetSpec::from_toml(
            r#"
            name = "calls"
            columns = [
              { name = "and", type = "int64" },
              { name = "model", type = "text" },
              { name = "tags", type = "list(text)", nullable = true },
            ]
            "#,
            "test",
        );
        Shape::new(&spec.unwrap())
    }

    fn read(value: Value) -> Result<Option<Expr>> {
        predicate(&shape(), Some(&value), &Limits::default())
    }

    #[test]
    fn words_and_columns_of_one_name_are_told_apart() {
        let expression = read(value!({"and": [{"and_": {"gt": "5"}}, {"model": {"eq": "m"}}]}));
        assert_eq!(
            expression.unwrap().unwrap().to_string(),
            "and > Int64(5) AND model = Utf8(\"m\")"
        );
    }

    #[test]
    fn empty_lists_mean_what_they_say() {
        let text = |v| read(v).unwrap().unwrap().to_string();
        assert_eq!(text(value!({"model": {"in": []}})), "Boolean(false)");
        assert_eq!(text(value!({"model": {"notIn": []}})), "Boolean(true)");
        assert_eq!(text(value!({"or": []})), "Boolean(false)");
        assert!(read(value!({"and": []})).unwrap().is_none());
        assert!(read(value!({"model": null})).unwrap().is_none());
    }

    #[test]
    fn a_wrong_value_is_an_error_with_its_place() {
        let error = read(value!({"or": [{"model": {"in": ["a", 5]}}]})).unwrap_err();
        assert_eq!(error.to_string(), "where.or[0].model.in[1]: expected a string, found 5");
    }

    #[test]
    fn the_tree_of_many_conditions_is_shallow() {
        fn depth(expression: &Expr) -> usize {
            match expression {
                Expr::BinaryExpr(binary) => 1 + depth(&binary.left).max(depth(&binary.right)),
                _ => 1,
            }
        }
        for word in ["and", "or"] {
            let one = |i: usize| value!({ "model": { "eq": (i.to_string()) } });
            let many = Value::List((0..1_500).map(one).collect());
            let found = read(Value::Object([(Name::new(word), many)].into_iter().collect()));
            let found = found.unwrap().unwrap();
            assert_eq!(depth(&found), 2 + 11);
            assert_eq!(found.to_string().matches("model = ").count(), 1_500);
        }
    }

    #[test]
    fn deep_and_long_filters_are_refused() {
        let mut deep = value!({"model": {"eq": "a"}});
        for _ in 0..40 {
            deep = value!({ "not": deep });
        }
        assert_eq!(read(deep).unwrap_err().code(), engine::Code::LimitExceeded);
        let long = Value::List((0..5_000).map(|_| Value::from("a")).collect());
        let error = read(value!({"model": {"in": long}})).unwrap_err();
        assert_eq!(error.code(), engine::Code::LimitExceeded);
    }
}
