//! The field `modelCallsGroups`: groups of rows with counts and aggregates.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::Value;
use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputObject, InputValue, Object,
    ResolverContext, Type, TypeRef,
};
use datasets::ColumnType;
use engine::{Result, Version};

use super::connection::{first, first_argument, with_reading_arguments};
use super::order::ORDER_DIRECTION;
use super::resolve::{argument, nullable, object, part, state};
use super::scalars::{self, scalar_of};
use crate::limits::Limits;
use crate::plan::as_of::as_of;
use crate::plan::groups::{Aggregate, Groups, GroupsArguments, GroupsRequest};
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

struct AggregateRef {
    groups: Arc<Groups>,
    row: usize,
    aggregate: Aggregate,
}

/// Which columns an aggregate has a field for, as a type of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Sum,
    Numbers,
    Extremes,
}

impl Family {
    const ALL: [Self; 3] = [Self::Sum, Self::Numbers, Self::Extremes];

    fn of(aggregate: Aggregate) -> Self {
        match aggregate {
            Aggregate::Sum => Self::Sum,
            Aggregate::Min | Aggregate::Max => Self::Extremes,
            Aggregate::Avg | Aggregate::P50 | Aggregate::P95 | Aggregate::P99 => Self::Numbers,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Sum => "GroupSum",
            Self::Numbers => "GroupNumbers",
            Self::Extremes => "GroupExtremes",
        }
    }

    fn member(self) -> Aggregate {
        match self {
            Self::Sum => Aggregate::Sum,
            Self::Numbers => Aggregate::Avg,
            Self::Extremes => Aggregate::Min,
        }
    }

    fn columns(self, shape: &Shape) -> impl Iterator<Item = (usize, &Column, ColumnType)> {
        let member = self.member();
        shape.all().filter_map(move |(i, column)| Some((i, column, member.result(column)?)))
    }

    fn exists(self, shape: &Shape) -> bool {
        self.columns(shape).next().is_some()
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
    if Family::Numbers.exists(shape) {
        types.push(having_numbers_type(shape).into());
        types.push(sort_numbers_type(shape).into());
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
        .description(format!("Groups of rows of {}, with counts and aggregates.", shape.name))
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
    let mut shown = BTreeSet::new();
    for aggregate in Aggregate::ALL {
        for field in nodes.field(aggregate.field()).selection_fields() {
            let columns = field.selection_set().filter_map(|f| shape.position(f.name()));
            shown.extend(columns.map(|column| (aggregate, column)));
        }
    }
    let arguments = ["groupBy", "every", "having", "orderBy"].map(|name| argument(context, name));
    let arguments = GroupsArguments {
        group_by: arguments[0].as_ref(),
        every: arguments[1].as_ref(),
        having: arguments[2].as_ref(),
        order_by: arguments[3].as_ref(),
    };
    let request = GroupsRequest::new(shape, &arguments, shown)?;
    check_keys(shape, &request, &nodes)?;
    let first = first(argument(context, "first").as_ref(), limits)?;
    let session = state.session(&shape.name, &as_of(argument(context, "asOf").as_ref())?).await?;
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

/// A column that does not make the groups has no one value in a group.
fn check_keys(
    shape: &Shape,
    request: &GroupsRequest,
    nodes: &async_graphql::Lookahead<'_>,
) -> Result<()> {
    let keys: BTreeSet<usize> = request.keys().collect();
    for (i, column) in shape.all() {
        let field = column.in_group();
        if !keys.contains(&i) && nodes.field(&field).exists() {
            return Err(crate::error::bad_input(format!(
                "nodes.{field}: groups are not made by this column; add it to groupBy, or ask for an \
                 aggregate of it"
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

fn node_type(shape: &Shape) -> Object {
    let mut node = Object::new(shape.type_of("GroupNode"))
        .description("A group: its keys, its count, its aggregates.")
        .field(part("count", TypeRef::named_nn(scalars::BIG_INT), |g: &GroupRef| {
            Ok(g.groups.counts.get(g.row).cloned().unwrap_or_default())
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
    for aggregate in Aggregate::ALL {
        let family = Family::of(aggregate);
        if family.exists(shape) {
            let kind = TypeRef::named_nn(shape.type_of(family.suffix()));
            let field = object(aggregate.field(), kind, move |g: &GroupRef| AggregateRef {
                groups: g.groups.clone(),
                row: g.row,
                aggregate,
            });
            node = node.field(field.description(aggregate.description()));
        }
    }
    node
}

fn family_type(shape: &Shape, family: Family) -> Object {
    let object = Object::new(shape.type_of(family.suffix()))
        .description("One aggregate of each column; null where a group has no values.");
    family.columns(shape).fold(object, |object, (i, column, result)| {
        let scalar = match (family, &column.kind) {
            (Family::Sum, ColumnType::Int32 | ColumnType::Int64) => scalars::BIG_INT,
            _ => scalar_of(&result),
        };
        let field = part(&column.field, TypeRef::named(scalar), move |a: &AggregateRef| {
            let values = a.groups.aggregates.get(&(a.aggregate, i));
            Ok(values.and_then(|values| values.get(a.row)).cloned().unwrap_or_default())
        });
        object.field(field.description(&column.description))
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
    if Family::Numbers.exists(shape) {
        for aggregate in Aggregate::ALL {
            let kind = TypeRef::named(shape.type_of("HavingNumbers"));
            input = input.field(InputValue::new(aggregate.field(), kind));
        }
    }
    input
}

fn having_numbers_type(shape: &Shape) -> InputObject {
    let input = InputObject::new(shape.type_of("HavingNumbers"))
        .description("Conditions on an aggregate of columns, compared as floats.");
    numeric(shape).fold(input, |input, column| {
        input.field(InputValue::new(&column.field, TypeRef::named(NUMBER_CONDITION)))
    })
}

fn sort_type(shape: &Shape) -> InputObject {
    let mut input = InputObject::new(shape.type_of("GroupSort"))
        .oneof()
        .description(
            "One thing to order groups by: the count, a key, or an aggregate of one column.",
        )
        .field(InputValue::new("count", TypeRef::named(ORDER_DIRECTION)));
    for (_, column) in shape.all().filter(|(_, column)| column.is_groupable()) {
        let field = column.in_group();
        input = input.field(InputValue::new(field, TypeRef::named(ORDER_DIRECTION)));
    }
    if Family::Numbers.exists(shape) {
        for aggregate in Aggregate::ALL {
            let kind = TypeRef::named(shape.type_of("GroupSortNumbers"));
            input = input.field(InputValue::new(aggregate.field(), kind));
        }
    }
    input
}

fn sort_numbers_type(shape: &Shape) -> InputObject {
    let input = InputObject::new(shape.type_of("GroupSortNumbers")).oneof();
    numeric(shape).fold(input, |input, column| {
        input.field(InputValue::new(&column.field, TypeRef::named(ORDER_DIRECTION)))
    })
}

fn numeric(shape: &Shape) -> impl Iterator<Item = &Column> {
    shape.all().map(|(_, column)| column).filter(|column| column.kind.is_numeric())
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
