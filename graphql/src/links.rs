//! Relations as GraphQL shows them: each both ways, as links from rows of one dataset to rows of another.
//!
//! Names can not meet, whatever datasets and relations are called: the relations of a dataset itself have their own names, a
//! link back has that of the dataset that it comes from, and where that is taken, or one has several, the relation's behind it with
//! a `_`, which no other name has before a letter. Only specs of the two datasets say so: a third one never renames a link.

use std::collections::HashMap;
use std::sync::Arc;

use datasets::DatasetName;
use engine::Catalog;

use crate::names::camel;
use crate::shape::Shape;

/// A link from each row of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its field among a row's related ones.
    pub field: String,
    /// The dataset that it leads to.
    pub to: Arc<Shape>,
    /// The column of the row, as a position in its shape.
    pub here: usize,
    /// The column there that has the same values.
    pub there: usize,
    /// Whether it leads to one row at most, as the keys say.
    pub is_one: bool,
    /// What it is, for the schema's documentation.
    pub description: String,
}

/// The shapes of a catalogue, and the links between them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: HashMap<DatasetName, Vec<Link>>,
}

impl Links {
    /// Those of a catalogue, whose datasets have these shapes.
    pub(crate) fn new(catalog: &Catalog, shapes: &HashMap<DatasetName, Arc<Shape>>) -> Self {
        let mut links = Self::default();
        let mut back: Vec<(DatasetName, Link, String)> = Vec::new();
        for (name, entry) in catalog.shown() {
            let Some(from) = shapes.get(name) else { continue };
            let mut named: Vec<&DatasetName> = Vec::new();
            for relation in &entry.spec.relations {
                // The other dataset is not there yet, or its column has another type.
                let Some((there, to)) = catalog.with_expected(&relation.to).and_then(|to| {
                    let target = relation.target(&entry.spec, &to.spec).ok()?;
                    Some((target, shapes.get(&relation.to)?))
                }) else {
                    continue;
                };
                let place = |shape: &Shape, column: &str| {
                    shape.columns.iter().position(|it| it.name == column)
                };
                let (Some(here), Some(there)) = (place(from, &relation.column), place(to, there))
                else {
                    continue;
                };
                let description = match relation.description.is_empty() {
                    true => format!("What {} names in {}.", relation.column, relation.to),
                    false => relation.description.clone(),
                };
                let field = camel(relation.name());
                let own = Link {
                    field: field.clone(),
                    to: to.clone(),
                    here,
                    there,
                    is_one: to.key == [there],
                    description,
                };
                let plain = camel(name.as_str());
                let is_first = !named.contains(&&relation.to);
                named.push(&relation.to);
                let of_relation = format!("{plain}_{field}");
                let other = Link {
                    field: if is_first { plain } else { of_relation.clone() },
                    to: from.clone(),
                    here: there,
                    there: here,
                    is_one: from.key == [here],
                    description: format!(
                        "Rows of {name} whose {} names this one.",
                        relation.column
                    ),
                };
                back.push((relation.to.clone(), other, of_relation));
                links.links.entry(name.clone()).or_default().push(own);
            }
        }
        for (of, mut link, otherwise) in back {
            let own = links.links.entry(of).or_default();
            // Its own come first and are all there.
            if own.iter().any(|own| own.field == link.field) {
                link.field = otherwise;
            }
            own.push(link);
        }
        links
    }

    /// Those from rows of a dataset.
    pub(crate) fn of(&self, dataset: &DatasetName) -> &[Link] {
        self.links.get(dataset).map_or(&[], Vec::as_slice)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Link> {
        self.links.values().flatten()
    }
}
