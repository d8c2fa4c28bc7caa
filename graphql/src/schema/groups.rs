//! The field `modelCallsGroups`: groups of rows with counts and measures.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputObject, InputValue, Object,
    ResolverContext, Type, TypeRef,
};
use async_graphql::{Lookahead, SelectionField, Value};
use datasets::ColumnType;
use engine::{Result, Version};

use super::connection::{first, first_argument, with_reading_arguments};
use super::order::ORDER_DIRECTION;
use super::resolve::{argument, nullable, part, state};
use super::scalars::{self, scalar_of};
use crate::error::bad_input;
use crate::limits::Limits;
use crate::plan::as_of::as_of;
use crate::plan::groups::{Computed, Filters, Groups, GroupsArguments, GroupsRequest};
use crate::plan::measures::{Family, MEASURES, Measure};
use crate::plan::predicate::predicate;
use crate::shape::{Column, Shape};

struct GroupsAnswer {
    version: Version,
    total: Option<u64>,
    groups: Arc<Groups>,
}

struct GroupRef {
    groups: Arc<Groups>,
    row: usize,
}

struct MeasureRef {
    groups: Arc<Groups>,
    row: usize,
    measure: &'static Measure,
    filter: Option<usize>,
}

impl Family {
    fn suffix(self) -> &'static str {
        match self {
            Self::Counts => "GroupCounts",
            Self::Sum => "GroupSum",
            Self::Numbers => "GroupNumbers",
            Self::Extremes => "GroupExtremes",
            Self::Ends => "GroupEnds",
        }
    }

    /// What the types begin with by which groups are compared.
    fn compared(self) -> (&'static str, &'static str) {
        match self {
            Self::Counts => ("HavingCounts", "GroupSortCounts"),
            Self::Sum | Self::Numbers | Self::Extremes | Self::Ends => {
                ("HavingNumbers", "GroupSortNumbers")
            }
        }
    }

    fn columns(self, shape: &Shape) -> impl Iterator<Item = (usize, &Column, ColumnType)> {
        shape.all().filter_map(move |(i, column)| Some((i, column, self.result(shape, column)?)))
    }

    fn exists(self, shape: &Shape) -> bool {
        self.columns(shape).next().is_some()
    }

    /// Columns by whose measures groups are compared.
    fn comparable(self, shape: &Shape) -> impl Iterator<Item = &Column> {
        let counts = self == Self::Counts;
        let columns = self.columns(shape).map(|(_, column, _)| column);
        columns.filter(move |column| counts || column.kind.is_numeric())
    }
}

/// The types of a dataset's groups.
pub(crate) fn group_types(shape: &Shape) -> Vec<Type> {
    let mut types: Vec<Type> = vec![answer_type(shape).into(), node_type(shape).into()];
    types.extend(column_enum(shape, "GroupKey", Column::is_groupable).map(Type::from));
    if let Some(times) = column_enum(shape, "GroupTime", Column::is_temporal) {
        types.push(times.into());
        types.push(every_type(shape).into());
    }
    for family in Family::ALL.into_iter().filter(|family| family.exists(shape)) {
        types.push(family_type(shape, family).into());
    }
    types.push(having_type(shape).into());
    types.push(sort_type(shape).into());
    for family in [Family::Numbers, Family::Counts].into_iter().filter(|it| it.exists(shape)) {
        types.extend(compared_types(shape, family).map(Type::from));
    }
    types
}

/// The query field `modelCallsGroups`.
pub(crate) fn groups_field(shape: &Arc<Shape>, limits: &Limits) -> Field {
    let name = format!("{}Groups", shape.field);
    let field = Field::new(name, TypeRef::named(shape.type_of("Groups")), {
        let shape = shape.clone();
        move |context| {
            let (shape, inner) = (shape.clone(), context.ctx);
            nullable(inner, async move {
                Ok(Some(FieldValue::owned_any(read(&context, &shape).await?)))
            })
        }
    });
    let mut field = with_reading_arguments(field, shape)
        .description(format!("Groups of rows of {}, with counts and measures.", shape.name))
        .argument(first_argument(limits))
        .argument(
            InputValue::new("having", TypeRef::named(shape.type_of("Having")))
                .description("Conditions on groups; all must hold."),
        )
        .argument(
            InputValue::new("orderBy", TypeRef::named_nn_list(shape.type_of("GroupSort")))
                .description(
                    "What to order groups by, first first; the keys are added at the end.",
                ),
        );
    if shape.all().any(|(_, column)| column.is_groupable()) {
        field = field.argument(
            InputValue::new("groupBy", TypeRef::named_nn_list(shape.type_of("GroupKey")))
                .description(
                    "Columns whose values make a group; one group of all rows when absent.",
                ),
        );
    }
    if shape.all().any(|(_, column)| column.is_temporal()) {
        field = field.argument(
            InputValue::new("every", TypeRef::named(shape.type_of("GroupEvery")))
                .description("Cuts a time column into equal parts, which then make groups, too."),
        );
    }
    field
}

async fn read(context: &ResolverContext<'_>, shape: &Arc<Shape>) -> Result<GroupsAnswer> {
    let state = state(context.ctx)?;
    let limits = &state.service().limits;
    let looking = context.ctx.look_ahead();
    let nodes = looking.field("nodes");
    let (shown, filters) = shown(shape, &nodes, limits)?;
    let arguments = ["groupBy", "every", "having", "orderBy"].map(|name| argument(context, name));
    let arguments = GroupsArguments {
        group_by: arguments[0].as_ref(),
        every: arguments[1].as_ref(),
        having: arguments[2].as_ref(),
        order_by: arguments[3].as_ref(),
    };
    let request = GroupsRequest::new(shape, &arguments, shown, filters)?;
    check_keys(shape, &request, &nodes)?;
    let first = first(argument(context, "first").as_ref(), limits)?;
    let pin = as_of(argument(context, "asOf").as_ref())?;
    let session = state.session(&[(shape.name.clone(), pin)]).await?;
    let table = session.table_of_today(&shape.name).await?;
    let version = state.version_of(&session, &shape.name)?;
    let table = match predicate(shape, argument(context, "where").as_ref(), limits)? {
        Some(predicate) => table.filter(predicate)?,
        None => table,
    };
    let total = match looking.field("totalCount").exists() {
        true => Some(request.count(&session, shape, table.clone()).await?),
        false => None,
    };
    let is_shown = nodes.exists() || looking.field("hasMore").exists();
    let groups = match is_shown {
        true => request.read(&session, shape, table, first, state.holding()).await?,
        false => Groups::default(),
    };
    if groups.not_finite > 0 {
        state.warnings.not_finite(&format!("{}Groups", shape.field), groups.not_finite);
    }
    Ok(GroupsAnswer { version, total, groups: Arc::new(groups) })
}

/// What is shown of groups, and the filters of single measures.
fn shown(
    shape: &Shape,
    nodes: &Lookahead<'_>,
    limits: &Limits,
) -> Result<(BTreeSet<Computed>, Filters)> {
    let (mut shown, mut filters) = (BTreeSet::new(), Filters::default());
    let mut filter = |field: &SelectionField<'_>| {
        let arguments = field.arguments().map_err(|e| bad_input(e.message))?;
        let asked = arguments.into_iter().find(|(name, _)| name == WHERE).map(|(_, value)| value);
        let key = field.alias().unwrap_or(field.name());
        filters.take(shape, key, asked.as_ref(), limits)
    };
    for field in nodes.field("count").selection_fields() {
        shown.insert(Computed::rows(filter(&field)?));
    }
    for measure in &MEASURES {
        for field in nodes.field(measure.field).selection_fields() {
            let filter = filter(&field)?;
            let columns = field.selection_set().filter_map(|f| shape.position(f.name()));
            shown.extend(columns.map(|column| Computed { measure: Some(measure), column, filter }));
        }
    }
    Ok((shown, filters))
}

/// A column that does not make the groups has no one value in a group.
fn check_keys(shape: &Shape, request: &GroupsRequest, nodes: &Lookahead<'_>) -> Result<()> {
    let keys: BTreeSet<usize> = request.keys().collect();
    for (i, column) in shape.all() {
        let field = column.in_group();
        if !keys.contains(&i) && nodes.field(&field).exists() {
            return Err(bad_input(format!(
                "nodes.{field}: groups are not made by this column; add it to groupBy, or ask for a \
                 measure of it"
            )));
        }
    }
    Ok(())
}

fn answer_type(shape: &Shape) -> Object {
    Object::new(shape.type_of("Groups"))
        .description(format!("Groups of rows of {} at one version.", shape.name))
        .field(part("version", TypeRef::named_nn(TypeRef::INT), |g: &GroupsAnswer| {
            Ok(Value::from(g.version.0))
        }))
        .field(
            part("totalCount", TypeRef::named_nn(scalars::BIG_INT), |g: &GroupsAnswer| {
                Ok(g.total.map_or(Value::Null, |total| Value::from(total.to_string())))
            })
            .description("Groups that `having` takes. Computed only when selected."),
        )
        .field(
            part("hasMore", TypeRef::named_nn(TypeRef::BOOLEAN), |g: &GroupsAnswer| {
                Ok(Value::from(g.groups.has_more))
            })
            .description("Whether there are more groups than `first`."),
        )
        .field(Field::new(
            "nodes",
            TypeRef::named_nn_list_nn(shape.type_of("GroupNode")),
            |context| match context.parent_value.try_downcast_ref::<GroupsAnswer>() {
                Ok(answer) => {
                    let groups = &answer.groups;
                    let node =
                        |row| FieldValue::owned_any(GroupRef { groups: groups.clone(), row });
                    FieldFuture::Value(Some(FieldValue::list((0..groups.rows).map(node))))
                }
                Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
            },
        ))
}

const WHERE: &str = "where";

/// A field of a group with a filter of its own.
fn filtered_field(
    shape: &Shape,
    name: &str,
    kind: TypeRef,
    show: impl Fn(&GroupRef, Option<usize>) -> Option<FieldValue<'static>> + Send + Sync + 'static,
) -> Field {
    let field = Field::new(name, kind, move |context| {
        match context.parent_value.try_downcast_ref::<GroupRef>() {
            Ok(group) => {
                let field = context.ctx.field();
                let filter = group.groups.filter(field.alias().unwrap_or(field.name()));
                FieldFuture::Value(show(group, filter))
            }
            Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
        }
    });
    field.argument(
        InputValue::new(WHERE, TypeRef::named(shape.type_of("Where")))
            .description("Rows of the group that it is made of; all when absent."),
    )
}

fn node_type(shape: &Shape) -> Object {
    let count = TypeRef::named_nn(scalars::BIG_INT);
    let mut node = Object::new(shape.type_of("GroupNode"))
        .description("A group: its keys, its count, its measures.")
        .field(filtered_field(shape, "count", count, |group, filter| {
            Some(FieldValue::value(group.groups.value(&Computed::rows(filter), group.row)))
        }));
    for (i, column) in shape.all().filter(|(_, column)| column.is_groupable()) {
        let field = column.in_group();
        let kind = TypeRef::named(scalar_of(&column.kind));
        let field = part(field, kind, move |g: &GroupRef| {
            Ok(g.groups
                .keys
                .get(&i)
                .and_then(|values| values.get(g.row))
                .cloned()
                .unwrap_or_default())
        });
        node = node.field(field.description(&column.description));
    }
    for measure in MEASURES.iter().filter(|measure| measure.family.exists(shape)) {
        let kind = TypeRef::named_nn(shape.type_of(measure.family.suffix()));
        let field = filtered_field(shape, measure.field, kind, move |group, filter| {
            let (groups, row) = (group.groups.clone(), group.row);
            Some(FieldValue::owned_any(MeasureRef { groups, row, measure, filter }))
        });
        node = node.field(field.description(measure.description));
    }
    node
}

fn family_type(shape: &Shape, family: Family) -> Object {
    let object = Object::new(shape.type_of(family.suffix()))
        .description("One measure of each column; null where a group has no values.");
    family.columns(shape).fold(object, |object, (column, of, result)| {
        let scalar = match (family, &of.kind) {
            (Family::Sum, ColumnType::Int32 | ColumnType::Int64) => scalars::BIG_INT,
            _ => scalar_of(&result),
        };
        let field = part(&of.field, TypeRef::named(scalar), move |it: &MeasureRef| {
            let computed = Computed { measure: Some(it.measure), column, filter: it.filter };
            Ok(it.groups.value(&computed, it.row))
        });
        object.field(field.description(&of.description))
    })
}

fn column_enum(shape: &Shape, suffix: &str, takes: fn(&Column) -> bool) -> Option<Enum> {
    let mut columns = shape.all().map(|(_, column)| column).filter(|it| takes(it)).peekable();
    columns.peek()?;
    Some(columns.fold(Enum::new(shape.type_of(suffix)), |columns, column| {
        columns.item(EnumItem::new(column.in_enum()).description(&column.description))
    }))
}

fn every_type(shape: &Shape) -> InputObject {
    InputObject::new(shape.type_of("GroupEvery"))
        .description("Equal parts of time. A part is named by the instant at which it begins.")
        .field(
            InputValue::new("column", TypeRef::named(shape.type_of("GroupTime")))
                .description("The dataset's time column when absent."),
        )
        .field(InputValue::new("width", TypeRef::named_nn(scalars::DURATION)).description(
            "`15m`, `1h`, `1d`, `1w`, `1mo`, …; below a day, a width that divides a day evenly.",
        ))
        .field(InputValue::new("timezone", TypeRef::named(TypeRef::STRING)).description(
            "The IANA name of the clock that days and hours are cut by; UTC when absent.",
        ))
}

fn having_type(shape: &Shape) -> InputObject {
    let mut input = InputObject::new(shape.type_of("Having"))
        .description("Conditions on groups; all must hold.")
        .field(InputValue::new("count", TypeRef::named(COUNT_CONDITION)));
    for measure in MEASURES.iter().filter(|it| it.family.comparable(shape).next().is_some()) {
        let kind = TypeRef::named(shape.type_of(measure.family.compared().0));
        input = input.field(InputValue::new(measure.field, kind));
    }
    input
}

/// What groups are compared by: as conditions, and as an order.
fn compared_types(shape: &Shape, family: Family) -> [InputObject; 2] {
    let (having, sort) = family.compared();
    let (condition, says) = match family {
        Family::Counts => (COUNT_CONDITION, "Conditions on a measure of columns."),
        _ => (NUMBER_CONDITION, "Conditions on a measure of columns, compared as floats."),
    };
    let having = InputObject::new(shape.type_of(having)).description(says);
    let sort = InputObject::new(shape.type_of(sort)).oneof();
    let field = |input: InputObject, kind: &str, column: &Column| {
        input.field(InputValue::new(&column.field, TypeRef::named(kind)))
    };
    family.comparable(shape).fold([having, sort], |[having, sort], column| {
        [field(having, condition, column), field(sort, ORDER_DIRECTION, column)]
    })
}

fn sort_type(shape: &Shape) -> InputObject {
    let mut input = InputObject::new(shape.type_of("GroupSort"))
        .oneof()
        .description("One thing to order groups by: the count, a key, or a measure of one column.")
        .field(InputValue::new("count", TypeRef::named(ORDER_DIRECTION)));
    for (_, column) in shape.all().filter(|(_, column)| column.is_groupable()) {
        let field = column.in_group();
        input = input.field(InputValue::new(field, TypeRef::named(ORDER_DIRECTION)));
    }
    for measure in MEASURES.iter().filter(|it| it.family.comparable(shape).next().is_some()) {
        let kind = TypeRef::named(shape.type_of(measure.family.compared().1));
        input = input.field(InputValue::new(measure.field, kind));
    }
    input
}

const COUNT_CONDITION: &str = "CountCondition";
const NUMBER_CONDITION: &str = "NumberCondition";

/// Types that the groups of all datasets share.
pub(crate) fn shared_types() -> [InputObject; 2] {
    [(COUNT_CONDITION, scalars::BIG_INT), (NUMBER_CONDITION, TypeRef::FLOAT)].map(
        |(name, scalar)| {
            ["eq", "ne", "gt", "gte", "lt", "lte"].into_iter().fold(
                InputObject::new(name).description("Conditions on a number; all must hold."),
                |input, operator| input.field(InputValue::new(operator, TypeRef::named(scalar))),
            )
        },
    )
}
