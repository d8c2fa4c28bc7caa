//! How many fields a document has when its fragments stand where they are spread, in all its operations.
//!
//! Whoever validates a document unfolds all of it, whichever operation is asked for, and rows that are not asked for (`first: 0`) are no
//! fewer fields there. Each fragment is counted once; they are added up as often as they are spread.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
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
                Selection::Field(field) => {
                    self.selection(&field.node.selection_set.node)?.saturating_add(1)
                }
                Selection::InlineFragment(fragment) => {
                    self.selection(&fragment.node.selection_set.node)?
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(&spread.node.fragment_name.node)?
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
