//! What of a tenant's tables is committed and not shown yet, because it belongs to more that is not there (`publication.rs`).
//!
//! Commits are shown, and told to whoever listens, here alone, under one lock with the catalogue: who reads that sees all of a
//! publication or nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use datasets::DatasetName;

use super::publication::Publication;
use super::shelf::Shelf;
use super::table::Showing;
use super::{Head, Lake, Table};
use crate::bus::CommitEvent;

/// Publications that were seen to their end and are remembered, so that a late look at one of their commits waits for nothing.
const DONE_MAX: usize = 1_024;

/// What of a tenant's tables is committed and not shown yet.
#[derive(Debug, Default)]
pub(super) struct Holding {
    open: Vec<Open>,
    held: BTreeMap<DatasetName, Held>,
    done: VecDeque<String>,
    /// Of these, those whose records nobody can read.
    given_up: HashSet<String>,
}

/// A publication of which some commit was not seen yet.
#[derive(Debug)]
struct Open {
    publication: Publication,
    missing: BTreeSet<DatasetName>,
    /// Whether this process is making it.
    is_own: bool,
}

/// A table whose newest versions are not shown.
#[derive(Debug)]
struct Held {
    table: Arc<Table>,
    showing: Showing,
    events: Vec<CommitEvent>,
}

impl Holding {
    /// Notes a commit to a table.
    fn came(&mut self, table: &Table, of: Option<&Publication>) {
        let Some(publication) = of else { return };
        self.begin(publication, false);
        for open in self.open.iter_mut().filter(|open| open.publication.id == publication.id) {
            open.missing.remove(&table.name);
        }
    }

    /// Whether a publication waits that has a commit to it.
    fn is_held(&self, name: &DatasetName) -> bool {
        let holds = |open: &Open| {
            !open.missing.is_empty()
                && open.publication.datasets.contains(name)
                && !open.missing.contains(name)
        };
        self.open.iter().any(holds)
    }

    /// Has its commits wait for each other.
    pub(super) fn begin(&mut self, publication: &Publication, is_own: bool) {
        let id = &publication.id;
        if self.is_done(id) || self.open.iter().any(|open| open.publication.id == *id) {
            return;
        }
        let missing = publication.datasets.clone();
        self.open.push(Open { publication: publication.clone(), missing, is_own });
    }

    /// Takes those out that may be shown.
    fn ready(&mut self) -> Vec<Held> {
        let (open, whole): (Vec<Open>, Vec<Open>) =
            self.open.drain(..).partition(|open| !open.missing.is_empty());
        self.open = open;
        for Open { publication, .. } in whole {
            self.end(&publication.id);
        }
        let names: Vec<DatasetName> =
            self.held.keys().filter(|name| !self.is_held(name)).cloned().collect();
        names.iter().filter_map(|name| self.held.remove(name)).collect()
    }

    /// Those that wait for what others make.
    pub(super) fn waiting(&self) -> Vec<Publication> {
        let others = self.open.iter().filter(|open| !open.is_own);
        others.map(|open| open.publication.clone()).collect()
    }

    /// Whether it was seen to its end.
    pub(super) fn is_done(&self, id: &str) -> bool {
        self.done.iter().any(|done| done == id)
    }

    fn end(&mut self, id: &str) {
        if !self.is_done(id) {
            self.done.push_back(id.to_owned());
        }
        while self.done.len() > DONE_MAX {
            let oldest = self.done.pop_front();
            self.given_up.retain(|id| oldest.as_ref() != Some(id));
        }
    }

    /// Whether nobody can read its record.
    pub(super) fn is_given_up(&self, id: &str) -> bool {
        self.given_up.contains(id)
    }

    /// Whether this process is making it.
    pub(super) fn is_own(&self, id: &str) -> bool {
        self.open.iter().any(|open| open.is_own && open.publication.id == id)
    }

    /// Leaves it to whoever looks next.
    pub(super) fn disown(&mut self, id: &str) {
        self.open.iter_mut().for_each(|open| open.is_own &= open.publication.id != id);
    }
}

impl Shelf {
    /// Shows a table as its head is and says so, or holds both back until what it belongs to is whole.
    pub(super) fn show(
        &self,
        lake: &Lake,
        table: &Arc<Table>,
        head: &Head,
        of: Option<&Publication>,
        event: CommitEvent,
    ) {
        let mut holding = self.holding.lock();
        let showing = Showing::of(head);
        holding.came(table, of);
        // What belongs together is told in one order, the last of it with the rest.
        let held = Held { table: Arc::clone(table), showing: showing.clone(), events: Vec::new() };
        let held = holding.held.entry(table.name.clone()).or_insert(held);
        held.showing = showing;
        held.events.push(event);
        self.show_ready(lake, &mut holding);
    }

    /// Shows a table as it was before a commit of a publication, until that is whole; what is held back is shown so already.
    pub(super) fn show_before(&self, table: &Arc<Table>, before: &Head, of: &Publication) {
        let mut holding = self.holding.lock();
        holding.came(table, Some(of));
        if holding.is_held(&table.name) && !holding.held.contains_key(&table.name) {
            let held =
                Held { table: Arc::clone(table), showing: table.shown(), events: Vec::new() };
            holding.held.insert(table.name.clone(), held);
            table.show(Showing::of(before));
            self.touch();
        }
    }

    /// Shows a table as its head is, unless that is held back.
    pub(super) fn show_size(&self, table: &Table, head: &Head) {
        let mut holding = self.holding.lock();
        match holding.held.get_mut(&table.name) {
            Some(held) => held.showing = Showing::of(head),
            None => {
                table.show(Showing::of(head));
                self.touch();
            }
        }
    }

    fn show_ready(&self, lake: &Lake, holding: &mut Holding) {
        let ready = holding.ready();
        if ready.is_empty() {
            return;
        }
        for Held { table, showing, .. } in &ready {
            table.show(showing.clone());
        }
        self.touch();
        for event in ready.into_iter().flat_map(|held| held.events) {
            lake.bus().announce(event);
        }
    }

    /// Has a table that was just opened wait for the rest of what its newest commit belongs to. Nobody has seen it yet.
    pub(super) fn expect_rest(&self, table: &Table) {
        if let Some(publication) = &table.opened_in {
            self.holding.lock().came(table, Some(publication));
        }
    }

    /// Has nothing wait for a publication any more.
    pub(super) fn give_up(&self, lake: &Lake, id: &str) {
        {
            let mut holding = self.holding.lock();
            holding.end(id);
            holding.given_up.insert(id.to_owned());
        }
        self.whole(lake, id);
    }

    /// Says that all commits of a publication are known here.
    pub(super) fn whole(&self, lake: &Lake, id: &str) {
        let mut holding = self.holding.lock();
        for open in holding.open.iter_mut().filter(|open| open.publication.id == id) {
            open.missing.clear();
        }
        self.show_ready(lake, &mut holding);
    }
}
