//! What people answered: which side is right, or what else holds.

use std::collections::HashMap;

use arrow::array::{Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{cast, ident};
use datasets::DatasetName;
use engine::{Code, Error, Result, Session};
use futures::StreamExt;

use super::NAME;
use crate::run::context::RunContext;
use crate::tables::columns::texts;
use crate::tables::input::{InputTable, NAMES, is_name, is_text};

/// Answers that are held, at most.
const ANSWERS_MAX: usize = 1_000_000;
const COLUMNS: [&str; 3] = ["key", "column_name", "choice"];
/// Answers that are not understood and told, at most.
const EXAMPLES_MAX: usize = 5;
/// What holds, where neither side is right.
const VALUE: &str = "value";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Left,
    Right,
    Value(Option<String>),
}

/// All of them, by key and column.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by: HashMap<(String, String), Option<Answer>>,
    /// Those that choose what there is not to choose.
    pub(super) not_understood: u64,
    /// What the first of them say.
    pub(super) examples: Vec<String>,
    /// Those that contradict another one: what they are about stays open.
    pub(super) contradicting: u64,
}

/// Keeps the first few of those that are not understood.
pub(super) fn example(examples: &mut Vec<String>, [key, column]: &[String; 2], says: &str) {
    if examples.len() < EXAMPLES_MAX {
        examples.push(format!("key {:?}, column {:?}: {says}", shown(key), shown(column)));
    }
}

/// The beginning of a text.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

pub(super) async fn check<'a>(
    session: &Session,
    answers: &'a DatasetName,
) -> Result<InputTable<'a>> {
    let table = InputTable::open(session, NAME, answers).await?;
    table.check("answers", COLUMNS[0], NAMES, is_name)?;
    for column in &COLUMNS[1..] {
        table.check("answers", column, "a text", is_text)?;
    }
    Ok(table)
}

impl Answers {
    pub(super) async fn read(ctx: &RunContext, dataset: Option<&DatasetName>) -> Result<Self> {
        let mut answers = Self::default();
        let Some(dataset) = dataset else { return Ok(answers) };
        let frame = check(ctx.session(), dataset).await?.frame;
        let has_value = frame.schema().fields().iter().any(|field| field.name() == VALUE);
        let wanted = COLUMNS.into_iter().chain(has_value.then_some(VALUE));
        let wanted: Vec<_> = wanted.map(|name| cast(ident(name), DataType::Utf8)).collect();
        let mut batches = ctx.session().stream(frame.select(wanted)?).await?;
        let mut bytes = 0;
        while let Some(batch) = batches.next().await.transpose()? {
            ctx.check()?;
            let [keys, columns, choices] =
                [texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?];
            let values = has_value.then(|| texts(&batch, 3)).transpose()?;
            for row in 0..batch.num_rows() {
                let value = |of: &StringArray| of.is_valid(row).then(|| of.value(row).to_owned());
                answers.add(
                    [value(&keys), value(&columns), value(&choices)],
                    has_value,
                    values.as_ref().and_then(value),
                );
            }
            bytes += batch.get_array_memory_size();
            if bytes > ctx.memory_budget_bytes() / 4 {
                let says = format!(
                    "{NAME}: expected answers that fit in a quarter of the run's memory; take a larger budget"
                );
                return Err(Error::user(Code::ResourcesExhausted, says));
            }
            if answers.by.len() > ANSWERS_MAX {
                let says = format!("{NAME}: expected at most {ANSWERS_MAX} answers, found more");
                return Err(Error::user(Code::LimitExceeded, says));
            }
        }
        Ok(answers)
    }

    fn add(
        &mut self,
        [key, column, choice]: [Option<String>; 3],
        has_value: bool,
        value: Option<String>,
    ) {
        let answer = match choice.as_deref() {
            Some("left") => Some(Answer::Left),
            Some("right") => Some(Answer::Right),
            Some("value") if has_value => Some(Answer::Value(value)),
            _ => None,
        };
        let (key, column, answer) = match (key, column, answer) {
            (Some(key), Some(column), Some(answer)) => (key, column, answer),
            (key, column, _) => {
                self.not_understood += 1;
                let says = choice.unwrap_or_default();
                let about = [key, column].map(Option::unwrap_or_default);
                example(&mut self.examples, &about, &format!("choice {:?}", shown(&says)));
                return;
            }
        };
        let known = self.by.entry((key, column)).or_insert_with(|| Some(answer.clone()));
        if known.as_ref() != Some(&answer) {
            *known = None;
            self.contradicting += 1;
        }
    }

    /// About how many keys and columns there are some.
    pub(super) fn len(&self) -> u64 {
        self.by.len() as u64
    }

    pub(super) fn of(&self, key: &str, column: &str) -> Option<&Answer> {
        if self.by.is_empty() {
            return None;
        }
        self.by.get(&(key.to_owned(), column.to_owned()))?.as_ref()
    }
}
