//! The field `modelCallsGroups`: groups of rows with counts and measures.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputObject, InputValue, Object,
    ResolverContext, Type, TypeRef,
};
use async_graphql::{Lookahead, SelectionField, Value};
use datasets::ColumnType;
use engine::{Result, Version};

use super::connection::{first, first_argument, sample_argument, taken, with_reading_arguments};
use super::group_marks::{
    earlier_types, fill_argument, mark_arguments, take_earlier, with_mark_fields,
};
use super::order::ORDER_DIRECTION;
use super::resolve::{argument, nullable, part, state, text_argument};
use super::scalars::{self, scalar_of};
use super::streamed::give_groups;
use crate::error::bad_input;
use crate::limits::Limits;
use crate::plan::as_of::as_of;
use crate::plan::computed::{Computed, Measured};
use crate::plan::grouping::{Earlier, Groups};
use crate::plan::groups::{Filters, GroupsArguments, GroupsRequest, ShownMeasures, enum_column};
use crate::plan::measures::{Family, MEASURES, Measure};
use crate::shape::{Column, Shape};

struct GroupsAnswer {
    version: Version,
    total: Option<u64>,
    groups: Arc<Groups>,
}

/// A group.
#[derive(Clone)]
pub(super) struct GroupRef {
    /// All of them.
    pub groups: Arc<Groups>,
    /// Its place among them.
    pub row: usize,
}

/// A measure of a group.
pub(super) struct MeasureRef {
    /// The group.
    pub group: GroupRef,
    /// The measure.
    pub measure: &'static Measure,
    /// The filter that it has.
    pub filter: Option<usize>,
    /// What is shown of the part of time before, where that is.
    pub earlier: Option<Earlier>,
}

impl MeasureRef {
    fn value(&self, column: usize, with: Option<usize>) -> Value {
        let GroupRef { groups, row } = &self.group;
        let of = Measured::Column { measure: self.measure, column, with };
        let of = Computed { of, filter: self.filter };
        match self.earlier {
            Some(earlier) => groups.earlier_value(earlier, &of, *row),
            None => groups.value(&of, *row),
        }
    }
}

impl Family {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Counts => "GroupCounts",
            Self::Sum => "GroupSum",
            Self::Numbers => "GroupNumbers",
            Self::Extremes => "GroupExtremes",
            Self::Ends => "GroupEnds",
            Self::Pairs => "GroupPairs",
        }
    }

    /// What the types begin with by which groups are compared.
    fn compared(self) -> (&'static str, &'static str) {
        match self {
            Self::Counts => ("HavingCounts", "GroupSortCounts"),
            Self::Sum | Self::Numbers | Self::Extremes | Self::Ends | Self::Pairs => {
                ("HavingNumbers", "GroupSortNumbers")
            }
        }
    }

    fn columns(self, shape: &Shape) -> impl Iterator<Item = (usize, &Column, ColumnType)> {
        shape.all().filter_map(move |(i, column)| Some((i, column, self.result(shape, column)?)))
    }

    pub(super) fn exists(self, shape: &Shape) -> bool {
        self.columns(shape).next().is_some()
    }

    /// Columns by whose measures groups are compared.
    fn comparable(self, shape: &Shape) -> impl Iterator<Item = &Column> {
        let (counts, is_of_one) = (self == Self::Counts, self != Self::Pairs);
        let columns = self.columns(shape).map(|(_, column, _)| column);
        columns.filter(move |column| is_of_one && (counts || column.kind.is_numeric()))
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
    types.extend(column_enum(shape, NUMBER, |column| column.kind.is_numeric()).map(Type::from));
    types.extend(earlier_types(shape).into_iter().map(Type::from));
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
    let field = with_reading_arguments(field, shape).argument(sample_argument());
    let arguments = grouping_arguments(shape, limits).into_iter();
    arguments
        .fold(field, Field::argument)
        .description(format!("Groups of rows of {}, with counts and measures.", shape.name))
}

/// The arguments that say which groups there are, and of what.
pub(super) fn grouping_arguments(shape: &Shape, limits: &Limits) -> Vec<InputValue> {
    let mut arguments = vec![
        first_argument(limits),
        InputValue::new("having", TypeRef::named(shape.type_of("Having")))
            .description("Conditions on groups; all must hold."),
        InputValue::new("orderBy", TypeRef::named_nn_list(shape.type_of("GroupSort")))
            .description("What to order groups by, first first; the keys are added at the end."),
    ];
    arguments.extend(mark_arguments(limits));
    if shape.all().any(|(_, column)| column.is_groupable()) {
        let kind = TypeRef::named_nn_list(shape.type_of("GroupKey"));
        arguments.push(
            InputValue::new("groupBy", kind).description(
                "Columns whose values make a group; one group of all rows when absent.",
            ),
        );
    }
    if shape.all().any(|(_, column)| column.is_temporal()) {
        let kind = TypeRef::named(shape.type_of("GroupEvery"));
        arguments.push(
            InputValue::new("every", kind)
                .description("Also groups by intervals of a time column."),
        );
    }
    arguments
}

/// What is asked of groups, of which those in `lists` are shown.
pub(super) fn asked(
    context: &ResolverContext<'_>,
    shape: &Shape,
    lists: &[Lookahead<'_>],
    limits: &Limits,
) -> Result<GroupsRequest> {
    let shown = shown(shape, lists, limits)?;
    let arguments = ["groupBy", "every", "having", "orderBy", "top", "totals"]
        .map(|name| argument(context, name));
    let arguments = GroupsArguments {
        group_by: arguments[0].as_ref(),
        every: arguments[1].as_ref(),
        having: arguments[2].as_ref(),
        order_by: arguments[3].as_ref(),
        top: arguments[4].as_ref(),
        totals: arguments[5].as_ref(),
    };
    let request = GroupsRequest::new(shape, &arguments, shown, limits)?;
    lists.iter().try_for_each(|list| check_keys(shape, &request, list))?;
    Ok(request)
}

async fn read(context: &ResolverContext<'_>, shape: &Arc<Shape>) -> Result<GroupsAnswer> {
    let state = state(context.ctx)?;
    let limits = state.limits();
    let looking = context.ctx.look_ahead();
    let nodes = looking.field("nodes");
    let request = asked(context, shape, std::slice::from_ref(&nodes), limits)?;
    let first = first(argument(context, "first").as_ref(), limits)?;
    let pin = as_of(argument(context, "asOf").as_ref())?;
    let session = state.session(&[(shape.name.clone(), pin)]).await?;
    let table = session.table_of_today(&shape.name).await?;
    let version = state.version_of(&session, &shape.name)?;
    let table = taken(context, shape, table, argument(context, "where").as_ref(), limits)?;
    if state.rows.is_asked() {
        let (reading, asked) = ((&session, version), (&request, first));
        give_groups(state, reading, table, shape, asked, &context.ctx.field()).await?;
        return Ok(GroupsAnswer { version, total: None, groups: Arc::default() });
    }
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
fn shown(shape: &Shape, lists: &[Lookahead<'_>], limits: &Limits) -> Result<ShownMeasures> {
    let mut shown = ShownMeasures::default();
    let mut filters = Filters::default();
    let mut filter = |field: &SelectionField<'_>| {
        let asked = argument_of(field, WHERE)?;
        let key = field.alias().unwrap_or(field.name());
        filters.take(shape, key, asked.as_ref(), limits)
    };
    for nodes in lists {
        for field in nodes.field("count").selection_fields() {
            shown.computed.insert(Computed::rows(filter(&field)?));
        }
        for (number, declared) in shape.measures.iter().enumerate() {
            for field in nodes.field(&declared.field).selection_fields() {
                shown.computed.insert(Computed::declared(number, filter(&field)?));
            }
        }
        for measure in &MEASURES {
            for field in nodes.field(measure.field).selection_fields() {
                let filter = filter(&field)?;
                for of in field.selection_set() {
                    let Some(column) = shape.position(of.name()) else { continue };
                    let with = match measure.family {
                        Family::Pairs => {
                            Some(other_column(shape, argument_of(&of, WITH)?.as_ref())?)
                        }
                        _ => None,
                    };
                    let of = Measured::Column { measure, column, with };
                    shown.computed.insert(Computed { of, filter });
                }
            }
        }
    }
    shown.filters = filters;
    for nodes in lists {
        take_earlier(shape, nodes, &mut shown);
    }
    Ok(shown)
}

/// An argument of a field that is selected.
pub(super) fn argument_of(field: &SelectionField<'_>, name: &str) -> Result<Option<Value>> {
    let arguments = field.arguments().map_err(|e| bad_input(e.message))?;
    Ok(arguments.into_iter().find(|(known, _)| known == name).map(|(_, value)| value))
}

/// The other column of a measure of two.
pub(super) fn other_column(shape: &Shape, value: Option<&Value>) -> Result<usize> {
    enum_column(shape, value.unwrap_or(&Value::Null), WITH)
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
/// The other column of a measure of two.
pub(super) const WITH: &str = "with";
/// The enum of columns of numbers.
const NUMBER: &str = "GroupNumber";

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
    let node = Object::new(shape.type_of("GroupNode"))
        .description("A group: its keys, its count, its measures.")
        .field(filtered_field(shape, "count", count, |group, filter| {
            Some(FieldValue::value(group.groups.value(&Computed::rows(filter), group.row)))
        }));
    let mut node = with_mark_fields(node, shape);
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
            let group = group.clone();
            Some(FieldValue::owned_any(MeasureRef { group, measure, filter, earlier: None }))
        });
        node = node.field(field.description(measure.description));
    }
    shape.measures.iter().enumerate().fold(node, |node, (number, declared)| {
        let kind = TypeRef::named(scalar_of(declared.kind()));
        let field = filtered_field(shape, &declared.field, kind, move |group, filter| {
            let of = Computed::declared(number, filter);
            Some(FieldValue::value(group.groups.value(&of, group.row)))
        });
        node.field(field.description(&declared.description))
    })
}

fn family_type(shape: &Shape, family: Family) -> Object {
    let object = Object::new(shape.type_of(family.suffix()))
        .description("One measure of each column; null where a group has no values.");
    family.columns(shape).fold(object, |object, (column, of, result)| {
        let scalar = match (family, &of.kind) {
            (Family::Sum, ColumnType::Int32 | ColumnType::Int64) => scalars::BIG_INT,
            _ => scalar_of(&result),
        };
        let field = match family {
            Family::Pairs => pair_field(shape, of, column),
            _ => part(&of.field, TypeRef::named(scalar), move |it: &MeasureRef| {
                Ok(it.value(column, None))
            }),
        };
        object.field(field.description(&of.description))
    })
}

/// A measure of a column and another one.
fn pair_field(shape: &Shape, of: &Column, column: usize) -> Field {
    let names: HashMap<String, usize> =
        shape.all().map(|(number, column)| (column.in_enum(), number)).collect();
    let field = Field::new(&of.field, TypeRef::named(TypeRef::FLOAT), move |context| {
        let with = text_argument(&context, WITH).and_then(|name| names.get(&name).copied());
        match context.parent_value.try_downcast_ref::<MeasureRef>() {
            Ok(it) => FieldFuture::from_value(Some(it.value(column, with))),
            Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) }),
        }
    });
    field.argument(
        InputValue::new(WITH, TypeRef::named_nn(shape.type_of(NUMBER)))
            .description("The other column."),
    )
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
        .field(fill_argument())
}

fn having_type(shape: &Shape) -> InputObject {
    let mut input = InputObject::new(shape.type_of("Having"))
        .description("Conditions on groups; all must hold.")
        .field(InputValue::new("count", TypeRef::named(COUNT_CONDITION)));
    for measure in MEASURES.iter().filter(|it| it.family.comparable(shape).next().is_some()) {
        let kind = TypeRef::named(shape.type_of(measure.family.compared().0));
        input = input.field(InputValue::new(measure.field, kind));
    }
    let numbers = shape.measures.iter().filter(|declared| declared.kind().is_numeric());
    numbers.fold(input, |input, declared| {
        let condition = InputValue::new(&declared.field, TypeRef::named(NUMBER_CONDITION));
        input.field(condition.description(&declared.description))
    })
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
        .description("One thing to order groups by: the count, a key, a measure of one column, or one that the dataset declares.")
        .field(InputValue::new("count", TypeRef::named(ORDER_DIRECTION)));
    for (_, column) in shape.all().filter(|(_, column)| column.is_groupable()) {
        let field = column.in_group();
        input = input.field(InputValue::new(field, TypeRef::named(ORDER_DIRECTION)));
    }
    for measure in MEASURES.iter().filter(|it| it.family.comparable(shape).next().is_some()) {
        let kind = TypeRef::named(shape.type_of(measure.family.compared().1));
        input = input.field(InputValue::new(measure.field, kind));
    }
    shape.measures.iter().fold(input, |input, declared| {
        let direction = InputValue::new(&declared.field, TypeRef::named(ORDER_DIRECTION));
        input.field(direction.description(&declared.description))
    })
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
