//! Catalogues as those see them who may see a part.

use std::collections::HashMap;
use std::sync::Arc;

use datasets::{DatasetName, RelationSpec};
use parking_lot::Mutex;

use crate::catalog::{Catalog, DatasetEntry};
use crate::error::Result;
use crate::grants::{Grants, Part, seen};

/// Catalogues, as some see them, that are kept.
const SEEN_MAX: usize = 256;

/// The tenant, and the digest of grants.
type SeenKey = (String, String);

/// A catalogue, and what is seen of it.
type OfAndSeen = [Arc<Catalog>; 2];

/// The catalogues of tenants as some see them, as long as these are the newest.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    kept: Mutex<HashMap<SeenKey, OfAndSeen>>,
}

impl Seen {
    /// `catalog` as who has `grants` sees it; of what does not fit, `fits` says so.
    pub(crate) fn catalog(
        &self,
        catalog: &Arc<Catalog>,
        grants: &Grants,
        fits: impl Fn(&DatasetEntry, &Part<'_>) -> Result<()>,
    ) -> Arc<Catalog> {
        let hides = |name: &DatasetName| grants.hides(name);
        let has_hidden = || {
            catalog.datasets.keys().chain(catalog.expected.keys()).any(hides)
                || catalog.dropped.keys().chain(catalog.unreadable.keys()).any(hides)
        };
        if grants.is_all() && !has_hidden() {
            return Arc::clone(catalog);
        }
        let key = (catalog.tenant.to_string(), grants.digest().to_owned());
        if let Some([of, seen]) = self.kept.lock().get(&key)
            && Arc::ptr_eq(of, catalog)
        {
            return Arc::clone(seen);
        }
        let seen = Arc::new(catalog_for(catalog, grants, fits));
        let mut kept = self.kept.lock();
        if kept.len() >= SEEN_MAX {
            kept.clear();
        }
        kept.insert(key, [Arc::clone(catalog), Arc::clone(&seen)]);
        seen
    }
}

fn catalog_for(
    catalog: &Catalog,
    grants: &Grants,
    fits: impl Fn(&DatasetEntry, &Part<'_>) -> Result<()>,
) -> Catalog {
    let mut shown = catalog.clone();
    // Of these it is not known who fills them.
    shown.dropped.retain(|name, _| grants.sees(name, true));
    shown.unreadable.retain(|name, _| grants.sees(name, true));
    shown.datasets.retain(|name, entry| grants.sees(name, entry.spec.derived));
    shown.expected.retain(|name, entry| grants.sees(name, entry.spec.derived));
    let mut unfit = Vec::new();
    for (name, entry) in shown.datasets.iter_mut().chain(&mut shown.expected) {
        let Some(part) = grants.part_of(name) else { continue };
        match fits(entry, &part) {
            Ok(()) => *entry = seen(entry, &part, &part.grant.masks),
            Err(error) => unfit.push((name.clone(), error)),
        }
    }
    for (name, error) in unfit {
        shown.datasets.remove(&name);
        shown.expected.remove(&name);
        shown.unreadable.insert(name, error);
    }
    let entries = shown.datasets.values().chain(shown.expected.values());
    let relations: Vec<_> = entries.map(|entry| relations_seen(entry, &shown)).collect();
    let entries = shown.datasets.values_mut().chain(shown.expected.values_mut());
    for (entry, relations) in entries.zip(relations) {
        entry.spec.relations = relations;
    }
    shown
}

/// Those of its relations of which both ends are seen: another tells of a dataset, or of what is behind a mask.
fn relations_seen(entry: &DatasetEntry, shown: &Catalog) -> Vec<RelationSpec> {
    let is_seen = |relation: &&RelationSpec| {
        shown.with_expected(&relation.to).is_some_and(|to| {
            let column = relation.target(&entry.spec, &to.spec);
            column.is_ok_and(|column| to.masked.iter().all(|masked| masked != column))
        })
    };
    entry.spec.relations.iter().filter(is_seen).cloned().collect()
}
