//! What an operation will cost, before it runs.
//!
//! The cost is the number of values that the answer can hold at most: each field counts one, times
//! the `first` of every list around it. A dataset's field counts more by itself, because it opens and
//! scans a table, and by the conditions of its `where` and of those within it, each for every value that it is about; so does a
//! relation, once for all the rows that it is asked of; long keys count more. Lists that have no `first` count as one: what they
//! come to is counted while the answer is made. Rows that are given in columns cost by the thousand. Fragments are measured once and multiplied, variables once, so
//! measuring takes time proportional to what was sent and not to what it unfolds to.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Number, Value, Variables};
use async_graphql_value::Value as DocumentValue;
use engine::{Error, Result};

use crate::error::{bad_input, over_limit};
use crate::limits::Limits;
use crate::schema::related::RELATED;

/// Cost of opening and scanning a table.
const SCAN_COST: u64 = 20;
/// What it costs to explain a change, which takes four scans, 128 MiB and seconds of all cores, or to compare all entities of a view: a
/// request has a few at most.
const EXPLAIN_COST: u64 = 60_000;
/// What it costs to read features of as many entities as one may ask for.
const ENTITIES_COST: u64 = 1_000;
/// Cost of a value in a table's `where`: rows are held against each.
const CONDITION_COST: u64 = 5;
/// Rows that cost as one where they are given in columns.
const ROWS_OF_ONE: u64 = 1_000;
/// Bytes of a text that cost one more.
const BYTES_OF_ONE: usize = 32;
/// Bytes of a type's name in an answer, roughly.
const TYPE_NAME_BYTES: usize = 64;

/// Fields that read a dataset.
#[derive(Debug, Default)]
pub(crate) struct PagedFields {
    /// Those of the root, with how many rows they may give.
    pub roots: HashMap<String, RowsOf>,
    /// Relations that lead to lists.
    pub related: HashSet<String>,
    /// Fields of groups that specs declare, with the most aggregates that one of them is made of.
    pub declared: HashMap<String, u64>,
    /// Rows of each such list where it has no `first`.
    pub related_rows: u64,
}

/// What says how many rows a field may give.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowsOf {
    /// `first` or `last`; when absent, as the limits say.
    First,
    /// `k`; so many when absent.
    K(u64),
    /// As many as there are `ids`, each of which may be of another dataset; one where there are none.
    Ids,
}

/// How the rows of an answer are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A value at a time.
    Values,
    /// A column at a time, which is why many rows cost as one.
    Columns,
}

/// Where a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the root.
    Root,
    /// Among what a row is related to.
    Related,
    /// Elsewhere.
    Below,
}

/// The size of a selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Fields below fields.
    pub depth: usize,
    /// See the module.
    pub cost: u64,
    /// Cost of conditions and relations within, which are held against rows of a dataset, however many the answer has.
    pub conditions: u64,
    /// Bytes of `__typename`, under all its keys: of the object that has the selection, and the most of any object in the end.
    pub typename_bytes: usize,
}

/// One measuring.
pub(crate) struct Costing<'a> {
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    variables: &'a Variables,
    paged: &'a PagedFields,
    limits: &'a Limits,
    given: Given,
    fragments: HashMap<&'a Name, Option<Measure>>,
    /// The most of any object.
    typename_bytes: usize,
    /// What each variable costs where it is a condition.
    variable_costs: HashMap<&'a Name, u64>,
}

impl<'a> Costing<'a> {
    /// Of `operation`, which is in `document`.
    pub(crate) fn new(
        document: &'a ExecutableDocument,
        operation: &'a OperationDefinition,
        variables: &'a Variables,
        paged: &'a PagedFields,
        limits: &'a Limits,
        given: Given,
    ) -> Self {
        let variable_costs =
            variables.iter().map(|(name, value)| (name, values_cost(value))).collect();
        Self {
            document,
            operation,
            variables,
            paged,
            limits,
            given,
            fragments: HashMap::new(),
            typename_bytes: 0,
            variable_costs,
        }
    }

    /// The number of root fields, and the size of the operation.
    pub(crate) fn measure(mut self) -> Result<(usize, Measure)> {
        let root = &self.operation.selection_set.node;
        let fields = self.root_fields(root, &mut Vec::new())?;
        let measure = self.object(root, Place::Root)?;
        Ok((fields, Measure { typename_bytes: self.typename_bytes, ..measure }))
    }

    fn root_fields(&self, set: &'a SelectionSet, inside: &mut Vec<&'a Name>) -> Result<usize> {
        let mut fields = 0usize;
        for selection in &set.items {
            let inner = match &selection.node {
                Selection::Field(_) => 1,
                Selection::InlineFragment(fragment) => {
                    self.root_fields(&fragment.node.selection_set.node, inside)?
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if inside.contains(&name) {
                        return Err(cycle(name));
                    }
                    let fragment =
                        self.document.fragments.get(name).ok_or_else(|| unknown(name))?;
                    inside.push(name);
                    let inner = self.root_fields(&fragment.node.selection_set.node, inside)?;
                    inside.pop();
                    inner
                }
            };
            fields += inner;
            // Enough to refuse; going on could take as long as an attacker likes.
            if fields > self.limits.root_fields_max {
                return Ok(fields);
            }
        }
        Ok(fields)
    }

    /// All that is selected of an object.
    fn object(&mut self, set: &'a SelectionSet, place: Place) -> Result<Measure> {
        let measure = self.selection(set, place)?;
        self.typename_bytes = self.typename_bytes.max(measure.typename_bytes);
        Ok(measure)
    }

    fn selection(&mut self, set: &'a SelectionSet, place: Place) -> Result<Measure> {
        let mut whole = Measure::default();
        for selection in &set.items {
            let part = match &selection.node {
                Selection::Field(field) => self.field(&field.node, place)?,
                Selection::InlineFragment(fragment) => {
                    self.selection(&fragment.node.selection_set.node, place)?
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(&spread.node.fragment_name.node, place)?
                }
            };
            whole.depth = whole.depth.max(part.depth);
            whole.cost = whole.cost.saturating_add(part.cost);
            whole.conditions = whole.conditions.saturating_add(part.conditions);
            whole.typename_bytes = whole.typename_bytes.saturating_add(part.typename_bytes);
        }
        Ok(whole)
    }

    fn field(&mut self, field: &'a Field, place: Place) -> Result<Measure> {
        let is_relation = place == Place::Related && !field.selection_set.node.items.is_empty();
        if place == Place::Root || is_relation {
            self.require_few_terms(field)?;
        }
        let within = match field.name.node.as_str() {
            RELATED => Place::Related,
            _ => Place::Below,
        };
        let inner = self.object(&field.selection_set.node, within)?;
        let key_bytes = field.response_key().node.len();
        let is_root = place == Place::Root;
        let scan = self.paged.roots.get(field.name.node.as_str()).filter(|_| is_root);
        let (argument, default) = match scan {
            Some(RowsOf::K(default)) => ("k", *default),
            Some(RowsOf::Ids) => ("id", self.ids(field)),
            // Who asks for both is refused.
            Some(RowsOf::First) if self.number(field, "last").is_some() => {
                ("last", self.default_rows())
            }
            _ => ("first", self.default_rows()),
        };
        let rows = match self.rows(field, argument, default) {
            Some(rows) => Some(rows),
            None if scan.is_some() && self.operation.ty != OperationType::Mutation => Some(default),
            None if is_relation && self.paged.related.contains(field.name.node.as_str()) => {
                Some(self.paged.related_rows)
            }
            // A message that is no page has lists which have as many rows as one.
            None if field.name.node == "nodes"
                && self.operation.ty == OperationType::Subscription
                && !self.root_is_page() =>
            {
                Some(self.default_rows())
            }
            None => None,
        };
        let rows = match self.given {
            Given::Columns if is_root => rows.map(|rows| rows.div_ceil(ROWS_OF_ONE)),
            _ => rows,
        };
        let own = match scan {
            Some(RowsOf::Ids) => SCAN_COST.saturating_mul(self.ids(field)),
            Some(_) => self.scans(field).saturating_add(self.conditions(field)),
            // Rows are looked for that are to be changed.
            None if is_root
                && self.operation.ty == OperationType::Mutation
                && field.get_argument("where").is_some() =>
            {
                SCAN_COST.saturating_add(self.conditions(field))
            }
            // Both periods are read, for what they have and for their groups, and then searched.
            None if is_root && matches!(field.name.node.as_str(), "explain" | "featureSkew") => {
                EXPLAIN_COST
            }
            None if is_root && field.name.node == "onlineFeatures" => ENTITIES_COST,
            // Of what was committed, the rows that meet these are read.
            None if is_root && self.operation.ty == OperationType::Subscription => {
                1 + self.conditions(field)
            }
            None => 1,
        };
        let own = own.saturating_add((key_bytes / BYTES_OF_ONE) as u64);
        let is_typename = field.name.node == "__typename";
        let conditions = match place {
            Place::Root => 0,
            // It is read once, for all rows.
            _ if is_relation => SCAN_COST.saturating_add(self.conditions(field)),
            _ => self.conditions(field).saturating_mul(inner.cost.max(1)),
        };
        // All rows go through each of its aggregates, however many groups there are.
        let aggregates = match place {
            Place::Below => self.paged.declared.get(field.name.node.as_str()).copied(),
            _ => None,
        };
        let aggregates = aggregates.unwrap_or_default().saturating_mul(CONDITION_COST);
        let conditions = inner.conditions.saturating_add(conditions).saturating_add(aggregates);
        let (own, conditions) = match is_root {
            true => (own.saturating_add(conditions), 0),
            false => (own, conditions),
        };
        Ok(Measure {
            depth: inner.depth + 1,
            cost: inner.cost.saturating_mul(rows.unwrap_or(1)).saturating_add(own),
            conditions,
            typename_bytes: if is_typename { key_bytes + TYPE_NAME_BYTES } else { 0 },
        })
    }

    fn fragment(&mut self, name: &'a Name, place: Place) -> Result<Measure> {
        match self.fragments.get(name) {
            Some(Some(measure)) => return Ok(*measure),
            Some(None) => return Err(cycle(name)),
            None => {}
        }
        // Refused here, before anything unfolds what leads to it: it costs nothing, however often it stands there.
        let fragment = self.document.fragments.get(name).ok_or_else(|| unknown(name))?;
        self.fragments.insert(name, None);
        let measure = self.selection(&fragment.node.selection_set.node, place)?;
        self.fragments.insert(name, Some(measure));
        Ok(measure)
    }

    /// Whether the one field of a subscription is a page by itself, whose rows are counted with it.
    fn root_is_page(&self) -> bool {
        match self.operation.selection_set.node.items.first().map(|root| &root.node) {
            Some(Selection::Field(root)) => {
                self.paged.roots.contains_key(root.node.name.node.as_str())
            }
            _ => false,
        }
    }

    fn default_rows(&self) -> u64 {
        match self.given {
            Given::Values => self.limits.page_rows_default as u64,
            Given::Columns => self.limits.stream_rows_max as u64,
        }
    }

    /// The value of the argument that says how many rows, where it is known; a wrong one is the validator's to
    /// refuse.
    fn rows(&self, field: &Field, argument: &str, default: u64) -> Option<u64> {
        field.get_argument(argument)?;
        self.number(field, argument).map_or(Some(default), Number::as_u64)
    }

    fn number<'b>(&'b self, field: &'b Field, argument: &str) -> Option<&'b Number> {
        match &field.get_argument(argument)?.node {
            DocumentValue::Number(number) => Some(number),
            DocumentValue::Variable(name) => match self.variable(name) {
                Some(Value::Number(number)) => Some(number),
                _ => None,
            },
            _ => None,
        }
    }

    fn ids(&self, field: &Field) -> u64 {
        let ids = field.get_argument("ids").map_or(1, |ids| self.terms(&ids.node));
        (ids as u64).max(1)
    }

    /// Cost of opening and scanning a table: for `top` and `sample`, and for each set of keys that has totals, its rows are gone through once more.
    fn scans(&self, field: &Field) -> u64 {
        let given = |name: &str| match &field.get_argument(name)?.node {
            DocumentValue::Null => None,
            DocumentValue::Variable(name) => match self.variable(name)? {
                Value::Null => None,
                value => Some(value.to_string()),
            },
            value => Some(value.to_string()),
        };
        let keys = || {
            let columns = field.get_argument("groupBy").map_or(0, |keys| self.terms(&keys.node));
            columns + usize::from(field.get_argument("every").is_some())
        };
        let sets = match given("totals") {
            None => 1,
            Some(cube) if cube.contains("CUBE") => 1u64 << keys().min(6),
            Some(_) => keys() as u64 + 1,
        };
        let again = ["top", "sample"].into_iter().filter(|name| given(name).is_some()).count();
        SCAN_COST.saturating_mul(sets + again as u64)
    }

    /// Cost of the values in `where`.
    fn conditions(&self, field: &Field) -> u64 {
        field.get_argument("where").map_or(0, |value| self.document_value_cost(&value.node))
    }

    /// The nesting of a document is bounded.
    fn document_value_cost(&self, value: &DocumentValue) -> u64 {
        match value {
            DocumentValue::Variable(name) => match self.variable_costs.get(name) {
                Some(cost) => *cost,
                None => self.variable(name).map_or(CONDITION_COST, values_cost),
            },
            // What asks for nothing is read like others.
            DocumentValue::List(items) if items.is_empty() => CONDITION_COST,
            DocumentValue::Object(fields) if fields.is_empty() => CONDITION_COST,
            DocumentValue::List(items) => {
                items.iter().map(|item| self.document_value_cost(item)).sum()
            }
            DocumentValue::Object(fields) => {
                fields.values().map(|item| self.document_value_cost(item)).sum()
            }
            DocumentValue::String(text) => text_cost(text),
            _ => CONDITION_COST,
        }
    }

    /// What rows are ordered and grouped by is read before anything else bounds it.
    fn require_few_terms(&self, field: &Field) -> Result<()> {
        for clause in ["orderBy", "groupBy", "having", "columns"] {
            let Some(value) = field.get_argument(clause) else { continue };
            let (terms, most) = (self.terms(&value.node), self.limits.order_terms_max);
            if terms > most {
                return Err(over_limit(&format!("{clause}: terms"), most, terms));
            }
        }
        Ok(())
    }

    fn terms(&self, value: &DocumentValue) -> usize {
        match value {
            DocumentValue::Variable(name) => self.variable(name).map_or(1, terms),
            DocumentValue::List(items) => {
                items.iter().map(|item| self.terms(item)).sum::<usize>().max(1)
            }
            DocumentValue::Object(fields) => {
                fields.values().map(|item| self.terms(item)).sum::<usize>().max(1)
            }
            _ => 1,
        }
    }

    fn variable(&self, name: &Name) -> Option<&Value> {
        self.variables.get(name).or_else(|| self.default_of(name))
    }

    fn default_of(&self, name: &Name) -> Option<&Value> {
        let mut definitions = self.operation.variable_definitions.iter();
        let definition = definitions.find(|definition| definition.node.name.node == *name)?;
        definition.node.default_value.as_ref().map(|value| &value.node)
    }
}

/// The nesting of variables is bounded by the JSON reader.
fn values_cost(value: &Value) -> u64 {
    match value {
        Value::List(items) if items.is_empty() => CONDITION_COST,
        Value::Object(fields) if fields.is_empty() => CONDITION_COST,
        Value::List(items) => items.iter().map(values_cost).sum(),
        Value::Object(fields) => fields.values().map(values_cost).sum(),
        Value::String(text) => text_cost(text),
        _ => CONDITION_COST,
    }
}

fn terms(value: &Value) -> usize {
    match value {
        Value::List(items) => items.iter().map(terms).sum::<usize>().max(1),
        Value::Object(fields) => fields.values().map(terms).sum::<usize>().max(1),
        _ => 1,
    }
}

fn text_cost(text: &str) -> u64 {
    CONDITION_COST + (text.len() / BYTES_OF_ONE) as u64
}

fn unknown(name: &Name) -> Error {
    bad_input(format!("there is no fragment {name}"))
}

pub(super) fn cycle(name: &Name) -> Error {
    bad_input(format!("fragment {name} contains itself"))
}

#[cfg(test)]
mod tests;
