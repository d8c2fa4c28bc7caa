//! Tickets: requests of ten kinds, some of them sent again, word for word or with small changes.
//!
//! Two tickets that are no duplicates share at most a topic's phrases: each names a product, a place, a
//! reference, details and a stack of its own. A planted group has two to five members; the first is the original, the
//! others are copies, every second of them with edits (a greeting, a typing mistake, another closing).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, TimestampMicrosecondBuilder};

use super::random::RowRng;
use super::rhythm::{HOUR_US, Rhythm};
use super::truth::Truth;
use super::words::{CLOSINGS, CONTEXTS, OPENINGS, PLACES, PRODUCTS, TOPICS, Topic};
use super::{GeneratorOptions, Rows, SPAN_DAYS, timestamps};
use crate::error::Result;

/// One group of duplicates per this many rows.
const ROWS_PER_GROUP: u64 = 60;
const GROUPS_MAX: u64 = 20_000;
const CHANNELS: [&str; 4] = ["email", "chat", "web", "phone"];
const PRIORITIES: [&str; 4] = ["low", "normal", "high", "urgent"];
const MINUTE_US: i64 = 60_000_000;

/// A row that repeats another one.
struct Copy {
    of: u64,
    /// 0 for the same words; else which edit.
    edit: usize,
}

struct Tickets {
    seed: u64,
    rhythm: Rhythm,
    row: u64,
    copies: HashMap<u64, Copy>,
}

pub(super) fn plan(options: &GeneratorOptions) -> (Box<dyn Rows>, Truth) {
    let mut truth = Truth::default();
    let mut copies = HashMap::new();
    let groups = (options.rows / ROWS_PER_GROUP).min(GROUPS_MAX);
    for group in 0..groups {
        let mut draw = RowRng::new(options.seed ^ 0xD0B5, group);
        // Groups take turns within a stretch of rows, so that members never meet another group's.
        let start = group * ROWS_PER_GROUP;
        let original = start + draw.below(10) as u64;
        let mut members = vec![id(original)];
        let mut row = original;
        for member in 0..1 + draw.below(4) {
            row += 1 + draw.below(11) as u64;
            let edit = if member % 2 == 0 { 1 + draw.below(4) } else { 0 };
            // The first copy of every other group is word for word.
            let edit = if member == 0 && group % 2 == 0 { 0 } else { edit };
            copies.insert(row, Copy { of: original, edit });
            members.push(id(row));
        }
        truth.duplicates.push(members);
    }
    let rhythm = Rhythm::new(SPAN_DAYS * 24, options.rows, |_| 1.0);
    (Box::new(Tickets { seed: options.seed, rhythm, row: 0, copies }), truth)
}

fn id(row: u64) -> String {
    format!("ticket-{row:08}")
}

struct Text {
    topic: &'static Topic,
    subject: &'static str,
    body: String,
}

/// The words of an original ticket.
fn compose(seed: u64, row: u64) -> Text {
    let mut draw = RowRng::new(seed ^ 0x7E87, row);
    let topic = &TOPICS[draw.below(TOPICS.len())];
    let product = draw.pick(&PRODUCTS);
    let reference = format!("{:04X}-{:05}", draw.below(65_536), draw.below(100_000));
    let first = draw.below(topic.details.len());
    let second = (first + 1 + draw.below(topic.details.len() - 1)) % topic.details.len();
    let body = format!(
        "{} {}. {} {} Reference {reference}, seen {} times since day {}. {} {} {}",
        draw.pick(&OPENINGS),
        draw.pick(&topic.problems).replace("{}", product),
        draw.pick(&CONTEXTS).replace("{}", draw.pick(&PLACES)),
        topic.details[first],
        2 + draw.below(90),
        1 + draw.below(28),
        topic.details[second],
        stack(seed, row),
        draw.pick(&CLOSINGS),
    );
    Text { topic, subject: draw.pick(&topic.subjects), body }
}

/// What only this ticket has: the addresses of a stack. Two tickets may draw the same phrases; with these words in
/// each, less than three quarters of their words are shared even then.
fn stack(seed: u64, row: u64) -> String {
    let mut draw = RowRng::new(seed ^ 0x7ACE, row);
    let addresses: Vec<String> = (0..8).map(|_| format!("{:08x}", draw.next() >> 32)).collect();
    format!("Stack {}.", addresses.join(" "))
}

/// The same words, a little changed.
fn edit(body: &str, edit: usize, draw: &mut RowRng) -> String {
    match edit {
        0 => body.to_owned(),
        1 => format!("{body} This is my second message about it."),
        2 => {
            let (_, rest) = body.split_once(' ').unwrap_or(("", body));
            format!("{} {rest}", draw.pick(&OPENINGS))
        }
        3 => swap_letters(body, draw),
        _ => body.to_lowercase(),
    }
}

/// Two neighbouring letters change places: the commonest typing mistake.
fn swap_letters(body: &str, draw: &mut RowRng) -> String {
    let mut letters: Vec<char> = body.chars().collect();
    for _ in 0..2 {
        let at = draw.below(letters.len().saturating_sub(1).max(1));
        if at + 1 < letters.len() {
            letters.swap(at, at + 1);
        }
    }
    letters.into_iter().collect()
}

impl Rows for Tickets {
    fn next_columns(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let text = |bytes: usize| StringBuilder::with_capacity(count, count * bytes);
        let (mut ids, mut channels, mut subjects, mut bodies) =
            (text(16), text(6), text(24), text(430));
        let (mut languages, mut labels, mut priorities, mut teams) =
            (text(2), text(12), text(6), text(10));
        let mut created = Vec::with_capacity(count);
        let mut resolved = TimestampMicrosecondBuilder::with_capacity(count).with_timezone("UTC");
        for _ in 0..count {
            let mut draw = RowRng::new(self.seed, self.row);
            let us = self.rhythm.at_us(self.row, draw.unit());
            let copy = self.copies.get(&self.row);
            let words = compose(self.seed, copy.map_or(self.row, |copy| copy.of));
            ids.append_value(id(self.row));
            channels.append_value(draw.pick(&CHANNELS));
            subjects.append_value(words.subject);
            bodies.append_value(match copy {
                Some(copy) => edit(&words.body, copy.edit, &mut draw),
                None => words.body,
            });
            languages.append_value("en");
            // Not every ticket has been looked at yet.
            labels.append_option((draw.unit() < 0.8).then_some(words.topic.label));
            let priority = draw.below(10);
            priorities.append_value(PRIORITIES[[1, 1, 1, 1, 0, 0, 2, 2, 2, 3][priority]]);
            teams.append_value(words.topic.team);
            created.push(us);
            let hours = 2.0 + 30.0 * -(1.0 - draw.unit()).ln();
            let open = draw.unit() < 0.12;
            resolved.append_option(
                (!open).then(|| us + (hours * HOUR_US as f64) as i64 / MINUTE_US * MINUTE_US),
            );
            self.row += 1;
        }
        Ok(vec![
            Arc::new(ids.finish()),
            timestamps(created),
            Arc::new(channels.finish()),
            Arc::new(subjects.finish()),
            Arc::new(bodies.finish()),
            Arc::new(languages.finish()),
            Arc::new(labels.finish()),
            Arc::new(priorities.finish()),
            Arc::new(teams.finish()),
            Arc::new(resolved.finish()),
        ])
    }
}
