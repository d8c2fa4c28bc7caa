//! How many fields, values and directives a document has when its fragments stand where they are spread, in all its operations.
//!
//! Whoever validates a document unfolds all of it, whichever operation is asked for, and rows that are not asked for (`first: 0`) are no
//! fewer fields there. Each fragment is counted once; they are added up as often as they are spread.

use std::collections::HashMap;

use async_graphql::parser::types::{Directive, ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, Positioned};
use async_graphql_value::Value;
use engine::Result;

use super::cost::cycle;

/// The number of fields, at most `u64::MAX`. A fragment that is not there is the validator's to refuse.
pub(super) fn unfolded(document: &ExecutableDocument) -> Result<u64> {
    let mut unfolding = Unfolding { document, fragments: HashMap::new() };
    let mut fields = 0u64;
    for (_, operation) in document.operations.iter() {
        let set = &operation.node.selection_set.node;
        fields = fields.saturating_add(unfolding.selection(set)?);
    }
    for name in document.fragments.keys() {
        fields = fields.saturating_add(unfolding.fragment(name)?);
    }
    Ok(fields)
}

struct Unfolding<'a> {
    document: &'a ExecutableDocument,
    /// Those under way have no number.
    fragments: HashMap<&'a Name, Option<u64>>,
}

impl<'a> Unfolding<'a> {
    fn selection(&mut self, set: &'a SelectionSet) -> Result<u64> {
        let mut fields = 0u64;
        for selection in &set.items {
            let inner = match &selection.node {
                Selection::Field(Positioned { node: field, .. }) => {
                    let values = field.arguments.iter().map(|(_, value)| values(&value.node));
                    let own = 1 + values.sum::<u64>() + directives(&field.directives);
                    self.selection(&field.selection_set.node)?.saturating_add(own)
                }
                Selection::InlineFragment(Positioned { node: fragment, .. }) => {
                    let own = directives(&fragment.directives);
                    self.selection(&fragment.selection_set.node)?.saturating_add(own)
                }
                Selection::FragmentSpread(Positioned { node: spread, .. }) => {
                    let own = directives(&spread.directives);
                    self.fragment(&spread.fragment_name.node)?.saturating_add(own)
                }
            };
            fields = fields.saturating_add(inner);
        }
        Ok(fields)
    }

    fn fragment(&mut self, name: &'a Name) -> Result<u64> {
        match self.fragments.get(name) {
            Some(Some(fields)) => return Ok(*fields),
            Some(None) => return Err(cycle(name)),
            None => {}
        }
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(0) };
        self.fragments.insert(name, None);
        // A spread is looked at, whatever is in it.
        let fields = self.selection(&fragment.node.selection_set.node)?.saturating_add(1);
        self.fragments.insert(name, Some(fields));
        Ok(fields)
    }
}

/// Values within a value; one that is nothing else is the field's. The nesting of a document is bounded.
fn values(value: &Value) -> u64 {
    match value {
        Value::List(items) => items.iter().map(|item| 1 + values(item)).sum(),
        Value::Object(fields) => fields.values().map(|item| 1 + values(item)).sum(),
        _ => 0,
    }
}

fn directives(directives: &[Positioned<Directive>]) -> u64 {
    let values = |directive: &Directive| {
        directive.arguments.iter().map(|(_, value)| values(&value.node)).sum::<u64>()
    };
    directives.iter().map(|directive| 1 + values(&directive.node)).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use async_graphql::parser::parse_query;

    use super::*;

    #[test]
    fn fragments_are_counted_as_often_as_they_are_spread() {
        let count = |text: &str| unfolded(&parse_query(text).unwrap());
        assert_eq!(count("{ a b { c } }").unwrap(), 3);
        // In the operation three times, and by itself.
        let text = "{ ...F x { ...F } ... on T { ...F } } fragment F on T { a b }";
        assert_eq!(count(text).unwrap(), 3 * 3 + 1 + 3);
        // What stands at a field is walked with it.
        assert_eq!(count("{ a(w: {x: [1, 2]}) @skip(if: true) { b } }").unwrap(), 2 + 3 + 1);
        assert_eq!(count("{ ... on T @include(if: true) { a } }").unwrap(), 2);
        // Also where nobody asks for it.
        assert_eq!(
            count("query A { a } query B { ...F } fragment F on T { a }").unwrap(),
            1 + 2 + 2
        );
        let doubling: String = (0..80)
            .map(|n| format!("fragment f{n} on T {{ ...f{m} ...f{m} }} ", m = n + 1))
            .collect();
        let text = format!("query A {{ a }} {doubling} fragment f80 on T {{ a }}");
        assert_eq!(count(&text).unwrap(), u64::MAX);
        let text = "{ a } fragment a on T { ...b } fragment b on T { ...a }";
        assert!(count(text).unwrap_err().to_string().contains("contains itself"));
    }
}
