//! Both sides key by key: what differs, and who is right.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::RecordBatch;
use engine::Result;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::answers::{Answer, Answers, example, shown};
use super::output::{Differences, Kind, Told};
use super::params::{Params, Wins};
use super::side::{Alike, Beside, Row, Side};
use super::totals::Totals;
use crate::run::context::check;
use crate::run::stage::Stage;
use crate::tables::flow::Making;

/// Rows that are handed on together.
const BATCH_ROWS: usize = 8_192;
/// And bytes of their texts.
const BATCH_BYTES: usize = 16 << 20;

/// Differences on their way to the commit.
pub(super) struct Comparing {
    pub(super) left: Side,
    pub(super) right: Side,
    /// The next key of each side.
    pub(super) next: [Option<(Row, u64)>; 2],
    pub(super) is_begun: bool,
    pub(super) differences: Differences,
    pub(super) answers: Answers,
    pub(super) params: Arc<Params>,
    pub(super) totals: Arc<Mutex<Totals>>,
    pub(super) cancellation: CancellationToken,
}

impl Making for Comparing {
    async fn next(&mut self, stage: &mut Stage) -> Result<Option<RecordBatch>> {
        check(&self.cancellation)?;
        if !self.is_begun {
            self.is_begun = true;
            self.next = [self.left.next_key().await?, self.right.next_key().await?];
        }
        let is_room = |of: &Differences| of.rows < BATCH_ROWS && of.bytes < BATCH_BYTES;
        while is_room(&self.differences) && self.step().await? {}
        let mut totals = self.totals.lock();
        totals.left_rows = self.left.read;
        totals.right_rows = self.right.read;
        totals.left_without_key = self.left.keyless;
        totals.right_without_key = self.right.keyless;
        stage.record.rows_in = self.left.read + self.right.read;
        stage.record.rows_out += self.differences.rows as u64;
        match self.differences.rows {
            0 => Ok(None),
            _ => self.differences.take().map(Some),
        }
    }
}

impl Comparing {
    /// Compares the next key; `false` where there is none.
    async fn step(&mut self) -> Result<bool> {
        let order = match &self.next {
            [None, None] => return Ok(false),
            [Some(_), None] => Ordering::Less,
            [None, Some(_)] => Ordering::Greater,
            [Some((left, _)), Some((right, _))] => left.cmp(right),
        };
        let mut take = async |side: usize| -> Result<Option<(Row, u64)>> {
            let next = match side {
                0 => self.left.next_key().await?,
                _ => self.right.next_key().await?,
            };
            Ok(std::mem::replace(&mut self.next[side], next))
        };
        let left = if order.is_le() { take(0).await? } else { None };
        let right = if order.is_ge() { take(1).await? } else { None };
        self.tell(left, right);
        Ok(true)
    }

    fn tell(&mut self, left: Option<(Row, u64)>, right: Option<(Row, u64)>) {
        let mut totals = self.totals.lock();
        let count = |of: &Option<(Row, u64)>| of.as_ref().map_or(0, |(_, count)| *count);
        let counts = [count(&left), count(&right)];
        let key = || left.as_ref().or(right.as_ref()).map(|(row, _)| row.key_text());
        if counts.iter().any(|count| *count > 1) {
            totals.repeated += 1;
            let kind = if counts[0] > 1 { Kind::RepeatedLeft } else { Kind::RepeatedRight };
            let [left, right] = counts.map(|count| Some(count.to_string()));
            let told = Told { left, right, ..Told::default() };
            self.differences.push(&key().unwrap_or_default(), kind, told);
            return;
        }
        let (left_row, right_row) = match (&left, &right) {
            (Some((left, _)), Some((right, _))) => (left, right),
            (Some(_), None) => {
                totals.missing_right += 1;
                let key = key().unwrap_or_default();
                return self.differences.push(&key, Kind::MissingRight, Told::default());
            }
            _ => {
                totals.missing_left += 1;
                let key = key().unwrap_or_default();
                return self.differences.push(&key, Kind::MissingLeft, Told::default());
            }
        };
        totals.matched += 1;
        let alike = Alike { trim: self.params.trim, ignore_case: self.params.ignore_case };
        let mut is_equal = true;
        let totals = &mut *totals;
        for (at, column) in totals.columns.iter_mut().enumerate() {
            let tolerance = self.params.tolerance(&column.name);
            let difference = match left_row.beside(at, right_row, tolerance, alike) {
                Beside::Equal => {
                    column.equal += 1;
                    continue;
                }
                Beside::Near => {
                    column.near += 1;
                    continue;
                }
                Beside::Apart(difference) => difference,
            };
            is_equal = false;
            column.differing += 1;
            let key = left_row.key_text();
            let mut answer = self.answers.of(&key, &column.name);
            if let Some(Answer::Value(Some(value))) = answer
                && let Err(expected) = left_row.takes(at, value)
            {
                answer = None;
                totals.misfits += 1;
                let says = format!("expected {expected}, found {:?}", shown(value));
                example(&mut totals.examples, &[key.clone(), column.name.clone()], &says);
            }
            totals.answered += u64::from(answer.is_some());
            let wins = self.params.wins(&column.name);
            let mut told = Told {
                column: &column.name,
                left: left_row.shown(at),
                right: right_row.shown(at),
                difference: difference.filter(|of| of.is_finite()),
                ..Told::default()
            };
            decide(&mut told, answer, wins, [left_row.at_us(), right_row.at_us()]);
            column.open += u64::from(told.is_open);
            totals.open += u64::from(told.is_open);
            self.differences.push(&key, Kind::Differs, told);
        }
        totals.differing += u64::from(!is_equal);
    }
}

/// Says what holds: what someone answered, or else what the rule says.
fn decide(
    told: &mut Told<'_>,
    answer: Option<&Answer>,
    wins: Option<Wins>,
    [left_us, right_us]: [Option<i64>; 2],
) {
    let by_rule = match wins {
        Some(Wins::Left) => Some("left"),
        Some(Wins::Right) => Some("right"),
        // One that has no instant, or the same, is not the newer one.
        Some(Wins::Newest) => match left_us.zip(right_us).map(|(left, right)| left.cmp(&right)) {
            Some(Ordering::Greater) => Some("left"),
            Some(Ordering::Less) => Some("right"),
            _ => None,
        },
        None => None,
    };
    let (winner, decided_by) = match answer {
        Some(Answer::Left) => (Some("left"), Some("answer")),
        Some(Answer::Right) => (Some("right"), Some("answer")),
        Some(Answer::Value(value)) => {
            told.value.clone_from(value);
            (Some("neither"), Some("answer"))
        }
        None => (by_rule, by_rule.map(|_| "rule")),
    };
    match winner {
        Some("left") => told.value.clone_from(&told.left),
        Some("right") => told.value.clone_from(&told.right),
        _ => {}
    }
    (told.winner, told.decided_by, told.is_open) = (winner, decided_by, decided_by.is_none());
}
