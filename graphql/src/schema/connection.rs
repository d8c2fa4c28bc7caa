//! The field of a dataset: rows at one version, filtered, ordered and paged by Relay's convention.

use std::sync::Arc;

use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputObject, InputValue, Object, ResolverContext, TypeRef,
};
use async_graphql::{Lookahead, Value};
use engine::{AsOf, Result, Version};

use super::resolve::{argument, nullable, part, state, text_argument};
use super::row::{Columns, row_value, row_values, selected};
use super::scalars;
use crate::error::{bad_input, over_limit};
use crate::limits::Limits;
use crate::plan::as_of::as_of;
use crate::plan::cursor::{Cursor, fingerprint};
use crate::plan::order::terms;
use crate::plan::page::{Page, PageRequest, Way, count_rows, read_page};
use crate::plan::predicate::predicate;
use crate::request::RequestState;
use crate::shape::Shape;

/// The input type of `asOf`.
pub(crate) const AS_OF: &str = "AsOf";

struct Connection {
    version: Version,
    total: Option<u64>,
    page: Option<PageRef>,
}

#[derive(Clone)]
struct PageRef {
    page: Arc<Page>,
    columns: Arc<Columns>,
}

#[derive(Clone)]
struct EdgeRef {
    page: PageRef,
    row: usize,
}

/// Types that all datasets share.
pub(crate) fn shared_types() -> (Object, InputObject) {
    let page_info = Object::new("PageInfo")
        .description("Where a page stands.")
        .field(part("hasNextPage", TypeRef::named_nn(TypeRef::BOOLEAN), |page: &PageRef| {
            Ok(Value::from(page.page.has_next))
        })
            .description("Whether rows stand behind the page; of the rows before a cursor, that there is one."))
        .field(
            part("hasPreviousPage", TypeRef::named_nn(TypeRef::BOOLEAN), |page: &PageRef| {
                Ok(Value::from(page.page.has_previous))
            })
            .description("Whether rows stand before the page; of the rows behind a cursor, that there is one."),
        )
        .field(part("startCursor", TypeRef::named(TypeRef::STRING), |page: &PageRef| {
            page.cursor(0)
        }))
        .field(part("endCursor", TypeRef::named(TypeRef::STRING), |page: &PageRef| {
            page.cursor(page.page.rows.wrapping_sub(1))
        }));
    let as_of = InputObject::new(AS_OF)
        .oneof()
        .description("A version, by its number or as the newest at a time.")
        .field(InputValue::new("version", TypeRef::named(TypeRef::INT)))
        .field(InputValue::new("time", TypeRef::named(scalars::DATE_TIME)));
    (page_info, as_of)
}

/// `ModelCallsConnection` and `ModelCallsEdge`.
pub(crate) fn connection_types(shape: &Shape) -> [Object; 2] {
    let row = shape.type_of("Row");
    let edge = Object::new(shape.type_of("Edge"))
        .description("A row and its cursor.")
        .field(part("cursor", TypeRef::named_nn(TypeRef::STRING), |edge: &EdgeRef| {
            edge.page.cursor(edge.row)
        }))
        .field(Field::new("node", TypeRef::named_nn(&row), |context| {
            let edge = context.parent_value.try_downcast_ref::<EdgeRef>();
            match edge {
                Ok(edge) => FieldFuture::Value(Some(row_value(&edge.page.columns, edge.row))),
                Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
            }
        }));
    let connection = Object::new(shape.type_of("Connection"))
        .description(format!("Rows of {} at one version.", shape.name))
        .field(
            part("version", TypeRef::named_nn(TypeRef::INT), |c: &Connection| {
                Ok(Value::from(c.version.0))
            })
            .description("The version that all of this is read from."),
        )
        .field(
            part("totalCount", TypeRef::named_nn(scalars::BIG_INT), |c: &Connection| {
                Ok(c.total.map_or(Value::Null, |total| Value::from(total.to_string())))
            })
            .description("Rows that `where` takes, on all pages. Computed only when selected."),
        )
        .field(Field::new("pageInfo", TypeRef::named_nn("PageInfo"), |context| {
            with_page(&context, |page| FieldValue::owned_any(page.clone()))
        }))
        .field(Field::new("edges", TypeRef::named_nn_list_nn(edge.type_name()), |context| {
            with_page(&context, |page| {
                let edge = |row| FieldValue::owned_any(EdgeRef { page: page.clone(), row });
                FieldValue::list((0..page.page.rows).map(edge))
            })
        }))
        .field(Field::new("nodes", TypeRef::named_nn_list_nn(&row), |context| {
            with_page(&context, |page| FieldValue::list(row_values(&page.columns, page.page.rows)))
        }));
    [connection, edge]
}

fn with_page<'a>(
    context: &ResolverContext<'a>,
    show: impl Fn(&PageRef) -> FieldValue<'a>,
) -> FieldFuture<'a> {
    let connection = context.parent_value.try_downcast_ref::<Connection>();
    FieldFuture::Value(connection.ok().and_then(|c| c.page.as_ref()).map(show))
}

impl PageRef {
    fn cursor(&self, row: usize) -> Result<Value> {
        match row < self.page.rows {
            true => Ok(Value::from(self.page.cursor(row)?)),
            false => Ok(Value::Null),
        }
    }
}

/// The query field `modelCalls`.
pub(crate) fn connection_field(shape: &Arc<Shape>, limits: &Limits) -> Field {
    let field = Field::new(&shape.field, TypeRef::named(shape.type_of("Connection")), {
        let shape = shape.clone();
        move |context| {
            let (shape, inner) = (shape.clone(), context.ctx);
            nullable(inner, async move {
                Ok(Some(FieldValue::owned_any(read(&context, &shape).await?)))
            })
        }
    });
    let mut field = with_reading_arguments(field, shape)
        .description(format!("Rows of {}. {}", shape.name, shape.description))
        .argument(first_argument(limits))
        .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)).description(
            "A cursor; the page begins behind its row, at the version that the cursor is from.",
        ))
        .argument(InputValue::new("last", TypeRef::named(TypeRef::INT)).description(
            "The last rows, so many at most, of all or of those before a cursor, instead of the first.",
        ))
        .argument(InputValue::new("before", TypeRef::named(TypeRef::STRING)).description(
            "A cursor; the page ends before its row, at the version that the cursor is from.",
        ));
    if shape.columns.iter().any(|column| column.is_sortable()) {
        field = field.argument(
            InputValue::new("orderBy", TypeRef::named_nn_list(shape.type_of("OrderBy"))).description(
                "Columns to order by, first first. The key is added at the end; without key and \
                 orderBy it is the time column.",
            ),
        );
    }
    field
}

/// The arguments `where` and `asOf`.
pub(crate) fn with_reading_arguments(field: Field, shape: &Shape) -> Field {
    field.argument(InputValue::new("where", TypeRef::named(shape.type_of("Where")))).argument(
        InputValue::new("asOf", TypeRef::named(AS_OF))
            .description("The version to read; the newest when absent."),
    )
}

/// The argument `first`.
pub(crate) fn first_argument(limits: &Limits) -> InputValue {
    InputValue::new("first", TypeRef::named(TypeRef::INT)).description(format!(
        "Rows at most: {} when absent, {} at most.",
        limits.page_rows_default, limits.page_rows_max
    ))
}

/// Reads `first` against the limits.
pub(crate) fn first(value: Option<&Value>, limits: &Limits) -> Result<usize> {
    rows_asked("first", value, limits)
}

fn rows_asked(name: &str, value: Option<&Value>, limits: &Limits) -> Result<usize> {
    let rows = match value {
        None => return Ok(limits.page_rows_default),
        Some(Value::Number(number)) => number.as_u64().and_then(|n| usize::try_from(n).ok()),
        Some(_) => None,
    };
    match rows {
        None => Err(bad_input(format!("{name}: expected a number of rows, 0 or more"))),
        Some(rows) if rows > limits.page_rows_max => {
            Err(over_limit(&format!("{name} (rows of one page)"), limits.page_rows_max, rows))
        }
        Some(rows) => Ok(rows),
    }
}

/// Which rows a page is of, and the cursor that it goes on from, as text.
fn asked_page(
    context: &ResolverContext<'_>,
    limits: &Limits,
) -> Result<(Way, usize, Option<String>)> {
    let given = |name| argument(context, name).filter(|value| *value != Value::Null);
    let (first, last) = (given("first"), given("last"));
    let (after, before) = (text_argument(context, "after"), text_argument(context, "before"));
    let of_two = match (&first, &last, &after, &before) {
        (Some(_), Some(_), ..) => "`first` and `last`",
        (Some(_), _, _, Some(_)) => "`first` and `before`",
        (_, Some(_), Some(_), _) => "`last` and `after`",
        (_, _, Some(_), Some(_)) => "`after` and `before`",
        (_, last, _, before) => {
            return Ok(match last.is_some() || before.is_some() {
                true => (Way::Backward, rows_asked("last", last.as_ref(), limits)?, before.clone()),
                false => (Way::Forward, rows_asked("first", first.as_ref(), limits)?, after),
            });
        }
    };
    Err(bad_input(format!(
        "{of_two} ask for two pages; expected `first` and `after`, or `last` and `before`"
    )))
}

async fn read(context: &ResolverContext<'_>, shape: &Arc<Shape>) -> Result<Connection> {
    let state = state(context.ctx)?;
    let limits = &state.service().limits;
    let filter = argument(context, "where");
    let terms = terms(shape, argument(context, "orderBy").as_ref())?;
    let question = fingerprint(&[
        shape.name.as_str(),
        &filter.as_ref().map(Value::to_string).unwrap_or_default(),
        &format!("{terms:?}"),
    ]);
    let kinds: Vec<_> = terms.iter().map(|t| shape.columns[t.column].kind.clone()).collect();
    let (way, rows, from) = asked_page(context, limits)?;
    let from = match from {
        None => None,
        Some(text) => {
            let cursor = Cursor::decode(&text, &kinds);
            let cursor = cursor.and_then(|cursor| cursor.of_question(&question));
            Some(cursor.map_err(|error| bad_input(format!("{}: {error}", way.cursor_name())))?)
        }
    };
    let asked = as_of(argument(context, "asOf").as_ref())?;
    let pin = match &from {
        Some(cursor) => continued_at(cursor, &asked, way)?,
        None => asked,
    };
    let session = state.session(&shape.name, &pin).await?;
    let table = session.table_of_today(&shape.name).await?;
    let version = state.version_of(&session, &shape.name)?;
    if let (Some(cursor), AsOf::Time(_)) = (&from, &asked) {
        let at_time = state.session(&shape.name, &asked).await?;
        at_time.table(&shape.name).await?;
        if state.version_of(&at_time, &shape.name)? != cursor.version {
            return Err(another_version(cursor, way));
        }
    }
    let request = PageRequest {
        version,
        question,
        predicate: predicate(shape, filter.as_ref(), limits)?,
        terms,
        way,
        from,
        rows,
        columns: shown(shape, &context.ctx.look_ahead()),
    };
    let looking = context.ctx.look_ahead();
    let total = match looking.field("totalCount").exists() {
        true => Some(count_rows(&session, table.clone(), request.predicate.as_ref()).await?),
        false => None,
    };
    let is_shown = ["nodes", "edges", "pageInfo"].iter().any(|f| looking.field(f).exists());
    let page = match is_shown {
        true => Some(read_page(&session, table, shape, &request, state.holding()).await?),
        false => None,
    };
    let page = page.map(|page| page_ref(page, state, shape));
    Ok(Connection { version, total, page })
}

/// A page continues at its cursor's version, unless the request says another.
fn continued_at(cursor: &Cursor, asked: &AsOf, way: Way) -> Result<AsOf> {
    match asked {
        AsOf::Version(version) if *version != cursor.version => Err(another_version(cursor, way)),
        _ => Ok(AsOf::Version(cursor.version)),
    }
}

fn another_version(cursor: &Cursor, way: Way) -> engine::Error {
    bad_input(format!(
        "{}: this cursor is from version {}, and asOf asks for another; leave asOf out to continue",
        way.cursor_name(),
        cursor.version
    ))
}

fn shown(shape: &Shape, looking: &Lookahead<'_>) -> std::collections::BTreeSet<usize> {
    let mut columns = selected(shape, &looking.field("nodes"));
    columns.extend(selected(shape, &looking.field("edges").field("node")));
    columns
}

fn page_ref(mut page: Page, state: &RequestState, shape: &Shape) -> PageRef {
    for (position, count) in &page.not_finite {
        let place = format!("{}.{}", shape.field, shape.columns[*position].field);
        state.warnings.not_finite(&place, *count);
    }
    let columns = Arc::new(std::mem::take(&mut page.columns));
    PageRef { page: Arc::new(page), columns }
}
