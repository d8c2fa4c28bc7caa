//! Joins the events of event logs into steps: `start` and `complete` of one activity become one step.
//!
//! The lifecycle extension of XES (IEEE 1849) records the transitions of an activity as events of their
//! own. A `complete` ends the earliest `start` of its case, activity and `concept:instance` that is not later,
//! where possible one of its own resource. Any other event is a step without a duration.
//!
//! Open steps are bounded by their number and by their bytes, and each event takes logarithmic time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
/// Most bytes that these steps hold.
const BEGUN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a step without its texts and attributes, and of a value without its text.
const STEP_BYTES: usize = 512;
const VALUE_BYTES: usize = 96;

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
    /// Where it is in the source.
    pub(crate) place: Place,
}

/// What identifies a run of an activity: its case, name and instance.
type Key = (String, String, Option<String>);

/// Starts by their instants and numbers.
type Starts = BTreeSet<(i64, u64)>;

/// The open starts of one key.
#[derive(Default)]
struct OpenStarts {
    all: Starts,
    by_resource: HashMap<Option<String>, Starts>,
}

/// Joins the events of steps on their way into a table.
#[derive(Default)]
pub(crate) struct Steps {
    /// Steps that have begun and not ended, by their order in the source, each with its bytes.
    begun: BTreeMap<u64, (Step, usize)>,
    by_key: HashMap<Key, OpenStarts>,
    bytes: usize,
    number: u64,
}

impl Steps {
    /// Adds the next event.
    pub(crate) fn push(&mut self, step: Step, table: &mut RowTable) -> Result<()> {
        if step.started_us.is_some() {
            return step.write(table);
        }
        if step.is("start") {
            self.begin(step);
            while self.begun.len() > BEGUN_MAX || self.bytes > BEGUN_BYTES_MAX {
                let Some(oldest) = self.begun.keys().next().copied() else { break };
                self.take(oldest).map_or(Ok(()), |oldest| oldest.write(table))?;
            }
            return Ok(());
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
        self.bytes = 0;
        std::mem::take(&mut self.begun).into_values().try_for_each(|(step, _)| step.write(table))
    }

    fn begin(&mut self, step: Step) {
        let start = (step.ended_us, self.number);
        let open = self.by_key.entry(step.key()).or_default();
        open.all.insert(start);
        open.by_resource.entry(step.resource.clone()).or_default().insert(start);
        let bytes = step.bytes();
        self.bytes += bytes;
        self.begun.insert(self.number, (step, bytes));
        self.number += 1;
    }

    /// The number of the `start` that `end` completes.
    fn start_of(&self, end: &Step) -> Option<u64> {
        let open = self.by_key.get(&end.key())?;
        let earliest = |starts: &Starts| {
            let (at, number) = starts.first()?;
            (*at <= end.ended_us).then_some(*number)
        };
        let own = open.by_resource.get(&end.resource).and_then(earliest);
        own.or_else(|| earliest(&open.all))
    }

    fn take(&mut self, number: u64) -> Option<Step> {
        let (step, bytes) = self.begun.remove(&number)?;
        self.bytes -= bytes;
        let (key, start) = (step.key(), (step.ended_us, number));
        if let Some(open) = self.by_key.get_mut(&key) {
            open.all.remove(&start);
            if let Some(own) = open.by_resource.get_mut(&step.resource) {
                own.remove(&start);
                if own.is_empty() {
                    open.by_resource.remove(&step.resource);
                }
            }
            if open.all.is_empty() {
                self.by_key.remove(&key);
            }
        }
        Some(step)
    }
}

/// About the bytes that a value holds.
fn bytes_of(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(members) => members_bytes(members),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    VALUE_BYTES + inside
}

fn members_bytes(members: &Map<String, Value>) -> usize {
    members.iter().map(|(name, value)| name.len() + bytes_of(value)).sum()
}

impl Step {
    fn key(&self) -> Key {
        let instance = self.attributes.get(INSTANCE).map(|instance| match instance {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        (self.case_id.clone(), self.activity.clone(), instance)
    }

    /// About the bytes that the step holds. Its texts are also in its key.
    fn bytes(&self) -> usize {
        let texts = self.case_id.len() + self.activity.len();
        let resource = self.resource.as_ref().map_or(0, String::len);
        STEP_BYTES + 2 * (texts + resource) + members_bytes(&self.attributes)
    }

    fn is(&self, transition: &str) -> bool {
        let stated = self.attributes.get(TRANSITION).and_then(Value::as_str);
        stated.is_some_and(|stated| stated.trim().eq_ignore_ascii_case(transition))
    }

    /// Merges the event `start` into this one. Attributes of the start that differ from those of the end get the prefix
    /// `start:`.
    fn since(mut self, start: Self) -> Self {
        self.started_us = Some(start.ended_us);
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
        let place = self.place;
        let attributes = match self.attributes.is_empty() {
            true => String::new(),
            false => Value::Object(self.attributes).to_string(),
        };
        // Attributes of the trace are in every step, so bytes in the source would be too few.
        let resource = self.resource.as_ref().map_or(0, String::len);
        let bytes = self.case_id.len() + self.activity.len() + resource + attributes.len();
        let attributes = match attributes.is_empty() {
            true => Slot::Null,
            false => Slot::Text(attributes.into()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::read::ReadOptions;
    use crate::read::mapped::columns_of;

    fn table() -> RowTable {
        let columns = columns_of("workflow_steps", &COLUMNS).unwrap();
        RowTable::new("f", &columns, &ReadOptions::default()).unwrap()
    }

    fn event(transition: &str, number: u64, note: &str) -> Step {
        let mut attributes = Map::new();
        attributes.insert(TRANSITION.to_owned(), transition.into());
        attributes.insert("note".to_owned(), note.into());
        Step {
            case_id: "c".to_owned(),
            activity: "check".to_owned(),
            started_us: None,
            ended_us: number as i64,
            resource: None,
            attributes,
            place: Place { row: number, line: 0 },
        }
    }

    #[test]
    fn open_steps_are_bounded_by_their_bytes() {
        let (mut steps, mut table, mut written) = (Steps::default(), table(), 0);
        let note = "x".repeat(1024 * 1024);
        for number in 1..=200 {
            steps.push(event("start", number, &note), &mut table).unwrap();
            assert!(steps.bytes <= BEGUN_BYTES_MAX, "{}", steps.bytes);
            if table.is_full() {
                written += table.take_chunk().unwrap().unwrap().batch.num_rows();
            }
        }
        assert_eq!(steps.begun.len(), 63);
        steps.finish(&mut table).unwrap();
        written += table.take_chunk().unwrap().unwrap().batch.num_rows();
        assert_eq!((written, steps.bytes, steps.by_key.len()), (200, 0, 0));
    }

    #[test]
    fn a_table_counts_the_bytes_of_attributes_that_every_step_repeats() {
        let (mut steps, mut table) = (Steps::default(), table());
        let note = "x".repeat(16 * 1024 * 1024);
        for number in 1..=16 {
            assert!(!table.is_full());
            steps.push(event("assign", number, &note), &mut table).unwrap();
        }
        assert!(table.is_full());
    }

    #[test]
    fn many_open_steps_of_one_activity_take_no_quadratic_time() {
        const COUNT: u64 = 60_000;
        let (mut steps, mut table) = (Steps::default(), table());
        let begun = std::time::Instant::now();
        for number in 0..COUNT {
            steps.push(event("start", number, ""), &mut table).unwrap();
        }
        // No start has the resource of its end, so that a linear search passes all others.
        for number in (0..COUNT).rev() {
            let mut end = event("complete", COUNT + number, "");
            end.resource = Some("bob".to_owned());
            steps.push(end, &mut table).unwrap();
            if table.is_full() {
                table.take_chunk().unwrap();
            }
        }
        assert!(steps.begun.is_empty() && steps.by_key.is_empty() && steps.bytes == 0);
        // Seconds; a linear search took minutes.
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
