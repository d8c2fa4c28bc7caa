//! Joins the events of event logs into steps: `start` and `complete` of one activity become one step.
//!
//! The lifecycle extension of XES (IEEE 1849) records the transitions of an activity as separate events. A `complete` ends the
//! first open `start` with the same case, activity and `concept:instance` that is not later, preferably one of the same
//! resource. Any other event is a step without a duration.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::rows::{Place, RowTable};
use crate::error::Result;
use crate::parse::Slot;

/// The columns of a step.
pub(crate) const COLUMNS: [&str; 6] =
    ["case_id", "activity", "started_at", "ended_at", "resource", "attributes"];
/// The attribute that names a transition.
pub(crate) const TRANSITION: &str = "lifecycle:transition";
/// The attribute that distinguishes the runs of one activity in a case.
const INSTANCE: &str = "concept:instance";
/// Most open steps. Beyond that, the oldest `start` becomes a step of its own.
const BEGUN_MAX: usize = 100_000;

/// A step, or one event of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) case_id: String,
    pub(crate) activity: String,
    /// When it began, if the event itself says so.
    pub(crate) started_us: Option<i64>,
    pub(crate) ended_us: i64,
    pub(crate) resource: Option<String>,
    pub(crate) attributes: Map<String, Value>,
    /// Its position in the source, and its length there in bytes.
    pub(crate) place: Place,
    pub(crate) bytes: usize,
}

/// What identifies a run of an activity: its case, name and instance.
type Key = (String, String, Option<String>);

/// Joins events into steps and writes them to a table.
#[derive(Default)]
pub(crate) struct Steps {
    /// Open steps, in the order of the source.
    begun: BTreeMap<u64, Step>,
    by_key: HashMap<Key, Vec<u64>>,
    number: u64,
}

impl Steps {
    /// Adds the next event.
    pub(crate) fn push(&mut self, step: Step, table: &mut RowTable) -> Result<()> {
        if step.started_us.is_some() {
            return step.write(table);
        }
        if step.is("start") {
            self.by_key.entry(step.key()).or_default().push(self.number);
            self.begun.insert(self.number, step);
            self.number += 1;
            let oldest = self.begun.keys().next().copied().filter(|_| self.begun.len() > BEGUN_MAX);
            return match oldest.and_then(|oldest| self.take(oldest)) {
                Some(oldest) => oldest.write(table),
                None => Ok(()),
            };
        }
        let start = if step.is("complete") { self.start_of(&step) } else { None };
        match start.and_then(|start| self.take(start)) {
            Some(start) => step.since(start).write(table),
            None => step.write(table),
        }
    }

    /// Writes the open steps, each as an instant at its start.
    pub(crate) fn finish(&mut self, table: &mut RowTable) -> Result<()> {
        self.by_key.clear();
        std::mem::take(&mut self.begun).into_values().try_for_each(|step| step.write(table))
    }

    /// The number of the `start` that `end` completes.
    fn start_of(&self, end: &Step) -> Option<u64> {
        let numbers = self.by_key.get(&end.key())?;
        let is_before = |number: &&u64| {
            self.begun.get(*number).is_some_and(|start| start.ended_us <= end.ended_us)
        };
        let is_own = |number: &&u64| {
            self.begun.get(*number).is_some_and(|start| start.resource == end.resource)
        };
        let before = || numbers.iter().filter(is_before);
        before().find(is_own).or_else(|| before().next()).copied()
    }

    fn take(&mut self, number: u64) -> Option<Step> {
        let step = self.begun.remove(&number)?;
        let key = step.key();
        if let Some(numbers) = self.by_key.get_mut(&key) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_key.remove(&key);
            }
        }
        Some(step)
    }
}

impl Step {
    fn key(&self) -> Key {
        let instance = self.attributes.get(INSTANCE).map(|instance| match instance {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        (self.case_id.clone(), self.activity.clone(), instance)
    }

    fn is(&self, transition: &str) -> bool {
        let stated = self.attributes.get(TRANSITION).and_then(Value::as_str);
        stated.is_some_and(|stated| stated.trim().eq_ignore_ascii_case(transition))
    }

    /// Merges the event `start` into this one. Attributes of the start that differ from those of the end get the prefix
    /// `start:`.
    fn since(mut self, start: Self) -> Self {
        self.started_us = Some(start.ended_us);
        self.bytes += start.bytes;
        if self.resource.is_none() {
            self.resource = start.resource;
        } else if let Some(resource) =
            start.resource.filter(|of| self.resource.as_ref() != Some(of))
        {
            self.attributes.insert("start:org:resource".to_owned(), resource.into());
        }
        for (name, value) in start.attributes {
            match self.attributes.get(&name) {
                _ if name == TRANSITION => {}
                None => {
                    self.attributes.insert(name, value);
                }
                Some(own) if *own != value => {
                    self.attributes.insert(format!("start:{name}"), value);
                }
                Some(_) => {}
            }
        }
        self
    }

    fn write(self, table: &mut RowTable) -> Result<()> {
        let (place, bytes) = (self.place, self.bytes);
        let attributes = match self.attributes.is_empty() {
            true => Slot::Null,
            false => Slot::Text(Value::Object(self.attributes).to_string().into()),
        };
        let slots = [
            Slot::Text(self.case_id.into()),
            Slot::Text(self.activity.into()),
            Slot::Int(self.started_us.unwrap_or(self.ended_us)),
            Slot::Int(self.ended_us),
            self.resource.map_or(Slot::Null, |resource| Slot::Text(resource.into())),
            attributes,
        ];
        table.push(place, bytes, &slots)
    }
}
