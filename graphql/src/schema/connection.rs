//! The field of a dataset: rows at one version, filtered, ordered and paged by Relay's convention.

use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Field, FieldFuture, FieldValue, InputObject, InputValue, Object, ResolverContext, TypeRef,
};
use datafusion::dataframe::DataFrame;
use datasets::ColumnType;
use engine::{AsOf, Result, Version};

use super::ready::write_rows;
use super::related::{Loading, Related, leading, pins};
use super::resolve::{argument, nullable, part, state, text_argument};
use super::row::{Block, row_value, row_values, selected};
use super::scalars;
use super::streamed::give_page;
use crate::error::{bad_input, over_limit};
use crate::limits::Limits;
use crate::links::Links;
use crate::plan::as_of::as_of;
use crate::plan::cursor::{Cursor, fingerprint};
use crate::plan::order::terms;
use crate::plan::page::{Page, PageRequest, Way, count_rows, read_page};
use crate::plan::predicate::predicate;
use crate::plan::sample::{SAMPLE_ROWS_MAX, Sample};
use crate::request::RequestState;
use crate::shape::Shape;

/// The input type of `asOf`.
pub(crate) const AS_OF: &str = "AsOf";
/// The input type of `sample`.
const SAMPLE: &str = "Sample";

/// A page, its version, and how many rows there are.
pub(super) struct Connection {
    /// The version.
    pub version: Version,
    /// How many there are, where they were counted.
    pub total: Option<u64>,
    /// The page, where it is shown.
    pub page: Option<PageRef>,
}

/// A page and its rows.
#[derive(Clone)]
pub(super) struct PageRef {
    page: Arc<Page>,
    rows: Arc<Block>,
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
                Ok(edge) => FieldFuture::Value(Some(row_value(&edge.page.rows, edge.row))),
                Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
            }
        }));
    let about = format!("Rows of {} at one version.", shape.name);
    let total = "Rows that `where` takes, on all pages. Computed only when selected.";
    let connection = connection_type(shape.type_of("Connection"), &row, &about, total).field(
        Field::new("edges", TypeRef::named_nn_list_nn(edge.type_name()), |context| {
            with_page(&context, |page| {
                let edge = |row| FieldValue::owned_any(EdgeRef { page: page.clone(), row });
                FieldValue::list((0..page.page.rows).map(edge))
            })
        }),
    );
    [connection, edge]
}

/// A page of what is of the type `row`.
pub(super) fn connection_type(name: String, row: &str, about: &str, total: &str) -> Object {
    Object::new(name)
        .description(about)
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
            .description(total),
        )
        .field(Field::new("pageInfo", TypeRef::named_nn("PageInfo"), |context| {
            with_page(&context, |page| FieldValue::owned_any(page.clone()))
        }))
        .field(Field::new("nodes", TypeRef::named_nn_list_nn(row), |context| {
            with_page(&context, |page| FieldValue::list(row_values(&page.rows, 0..page.page.rows)))
        }))
}

fn with_page<'a>(
    context: &ResolverContext<'a>,
    show: impl Fn(&PageRef) -> FieldValue<'a>,
) -> FieldFuture<'a> {
    let connection = context.parent_value.try_downcast_ref::<Connection>();
    FieldFuture::Value(connection.ok().and_then(|c| c.page.as_ref()).map(show))
}

impl PageRef {
    /// Gives columns other numbers.
    pub(super) fn number_columns(&mut self, number: impl Fn(usize) -> Option<usize>) {
        let columns = self.rows.columns.iter();
        let columns = columns.filter_map(|(at, values)| Some((number(*at)?, values.clone())));
        self.rows = Block::of(Arc::new(columns.collect()));
    }

    fn cursor(&self, row: usize) -> Result<Value> {
        match row < self.page.rows {
            true => Ok(Value::from(self.page.cursor(row)?)),
            false => Ok(Value::Null),
        }
    }
}

/// The query field `modelCalls`.
pub(crate) fn connection_field(shape: &Arc<Shape>, links: &Arc<Links>, limits: &Limits) -> Field {
    let field = Field::new(&shape.field, TypeRef::named(shape.type_of("Connection")), {
        let (shape, links) = (shape.clone(), links.clone());
        move |context| {
            let (shape, links, inner) = (shape.clone(), links.clone(), context.ctx);
            nullable(inner, async move {
                Ok(Some(FieldValue::owned_any(read(&context, &shape, &links).await?)))
            })
        }
    });
    let field = with_reading_arguments(field, shape)
        .description(format!("Rows of {}. {}", shape.name, shape.description));
    let mut field = with_page_arguments(field, limits).argument(sample_argument());
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

/// The arguments `first`, `after`, `last` and `before`.
pub(super) fn with_page_arguments(field: Field, limits: &Limits) -> Field {
    field
        .argument(first_argument(limits))
        .argument(InputValue::new("after", TypeRef::named(TypeRef::STRING)).description(
            "A cursor; the page begins behind its row, at the version that the cursor is from.",
        ))
        .argument(InputValue::new("last", TypeRef::named(TypeRef::INT)).description(
            "The last rows, so many at most, of all or of those before a cursor, instead of the first.",
        ))
        .argument(InputValue::new("before", TypeRef::named(TypeRef::STRING)).description(
            "A cursor; the page ends before its row, at the version that the cursor is from.",
        ))
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

/// The argument `sample`.
pub(super) fn sample_argument() -> InputValue {
    InputValue::new("sample", TypeRef::named(SAMPLE)).description(
        "Only some of the rows that `where` takes, by chance: the same for the same seed.",
    )
}

/// `Sample`.
pub(crate) fn sample_type() -> InputObject {
    InputObject::new(SAMPLE)
        .description("So many rows by chance, or such a part of them; which ones only their values and the seed say.")
        .field(
            InputValue::new("rows", TypeRef::named(TypeRef::INT))
                .description(format!("So many, {SAMPLE_ROWS_MAX} at most; either this or `fraction`.")),
        )
        .field(
            InputValue::new("fraction", TypeRef::named(TypeRef::FLOAT))
                .description("About such a part: more than 0, and 1 at most."),
        )
        .field(
            InputValue::new("seed", TypeRef::named(TypeRef::INT))
                .description("Another one gives other rows; 0 when absent."),
        )
}

/// What tells the question of one sample from that of another.
pub(super) fn sample_text(context: &ResolverContext<'_>) -> String {
    argument(context, "sample").as_ref().map(Value::to_string).unwrap_or_default()
}

/// Rows of `table` that `where` takes, and a sample of them where one is asked for.
pub(super) fn taken(
    context: &ResolverContext<'_>,
    shape: &Shape,
    table: DataFrame,
    filter: Option<&Value>,
    limits: &Limits,
) -> Result<DataFrame> {
    let table = match predicate(shape, filter, limits)? {
        Some(predicate) => table.filter(predicate)?,
        None => table,
    };
    match Sample::read(argument(context, "sample").as_ref())? {
        Some(sample) => sample.of(shape, table),
        None => Ok(table),
    }
}

/// Reads `first` against the limits.
pub(crate) fn first(value: Option<&Value>, limits: &Limits) -> Result<usize> {
    rows_asked("first", value, limits.page_rows_default, limits)
}

/// Reads how many rows are asked for; so many when it is not said.
pub(crate) fn rows_asked(
    name: &str,
    value: Option<&Value>,
    default: usize,
    limits: &Limits,
) -> Result<usize> {
    let rows = match value {
        None => return Ok(default),
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
    let asked = |name, value| rows_asked(name, value, limits.page_rows_default, limits);
    let (first, last) = (given("first"), given("last"));
    let (after, before) = (text_argument(context, "after"), text_argument(context, "before"));
    let of_two = match (&first, &last, &after, &before) {
        (Some(_), Some(_), ..) => "`first` and `last`",
        (Some(_), _, _, Some(_)) => "`first` and `before`",
        (_, Some(_), Some(_), _) => "`last` and `after`",
        (_, _, Some(_), Some(_)) => "`after` and `before`",
        (_, last, _, before) => {
            return Ok(match last.is_some() || before.is_some() {
                true => (Way::Backward, asked("last", last.as_ref())?, before.clone()),
                false => (Way::Forward, asked("first", first.as_ref())?, after),
            });
        }
    };
    Err(bad_input(format!(
        "{of_two} ask for two pages; expected `first` and `after`, or `last` and `before`"
    )))
}

/// Which page is asked for, of which version.
pub(super) struct AskedPage {
    /// The way.
    pub way: Way,
    /// How many rows.
    pub rows: usize,
    /// Where to go on from.
    pub from: Option<Cursor>,
    /// The version that is read.
    pub pin: AsOf,
    asked: AsOf,
}

impl AskedPage {
    /// Of a question with this fingerprint, whose order is by columns of these types.
    pub(super) fn new(
        context: &ResolverContext<'_>,
        limits: &Limits,
        question: &str,
        kinds: &[ColumnType],
    ) -> Result<Self> {
        let (way, rows, from) = asked_page(context, limits)?;
        let from = match from {
            None => None,
            Some(text) => {
                let cursor = Cursor::decode(&text, kinds);
                let cursor = cursor.and_then(|cursor| cursor.of_question(question));
                Some(cursor.map_err(|error| bad_input(format!("{}: {error}", way.cursor_name())))?)
            }
        };
        let asked = as_of(argument(context, "asOf").as_ref())?;
        let pin = match &from {
            Some(cursor) => continued_at(cursor, &asked, way)?,
            None => asked,
        };
        Ok(Self { way, rows, from, pin, asked })
    }

    /// Fails where `asOf` names a time whose version is not the cursor's.
    pub(super) async fn require_same_version(
        &self,
        state: &RequestState,
        shape: &Shape,
    ) -> Result<()> {
        let (Some(cursor), AsOf::Time(_)) = (&self.from, &self.asked) else { return Ok(()) };
        let at_time = state.session(&[(shape.name.clone(), self.asked)]).await?;
        at_time.table(&shape.name).await?;
        match state.version_of(&at_time, &shape.name)? == cursor.version {
            true => Ok(()),
            false => Err(another_version(cursor, self.way)),
        }
    }
}

async fn read(
    context: &ResolverContext<'_>,
    shape: &Arc<Shape>,
    links: &Links,
) -> Result<Connection> {
    let state = state(context.ctx)?;
    let limits = state.limits();
    let filter = argument(context, "where");
    let terms = terms(shape, argument(context, "orderBy").as_ref())?;
    let question = fingerprint(&[
        shape.name.as_str(),
        &filter.as_ref().map(Value::to_string).unwrap_or_default(),
        &format!("{terms:?}"),
        &sample_text(context),
    ]);
    let kinds: Vec<_> = terms.iter().map(|t| shape.columns[t.column].kind.clone()).collect();
    let asked = AskedPage::new(context, limits, &question, &kinds)?;
    let looking = context.ctx.look_ahead();
    let mut rows_shown = looking.field("nodes").selection_fields();
    rows_shown.extend(looking.field("edges").field("node").selection_fields());
    let mut read_at = vec![(shape.name.clone(), asked.pin)];
    if let AsOf::Time(_) = asked.asked {
        // What they are related to is that of then, too.
        pins(shape, links, &rows_shown, &asked.asked, &mut read_at)?;
    }
    let session = state.session(&read_at).await?;
    let table = session.table_of_today(&shape.name).await?;
    let version = state.version_of(&session, &shape.name)?;
    asked.require_same_version(state, shape).await?;
    let table = taken(context, shape, table, filter.as_ref(), limits)?;
    let request = PageRequest {
        version,
        question,
        predicate: None,
        terms,
        way: asked.way,
        from: asked.from,
        rows: asked.rows,
        columns: selected(shape, &rows_shown),
        kept: leading(shape, links, &rows_shown)?,
    };
    if state.rows.is_asked() {
        give_page(state, &session, table, shape, request, &context.ctx.field()).await?;
        let page = page_ref(Page::default(), Related::default(), state, shape);
        return Ok(Connection { version, total: None, page: Some(page) });
    }
    let total = match looking.field("totalCount").exists() {
        true => Some(count_rows(&session, table.clone(), None).await?),
        false => None,
    };
    let is_shown = ["nodes", "edges", "pageInfo"].iter().any(|f| looking.field(f).exists());
    let page = match is_shown {
        true => {
            let mut page = read_page(&session, table, shape, &request, state.holding()).await?;
            write_rows(context, state, shape, &mut page).await?;
            let loading = Loading { state, session: &session, links, place: &shape.field };
            let related = loading.related(shape, &page.kept, rows_shown).await?;
            Some(page_ref(page, related, state, shape))
        }
        false => None,
    };
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

/// A page as it is shown.
pub(super) fn page_ref(
    mut page: Page,
    related: Related,
    state: &RequestState,
    shape: &Shape,
) -> PageRef {
    for (position, count) in &page.not_finite {
        let place = format!("{}.{}", shape.field, shape.columns[*position].field);
        state.warnings.not_finite(&place, *count);
    }
    let columns = Arc::new(std::mem::take(&mut page.columns));
    let rows = Arc::new(Block { columns, related });
    page.kept.clear();
    PageRef { page: Arc::new(page), rows }
}
