//! What a document is checked for before anything of it is executed.
//!
//! First its text, because a parser that recurses can be made to overflow its stack by brackets
//! alone; then its fields, because fragments that use each other can unfold a short text into more
//! fields than there are atoms.

pub(crate) mod cost;
pub(crate) mod text;
mod unfold;

use std::collections::HashSet;
use std::ops::Range;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Pos, Positioned, ServerError, Variables};
use async_graphql_value::{ConstValue, Value};
use engine::{Code, Error, Result};

use crate::error::{bad_input, over_limit, refused};
use crate::limits::Limits;
use cost::{Costing, Given, Measure, PagedFields};

/// A document that may be executed.
pub(crate) struct Admitted {
    /// The document.
    pub document: ExecutableDocument,
    /// The kind of the operation that was asked for.
    pub kind: OperationType,
    /// What the operation is estimated to cost.
    pub cost: u64,
    /// Bytes of `__typename` in one object, at most.
    pub typename_bytes: usize,
    /// Fields of the root, in the order of the request.
    pub roots: Vec<RootField>,
    /// What says where a subscription goes on from, where it says nothing else.
    pub since: Option<Since>,
}

/// Where a request says where its subscription goes on from.
pub(crate) enum Since {
    /// In a variable.
    Variable(Name),
    /// In its text, there.
    Written(Range<usize>),
}

/// A field of the root.
pub(crate) struct RootField {
    /// Its key in the answer.
    pub key: Name,
    /// Its name in the schema.
    pub name: Name,
}

/// The key under which more than one of these fields stands, if there is one.
pub(crate) fn twice(roots: &[RootField]) -> Option<Name> {
    let mut keys = HashSet::new();
    let mut fields = roots.iter().filter(|root| root.name != "__typename");
    fields.find(|root| !keys.insert(&root.key)).map(|root| root.key.clone())
}

/// The error of a request that asks nothing.
pub(crate) fn without_query() -> Error {
    bad_input("the request has no `query`, or an empty one")
}

/// Parses `query` and checks the operation called `name` against the limits, whose answer is given so.
pub(crate) fn admit(
    query: &str,
    name: Option<&str>,
    variables: &Variables,
    paged: &PagedFields,
    limits: &Limits,
    given: Given,
) -> Result<Admitted, Box<ServerError>> {
    let refuse = |error: Error| refused(&error);
    if query.trim().is_empty() {
        return Err(refuse(without_query()));
    }
    text::check(query, limits).map_err(refuse)?;
    let mut document = parse_query(query).map_err(|error| Box::new(ServerError::from(error)))?;
    let operation = operation(&document, name).map_err(refuse)?;
    let kind = operation.ty;
    if kind == OperationType::Subscription {
        flatten_subscription(&mut document, name).map_err(refuse)?;
    }
    let operation = self::operation(&document, name).map_err(refuse)?;
    require_values(operation, variables)?;
    let costing = Costing::new(&document, operation, variables, paged, limits, given);
    let (fields, measured) = costing.measure().map_err(refuse)?;
    if fields > limits.root_fields_max {
        return Err(refuse(over_limit("fields at the root", limits.root_fields_max, fields)));
    }
    if measured.depth > limits.depth_max {
        return Err(refuse(over_limit("depth of the query", limits.depth_max, measured.depth)));
    }
    if measured.cost > limits.cost_max {
        return Err(refuse(over_limit(
            "cost of the query (fields times rows; ask for fewer of either)",
            limits.cost_max,
            measured.cost,
        )));
    }
    let unfolded = unfold::unfolded(&document).map_err(refuse)?;
    if unfolded > limits.cost_max {
        return Err(refuse(over_limit(
            "fields and values of all operations and fragments, these as often as they are spread",
            limits.cost_max,
            unfolded,
        )));
    }
    if kind == OperationType::Subscription && fields != 1 {
        return Err(refuse(Error::user(
            Code::BadInput,
            format!("a subscription has exactly one field at its root, found {fields}"),
        )));
    }
    let mut roots = Vec::with_capacity(fields);
    collect_roots(&document, &operation.selection_set.node, &mut roots);
    let since = since_of(query, &operation.selection_set.node);
    let Measure { cost, typename_bytes, .. } = measured;
    Ok(Admitted { document, kind, cost, typename_bytes, roots, since })
}

/// Lets go of values of variables that the operation has not: a subscription is kept for long.
pub(crate) fn keep_declared(
    document: &ExecutableDocument,
    name: Option<&str>,
    variables: &mut Variables,
) -> Result<()> {
    let defined = &operation(document, name)?.variable_definitions;
    variables.retain(|name, _| defined.iter().any(|of| of.node.name.node == *name));
    Ok(())
}

/// Fails where a variable has no value that has to have one.
fn require_values(
    operation: &OperationDefinition,
    variables: &Variables,
) -> Result<(), Box<ServerError>> {
    for defined in &operation.variable_definitions {
        let Positioned { node: of, pos } = defined;
        let value = variables.get(&of.name.node);
        let is_given = match (value, &of.default_value) {
            (Some(ConstValue::Null), _) => false,
            (Some(_), _) | (None, Some(_)) => true,
            (None, None) => false,
        };
        if is_given || of.var_type.node.nullable {
            continue;
        }
        let (name, kind) = (&of.name.node, &of.var_type.node);
        let says = format!("variable \"${name}\" of type {kind} has no value");
        let mut error = refused(&bad_input(says));
        error.locations = vec![*pos];
        return Err(error);
    }
    Ok(())
}

/// Whether a variable stands where it is defined and in one place more; not where that is not plain to see.
fn is_used_once(query: &str, name: &Name) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let behind = || query.split('$').skip(1);
    behind().all(|text| text.starts_with(is_letter))
        && behind()
            .filter(|text| text.split(|c| !is_letter(c)).next() == Some(name.as_str()))
            .count()
            == 2
}

fn since_of(query: &str, roots: &SelectionSet) -> Option<Since> {
    let Some(Selection::Field(field)) = roots.items.first().map(|root| &root.node) else {
        return None;
    };
    let since = field.node.get_argument("since")?;
    match &since.node {
        Value::Variable(name) => is_used_once(query, name).then(|| Since::Variable(name.clone())),
        Value::Number(number) => {
            let (at, number) = (offset(query, since.pos)?, number.to_string());
            let end = at + number.len();
            (query.get(at..end) == Some(&*number)).then_some(Since::Written(at..end))
        }
        _ => None,
    }
}

/// Where in a text a place is; lines and columns count from one, and columns in characters. Not of a text in which a line ends in a way
/// of its own.
fn offset(text: &str, at: Pos) -> Option<usize> {
    if text.replace("\r\n", "").contains('\r') {
        return None;
    }
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines.by_ref().take(at.line.checked_sub(1)?).map(str::len).sum();
    let (within, _) = lines.next()?.char_indices().nth(at.column.checked_sub(1)?)?;
    Some(before + within)
}

/// Fragments were measured before, so none contains itself.
fn collect_roots(document: &ExecutableDocument, set: &SelectionSet, roots: &mut Vec<RootField>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(Positioned { node: field, .. }) => roots.push(RootField {
                key: field.response_key().node.clone(),
                name: field.name.node.clone(),
            }),
            Selection::InlineFragment(fragment) => {
                collect_roots(document, &fragment.node.selection_set.node, roots);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    collect_roots(document, &fragment.node.selection_set.node, roots);
                }
            }
        }
    }
}

fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a OperationDefinition> {
    let found = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => {
            operations.values().next()
        }
        (DocumentOperations::Multiple(operations), None) => {
            return Err(bad_input(format!(
                "the document has {} operations: `operationName` must say which one is meant",
                operations.len()
            )));
        }
    };
    found.map(|operation| &operation.node).ok_or_else(|| {
        let name: String = name.unwrap_or_default().chars().take(80).collect();
        bad_input(format!("operationName: the document has no operation {name:?}"))
    })
}

/// Puts fields of root fragments in the fragments' place: the executor looks for a subscription's
/// field at its root only.
pub(crate) fn flatten_subscription(
    document: &mut ExecutableDocument,
    name: Option<&str>,
) -> Result<()> {
    let fragments = document.fragments.clone();
    let mut used = Vec::new();
    let operation = match (&mut document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get_mut(name),
        (DocumentOperations::Multiple(operations), None) => operations.values_mut().next(),
    };
    let Some(operation) = operation else { return Ok(()) };
    let mut flat = Vec::new();
    let root = std::mem::take(&mut operation.node.selection_set.node.items);
    let mut pending: Vec<Positioned<Selection>> = root.into_iter().rev().collect();
    while let Some(selection) = pending.pop() {
        let inner: SelectionSet = match &selection.node {
            Selection::Field(_) => {
                flat.push(selection);
                continue;
            }
            Selection::InlineFragment(fragment) => fragment.node.selection_set.node.clone(),
            Selection::FragmentSpread(spread) => {
                let name: &Name = &spread.node.fragment_name.node;
                if used.contains(name) {
                    return Err(bad_input(format!("fragment {name} is used twice at the root")));
                }
                used.push(name.clone());
                match fragments.get(name) {
                    Some(fragment) => fragment.node.selection_set.node.clone(),
                    None => return Err(bad_input(format!("there is no fragment {name}"))),
                }
            }
        };
        pending.extend(inner.items.into_iter().rev());
    }
    // It stays for as long as the subscription: a copy has no room to grow, which the parser's lists have.
    operation.node.selection_set.node.items = flat.clone();
    document.fragments.retain(|name, _| !used.contains(name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_behind_whatever_lines_and_characters() {
        let at = |line, column| Pos { line, column };
        let text = "# \u{20ac}\r\nab\u{20ac}c\n";
        assert_eq!(offset(text, at(2, 4)), Some(text.find('c').unwrap_or_default()));
        assert_eq!(offset(text, at(1, 1)), Some(0));
        for beyond in [at(0, 1), at(1, 0), at(9, 1), at(2, 9)] {
            assert_eq!(offset(text, beyond), None, "{beyond:?}");
        }
        // There a column counts from behind it, and here it would not.
        assert_eq!(offset("ab\rcd", at(1, 2)), None);
    }
}
