//! What stands in a group beside its keys and measures: whether it is a total, the rest, or a part of time without rows, and what the
//! part of time before had.

use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, TypeRef,
};
use async_graphql::{Lookahead, Name, Value};

use super::groups::{GroupRef, MeasureRef};
use super::resolve::{object, part};
use super::scalars::{self, scalar_of};
use crate::limits::Limits;
use crate::plan::computed::{Computed, Measured};
use crate::plan::grouping::Earlier;
use crate::plan::groups::{FILLS, ShownMeasures, TOTALS};
use crate::plan::measures::{Family, MEASURES, Measure};
use crate::shape::{Declared, Shape};

const FILL: &str = "GroupFill";
const TOTALS_NAME: &str = "GroupTotals";

/// The fields of a group that tell of the part of time before.
pub(super) const EARLIER: [(&str, Earlier, &str); 3] = [
    (
        "previous",
        Earlier::Previous,
        "What the part of time before had, of the same keys; null where that has no rows.",
    ),
    (
        "change",
        Earlier::Change,
        "Measures less those of the part of time before; null where that has no rows.",
    ),
    (
        "changePercent",
        Earlier::Percent,
        "The change in percent of the part of time before; null where that has no rows, or 0.",
    ),
];

/// What a group shows of the part of time before.
struct EarlierRef {
    group: GroupRef,
    which: Earlier,
}

/// Enums that all datasets share.
pub(crate) fn enums() -> [Enum; 2] {
    let item = |name: &str, about: &str| EnumItem::new(name).description(about);
    let fill = Enum::new(FILL).description(
        "What stands in parts of time without rows, between a group's first and last.",
    );
    let totals = Enum::new(TOTALS_NAME).description("Totals beside groups.");
    [
        FILLS.iter().fold(fill, |all, (name, about, _)| all.item(item(name, about))),
        TOTALS.iter().fold(totals, |all, (name, about, _)| all.item(item(name, about))),
    ]
}

/// The argument `fill` of `every`.
pub(crate) fn fill_argument() -> InputValue {
    InputValue::new("fill", TypeRef::named(FILL)).description(
        "Makes groups of the parts without rows, too, between the first and the last that has some of the same keys; \
         their `isFilled` is true and their `count` 0. Without it they are left out.",
    )
}

/// The arguments `top` and `totals`.
pub(crate) fn mark_arguments(limits: &Limits) -> [InputValue; 2] {
    [
        InputValue::new("top", TypeRef::named(TypeRef::INT)).description(format!(
            "Only the first groups by `orderBy` (by `count`, where it is absent), {} at most, and one more of the rows of all \
             others: its `isOther` is true and its keys are null. With `every` they are ranked over all time.",
            limits.page_rows_max
        )),
        InputValue::new("totals", TypeRef::named(TOTALS_NAME)).description(
            "Totals beside the groups: their `isTotal` is true, and `grouping` names the keys that they are not over.",
        ),
    ]
}

/// Adds what tells groups apart that are not like the others.
pub(crate) fn with_mark_fields(node: Object, shape: &Shape) -> Object {
    let is = |name: &str, about: &str, of: fn(&GroupRef) -> bool| {
        part(name, TypeRef::named_nn(TypeRef::BOOLEAN), move |group: &GroupRef| {
            Ok(Value::from(of(group)))
        })
        .description(about)
    };
    let mut node = node
        .field(is(
            "isOther",
            "Whether it has the rows of all groups that are not at the `top`.",
            |it| it.groups.others.get(it.row).copied().unwrap_or_default(),
        ))
        .field(is("isTotal", "Whether it is a total over some key, which is null then.", |it| {
            it.groups.totals.values().any(|total| total.get(it.row).copied().unwrap_or_default())
        }));
    if !shape.all().any(|(_, column)| column.is_groupable()) {
        return node;
    }
    let keys: Vec<(usize, Name)> = (shape.all().filter(|(_, column)| column.is_groupable()))
        .map(|(number, column)| (number, Name::new(column.in_enum())))
        .collect();
    let grouping = TypeRef::named_nn_list_nn(shape.type_of("GroupKey"));
    node = node.field(
        part("grouping", grouping, move |it: &GroupRef| {
            let is_own = |number: &usize| {
                let total = it.groups.totals.get(number).and_then(|total| total.get(it.row));
                it.groups.keys.contains_key(number) && total != Some(&true)
            };
            let own = keys.iter().filter(|(number, _)| is_own(number));
            Ok(Value::List(own.map(|(_, name)| Value::Enum(name.clone())).collect()))
        })
        .description("The keys whose values it has; it is a total over the others."),
    );
    if !has_parts_of_time(shape) {
        return node;
    }
    node = node.field(is(
        "isFilled",
        "Whether it is a part of time without rows, which `fill` asks for.",
        |it| it.groups.filled.get(it.row).copied().unwrap_or_default(),
    ));
    EARLIER.into_iter().fold(node, |node, (name, which, about)| {
        let suffix = if which == Earlier::Percent { "GroupPercent" } else { "GroupBefore" };
        let field = Field::new(name, TypeRef::named(shape.type_of(suffix)), move |context| {
            let group = match context.parent_value.try_downcast_ref::<GroupRef>() {
                Ok(group) => group,
                Err(error) => {
                    return FieldFuture::new(async move { Err::<Option<FieldValue>, _>(error) });
                }
            };
            let has_earlier = group.groups.has_earlier.get(group.row).copied();
            FieldFuture::Value(
                has_earlier
                    .unwrap_or_default()
                    .then(|| FieldValue::owned_any(EarlierRef { group: group.clone(), which })),
            )
        });
        node.field(field.description(about))
    })
}

fn has_parts_of_time(shape: &Shape) -> bool {
    shape.all().any(|(_, column)| column.is_temporal())
}

/// Measures of which there is a difference, or a value to compare.
fn comparable(shape: &Shape) -> impl Iterator<Item = &'static Measure> {
    MEASURES.iter().filter(|measure| {
        let is_one = !matches!(measure.family, Family::Ends | Family::Pairs);
        is_one && measure.family.exists(shape)
    })
}

/// `ModelCallsGroupBefore` and `ModelCallsGroupPercent`.
pub(crate) fn earlier_types(shape: &Shape) -> Vec<Object> {
    if !has_parts_of_time(shape) {
        return Vec::new();
    }
    let count = |kind: &str| {
        part("count", TypeRef::named(kind), |it: &EarlierRef| {
            Ok(it.group.groups.earlier_value(it.which, &Computed::rows(None), it.group.row))
        })
    };
    let measures = |name: &'static str, kind: TypeRef, measure: &'static Measure| {
        object(name, kind, move |it: &EarlierRef| MeasureRef {
            group: it.group.clone(),
            measure,
            filter: None,
            earlier: Some(it.which),
        })
        .description(measure.description)
    };
    let before = Object::new(shape.type_of("GroupBefore"))
        .description("Measures of the part of time before, or what they have changed by.")
        .field(count(scalars::BIG_INT));
    let before = comparable(shape).fold(before, |before, measure| {
        let kind = TypeRef::named_nn(shape.type_of(measure.family.suffix()));
        before.field(measures(measure.field, kind, measure))
    });
    let declared = |number: usize, kind: TypeRef| {
        let declared = &shape.measures[number];
        let field = part(declared.field.as_str(), kind, move |it: &EarlierRef| {
            let of = Computed::declared(number, None);
            Ok(it.group.groups.earlier_value(it.which, &of, it.group.row))
        });
        field.description(&declared.description)
    };
    let kinds = || shape.measures.iter().map(Declared::kind).enumerate();
    let before = kinds().fold(before, |before, (number, kind)| {
        before.field(declared(number, TypeRef::named(scalar_of(kind))))
    });
    let percent = Object::new(shape.type_of("GroupPercent"))
        .description("Changes in percent.")
        .field(count(TypeRef::FLOAT));
    let numbers = comparable(shape)
        .filter(|measure| measure.family != Family::Counts && Family::Numbers.exists(shape));
    let percent = numbers.fold(percent, |percent, measure| {
        let kind = TypeRef::named_nn(shape.type_of(Family::Numbers.suffix()));
        percent.field(measures(measure.field, kind, measure))
    });
    let percent =
        kinds().filter(|(_, kind)| kind.is_numeric()).fold(percent, |percent, (it, _)| {
            percent.field(declared(it, TypeRef::named(TypeRef::FLOAT)))
        });
    vec![before, percent]
}

/// Adds what is shown of the part of time before.
pub(crate) fn take_earlier(shape: &Shape, nodes: &Lookahead<'_>, shown: &mut ShownMeasures) {
    for (name, ..) in EARLIER {
        for field in nodes.field(name).selection_fields() {
            shown.has_earlier = true;
            for of in field.selection_set() {
                if let Some(number) = shape.declared(of.name()) {
                    shown.earlier.insert(Computed::declared(number, None));
                }
                let Some(measure) = Measure::named(of.name()) else { continue };
                let columns = of.selection_set().filter_map(|of| shape.position(of.name()));
                shown.earlier.extend(columns.map(|column| {
                    let of = Measured::Column { measure, column, with: None };
                    Computed { of, filter: None }
                }));
            }
        }
    }
}
