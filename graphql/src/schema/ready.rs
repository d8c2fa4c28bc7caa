//! Rows of a page as the text of the answer: where they show columns and nothing else, no field of theirs is resolved by itself, which
//! would take several times as long as all the rest of a long page.

use std::collections::HashSet;

use async_graphql::dynamic::ResolverContext;
use async_graphql::{Context, SelectionField, Value};
use engine::{Error, Result};
use tokio::task::yield_now;

use crate::counting::counted;
use crate::plan::page::Page;
use crate::request::RequestState;
use crate::shape::Shape;

/// Bytes that are written between two looks at how many there are.
const BYTES_AT_ONCE: usize = 64 << 10;

/// A field of a row: its key with all that stands before the value, and what the value is.
struct Shown {
    key: String,
    value: Of,
}

enum Of {
    /// That of a column.
    Column(usize),
    /// The type's name.
    Type,
}

/// Writes the rows of `page` for each `nodes` that is asked for, where all of them are plain; the page has no values then.
pub(super) async fn write_rows(
    context: &ResolverContext<'_>,
    state: &RequestState,
    shape: &Shape,
    page: &mut Page,
) -> Result<()> {
    // What is asked for twice under one key is put together by the library, which can not look into a text.
    let lists = if state.merges() { None } else { plain_lists(context.ctx, shape) };
    let Some(lists) = lists else { return Ok(()) };
    for (key, fields) in &lists {
        let text = written(state, shape, page, fields).await?;
        let path = context.ctx.path_node.map(|node| node.to_string_vec()).unwrap_or_default();
        state.keep_rows(path.into_iter().chain([key.clone()]).collect(), text);
    }
    page.columns.clear();
    Ok(())
}

/// The lists of rows that are asked for, by their keys in the answer; `None` where one of them has more than columns, or there is none.
fn plain_lists(context: &Context<'_>, shape: &Shape) -> Option<Vec<(String, Vec<Shown>)>> {
    let field = context.field();
    let mut lists: Vec<(String, Vec<Shown>)> = Vec::new();
    for list in field.selection_set() {
        match list.name() {
            "nodes" => {
                let key = list.alias().unwrap_or(list.name()).to_owned();
                if lists.iter().any(|(other, _)| *other == key) {
                    return None;
                }
                lists.push((key, plain_fields(&list, shape)?));
            }
            "edges" => return None,
            _ => {}
        }
    }
    (!lists.is_empty()).then_some(lists)
}

fn plain_fields(list: &SelectionField<'_>, shape: &Shape) -> Option<Vec<Shown>> {
    let (mut fields, mut keys) = (Vec::new(), HashSet::new());
    for field in list.selection_set() {
        let value = match field.name() {
            "__typename" => Of::Type,
            name => Of::Column(shape.position(name)?),
        };
        if field.selection_set().next().is_some() {
            return None;
        }
        let key = field.alias().unwrap_or(field.name());
        // That two of one key are the same was seen to when the document was.
        if keys.insert(key) {
            let separator = if fields.is_empty() { '{' } else { ',' };
            fields.push(Shown { key: format!("{separator}\"{key}\":"), value });
        }
    }
    (!fields.is_empty()).then_some(fields)
}

/// A text that grows, and whose bytes are counted as it does.
struct Written<'a> {
    state: &'a RequestState,
    text: Vec<u8>,
    counted: usize,
}

impl Written<'_> {
    /// Counts what was written, where that is much, and lets others have a turn: whoever waits for the answer may be gone, or its
    /// time be over, and an answer that has no more room ends here.
    async fn pause(&mut self, most: usize) -> Result<()> {
        let more = self.text.len() - self.counted;
        if more > most {
            self.state.holding().hold(more)?;
            counted(self.state, more).await;
            self.counted += more;
            yield_now().await;
        }
        Ok(())
    }
}

async fn written(
    state: &RequestState,
    shape: &Shape,
    page: &Page,
    fields: &[Shown],
) -> Result<String> {
    let missing = || Error::internal("a column that was not read is shown");
    let type_name = Value::from(shape.type_of("Row"));
    let mut rows = Written { state, text: vec![b'['], counted: 0 };
    for row in 0..page.rows {
        if row > 0 {
            rows.text.push(b',');
        }
        for field in fields {
            rows.text.extend_from_slice(field.key.as_bytes());
            let value = match field.value {
                Of::Column(column) => {
                    let values = page.columns.get(&column);
                    values.and_then(|values| values.get(row)).ok_or_else(missing)?
                }
                Of::Type => &type_name,
            };
            serde_json::to_writer(&mut rows.text, value)
                .map_err(|e| Error::internal(format!("a value as JSON: {e}")))?;
            rows.pause(BYTES_AT_ONCE).await?;
        }
        rows.text.push(b'}');
    }
    rows.text.push(b']');
    rows.pause(0).await?;
    String::from_utf8(rows.text).map_err(|e| Error::internal(format!("JSON as text: {e}")))
}
