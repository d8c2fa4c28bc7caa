//! What a selection shows where its rows are answered in columns, as CSV, lines of JSON or Arrow, and what then has no place in it.

use std::collections::BTreeSet;

use async_graphql::SelectionField;
use datasets::ColumnType;
use engine::{DataFrame, Error, Result, Session, Version};

use super::group_marks::EARLIER;
use super::groups::{WITH, argument_of, other_column};
use super::node::NODE_ID;
use super::related::RELATED;
use crate::error::bad_input;
use crate::names::camel;
use crate::plan::computed::{Computed, Measured};
use crate::plan::grouping::{Earlier, FILLED, HAS_EARLIER, RANK, total_name};
use crate::plan::groups::{GroupsRequest, key_name};
use crate::plan::measures::{Family, Measure};
use crate::plan::page::{PageRequest, Way};
use crate::plan::shown::{Part, Shown, ShownValue};
use crate::plan::streamed::plan_page;
use crate::request::RequestState;
use crate::rows::{GivenRows, Source};
use crate::shape::Shape;

const NODES: &str = "nodes";
const COUNT: &str = "count";

/// Fields of a selection; those under one key of the answer are parts of one.
fn merged<'a>(
    fields: impl Iterator<Item = SelectionField<'a>>,
) -> Vec<(String, Vec<SelectionField<'a>>)> {
    let mut all: Vec<(String, Vec<SelectionField<'a>>)> = Vec::new();
    for field in fields {
        let key = field.alias().unwrap_or(field.name());
        match all.iter_mut().find(|(known, _)| known == key) {
            Some((_, same)) => same.push(field),
            None => all.push((key.to_owned(), vec![field])),
        }
    }
    all
}

/// What is selected within fields that are one.
fn within<'a>(fields: &[SelectionField<'a>]) -> Vec<(String, Vec<SelectionField<'a>>)> {
    merged(fields.iter().flat_map(SelectionField::selection_set))
}

/// The fields of the rows that a root field selects, which selects nothing else.
fn rows_of<'a>(root: &SelectionField<'a>) -> Result<Vec<(String, Vec<SelectionField<'a>>)>> {
    let mut nodes = Vec::new();
    for field in root.selection_set() {
        if field.name() != NODES {
            return Err(bad_input(format!(
                "{0}.{1}: rows alone are answered in this form; expected {0} {{ nodes {{ … }} }} and nothing beside nodes. The \
                 version, whether there are more rows, and the cursor of the last are in the answer's headers",
                root.name(),
                field.name()
            )));
        }
        nodes.push(field);
    }
    Ok(within(&nodes))
}

fn not_shown(root: &str, field: &str) -> Error {
    let why = match field {
        RELATED => "relations are answered as JSON only",
        NODE_ID => "ids of rows are answered as JSON only",
        _ => "columns alone are answered in this form",
    };
    bad_input(format!("{root}.nodes.{field}: {why}; expected columns of the dataset"))
}

/// The columns that a selection of rows of `shape` shows.
fn columns_of(shape: &Shape, root: &SelectionField<'_>) -> Result<(BTreeSet<usize>, Vec<Shown>)> {
    let (mut used, mut all) = (BTreeSet::new(), Vec::new());
    for (key, fields) in rows_of(root)? {
        let name = fields.first().map_or("", SelectionField::name);
        let position = shape.position(name);
        let column = position.and_then(|at| Some((at, shape.columns.get(at)?)));
        let (at, column) = column.ok_or_else(|| not_shown(root.name(), name))?;
        used.insert(at);
        let parts = parts_of(&column.kind, &fields)
            .map_err(|error| error.while_doing(format_args!("{}.nodes.{name}", root.name())))?;
        let (name, kind) = (column.name.clone(), column.kind.clone());
        all.push(Shown { key, value: ShownValue::Column { name, kind, parts } });
    }
    Ok((used, all))
}

/// The parts that are selected of values of type `kind`. As deep as the query, which is bounded.
fn parts_of(kind: &ColumnType, fields: &[SelectionField<'_>]) -> Result<Vec<Part>> {
    let text = ColumnType::Text;
    let place = |name: &str| match kind {
        ColumnType::Struct(of) => {
            let at = of.iter().position(|field| camel(&field.name) == name)?;
            Some((at, &of[at].data_type))
        }
        ColumnType::Map(_) if name == "key" => Some((0, &text)),
        ColumnType::Map(value) if name == "value" => Some((1, value.as_ref())),
        _ => None,
    };
    if let ColumnType::List(item) = kind {
        return parts_of(item, fields);
    }
    let part = |(key, fields): (String, Vec<SelectionField<'_>>)| {
        let name = fields.first().map_or("", SelectionField::name);
        let (at, kind) = place(name)
            .ok_or_else(|| bad_input(format!("{name}: expected a part of the column's values")))?;
        Ok(Part { key, at, parts: parts_of(kind, &fields)? })
    };
    within(fields).into_iter().map(part).collect()
}

/// Plans the page that is asked for, of rows of `table`, and gives it to who answers.
pub(super) async fn give_page(
    state: &RequestState,
    session: &Session,
    table: DataFrame,
    shape: &Shape,
    request: PageRequest,
    root: &SelectionField<'_>,
) -> Result<()> {
    if request.way == Way::Backward {
        return Err(bad_input(
            "`last` and `before` are answered as JSON only; expected `first` and `after`",
        ));
    }
    let (columns, shown) = columns_of(shape, root)?;
    let request = PageRequest { columns, kept: BTreeSet::new(), ..request };
    let page = plan_page(session, table, shape, &request, state.holding()).await?;
    state.rows.give(GivenRows {
        dataset: shape.name.to_string(),
        version: request.version,
        rows: page.rows,
        has_next: page.has_next,
        end_cursor: page.end_cursor,
        shown,
        source: Source::Plan { session: session.clone(), frame: page.frame, skip: page.skip },
    });
    Ok(())
}

/// Reads the groups that are asked for, of rows of `table`, and gives them to who answers. They are there whole: that there are fewer of
/// them than rows is what groups are for.
pub(super) async fn give_groups(
    state: &RequestState,
    reading: (&Session, Version),
    table: DataFrame,
    shape: &Shape,
    asked: (&GroupsRequest, usize),
    root: &SelectionField<'_>,
) -> Result<()> {
    let ((session, version), (request, first)) = (reading, asked);
    let shown = groups_of(shape, request, root)?;
    let batch = request.collect(session, shape, table, first, state.holding()).await?;
    // They are held until the client has them.
    state.holding().hold(batch.get_array_memory_size())?;
    let rows = batch.num_rows().min(first);
    state.rows.give(GivenRows {
        dataset: shape.name.to_string(),
        version,
        rows,
        has_next: batch.num_rows() > first,
        end_cursor: None,
        shown,
        source: Source::Batch(batch.slice(0, rows), session.pieces()),
    });
    Ok(())
}

/// The columns that a selection of groups shows.
fn groups_of(
    shape: &Shape,
    asked: &GroupsRequest,
    root: &SelectionField<'_>,
) -> Result<Vec<Shown>> {
    let keys: Vec<usize> = asked.keys().collect();
    let mut all = Vec::new();
    for (key, fields) in rows_of(root)? {
        let name = fields.first().map_or("", SelectionField::name);
        let filter = asked.filter(&key);
        let of_key = || {
            let column = shape.all().find(|(_, column)| column.in_group() == name);
            column.filter(|(at, _)| keys.contains(at))
        };
        let earlier = EARLIER.iter().find(|(known, ..)| *known == name).map(|(_, which, _)| *which);
        let value = match (name, earlier, Measure::named(name)) {
            (COUNT, ..) => computed(shape, &Computed::rows(filter)),
            ("isOther", ..) if asked.has_top() => Some(ShownValue::IsNull(RANK)),
            ("isOther", ..) => Some(ShownValue::IsAny(vec![])),
            ("isTotal", ..) => {
                let totals = keys.iter().filter(|_| asked.has_totals());
                Some(ShownValue::IsAny(totals.map(|key| total_name(*key)).collect()))
            }
            ("isFilled", ..) => {
                let filled = asked.is_filled().then(|| FILLED.to_owned());
                Some(ShownValue::IsAny(filled.into_iter().collect()))
            }
            ("grouping", ..) => {
                let named = |(at, column): (usize, &crate::shape::Column)| {
                    let total = asked.has_totals().then(|| total_name(at));
                    keys.contains(&at).then(|| (column.in_enum(), total))
                };
                Some(ShownValue::Names(shape.all().filter_map(named).collect()))
            }
            (_, Some(which), _) => Some(earlier_of(shape, which, &fields)?),
            (_, _, Some(measure)) => Some(measured(shape, measure, &fields, |column, with| {
                let of = Computed { of: Measured::Column { measure, column, with }, filter };
                computed(shape, &of)
            })?),
            _ => match shape.declared(name) {
                Some(number) => computed(shape, &Computed::declared(number, filter)),
                None => of_key().map(|(at, column)| column_of(key_name(at), column.kind.clone())),
            },
        };
        let value = value.ok_or_else(|| {
            bad_input(format!(
                "{}.nodes.{name}: expected `count`, a key of the groups, or a measure",
                root.name()
            ))
        })?;
        all.push(Shown { key, value });
    }
    Ok(all)
}

fn column_of(name: String, kind: ColumnType) -> ShownValue {
    ShownValue::Column { name, kind, parts: vec![] }
}

fn computed(shape: &Shape, of: &Computed) -> Option<ShownValue> {
    Some(column_of(of.name(), of.result(shape)?))
}

/// The columns of a measure, as one structure.
fn measured(
    shape: &Shape,
    measure: &Measure,
    fields: &[SelectionField<'_>],
    value: impl Fn(usize, Option<usize>) -> Option<ShownValue>,
) -> Result<ShownValue> {
    let field = |(key, fields): (String, Vec<SelectionField<'_>>)| {
        let no = |name: &str| {
            bad_input(format!("{}.{name}: expected a column of the dataset", measure.field))
        };
        let Some(of) = fields.first() else { return Err(no("")) };
        let column = shape.position(of.name()).ok_or_else(|| no(of.name()))?;
        let with = match measure.family {
            Family::Pairs => Some(other_column(shape, argument_of(of, WITH)?.as_ref())?),
            _ => None,
        };
        let value = value(column, with).ok_or_else(|| no(of.name()))?;
        Ok(Shown { key, value })
    };
    let fields = within(fields).into_iter().map(field).collect::<Result<_>>()?;
    Ok(ShownValue::Object { fields, is_there: None })
}

/// What is shown of the part of time before, which is null where that has no rows.
fn earlier_of(shape: &Shape, which: Earlier, fields: &[SelectionField<'_>]) -> Result<ShownValue> {
    let value = |of: Computed| Some(column_of(which.name(&of), which.result(shape, &of)?));
    let field = |(key, fields): (String, Vec<SelectionField<'_>>)| {
        let name = fields.first().map_or("", SelectionField::name);
        let value = match Measure::named(name) {
            Some(measure) => Some(measured(shape, measure, &fields, |column, with| {
                value(Computed { of: Measured::Column { measure, column, with }, filter: None })
            })?),
            None if name == COUNT => value(Computed::rows(None)),
            None => shape.declared(name).and_then(|it| value(Computed::declared(it, None))),
        };
        let value =
            value.ok_or_else(|| bad_input(format!("{name}: expected `count`, or a measure")))?;
        Ok(Shown { key, value })
    };
    let fields = within(fields).into_iter().map(field).collect::<Result<_>>()?;
    Ok(ShownValue::Object { fields, is_there: Some(HAS_EARLIER) })
}
