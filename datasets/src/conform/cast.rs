//! The way from a source's Arrow type to a column's type: only ways that lose nothing are planned, and a
//! way that could lose something for some values is checked value by value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_comparator, new_null_array};
use arrow::compute::{CastOptions, SortOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono_tz::Tz;

use super::local_times::{Instants, has_instants, instants_in};
use super::narrowing::{floored, has_finer_times, overflowed};
use super::nested;
use super::units::{has_lengths, in_units};
use crate::column_type::{ColumnType, item_of};
use crate::columns::ColumnBuilder;
use crate::encode::json_texts;
use crate::error::Error;
use crate::parse::{self, Slot};
use crate::spec::TYPE_METADATA_KEY;
use crate::validate::Failures;

/// How one column is carried over.
#[derive(Debug)]
pub(super) struct Cast {
    target: ColumnType,
    way: Way,
    /// What the values are counted in, where the source says by itself what it counts in.
    unit: Option<String>,
    /// The zone of local times, where it is not UTC and the column has instants.
    zone: Option<Tz>,
}

/// Why a whole column can't be carried over: its values contradict its type.
pub(super) struct Unfit(pub(super) String);

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    /// The type is the same.
    Same,
    /// Arrow's cast; a value that becomes null did not fit.
    Arrow,
    /// Arrow's cast, then back again: a value that comes back changed did not fit.
    ThereAndBack,
    /// Text is read value by value.
    Text,
    /// Text that must be a JSON document.
    JsonText,
    /// Values of any type, written as JSON documents.
    Encode,
    /// Parts of values, each on its own way.
    Nested,
}

impl Cast {
    /// The way from `field` to `target`, if there is one.
    pub(super) fn plan(field: &Field, target: &ColumnType) -> Option<Self> {
        let stated = field.metadata().get(TYPE_METADATA_KEY).map(String::as_str);
        let way = way(field.data_type(), target, stated)?;
        Some(Self { target: target.clone(), way, unit: None, zone: None })
    }

    /// The same way to values that are counted in `unit`.
    pub(super) fn counted_in(self, unit: Option<&str>) -> Self {
        Self { unit: unit.map(str::to_owned), ..self }
    }

    /// Reads local times in `zone`.
    pub(super) fn set_zone(&mut self, zone: Tz) {
        self.zone = (zone != Tz::UTC && has_instants(&self.target)).then_some(zone);
    }

    /// Carries `array` over; rows whose value does not fit are noted and left null.
    pub(super) fn apply(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<ArrayRef, Unfit> {
        let to = self.target.arrow_type();
        let internal = |e: ArrowError| Unfit(format!("{column:?} from {}: {e}", array.data_type()));
        let (array, way) = self.in_zone(array, column, failures).map_err(internal)?;
        let array = &self.in_units(&array, column, failures).map_err(internal)?;
        let carried = match way {
            Way::Same if array.data_type() == &to => Arc::clone(array),
            Way::Same | Way::Arrow => {
                let carried = match arrow_cast(array, &to) {
                    Ok(carried) => carried,
                    Err(_) => self.cast_rows(array, column, failures).map_err(internal)?,
                };
                self.note_lost(array, &carried, column, failures);
                for row in overflowed(array, &carried).map_err(internal)? {
                    failures.note(row, column, || self.unfit(array, row, column));
                }
                carried
            }
            Way::ThereAndBack => {
                let carried = arrow_cast(array, &to).map_err(internal)?;
                self.note_lost(array, &carried, column, failures);
                self.note_unlike(array, &carried, column, failures)?;
                carried
            }
            Way::Text => self.read_text(array, column, failures)?,
            Way::JsonText => {
                let carried = arrow_cast(array, &to).map_err(internal)?;
                let texts = carried.as_string::<i32>();
                for row in (0..texts.len()).filter(|row| texts.is_valid(*row)) {
                    if let Err(reason) = parse::text_slot(&self.target, texts.value(row)) {
                        failures.note(row, column, || format!("{column:?}: {reason}"));
                    }
                }
                carried
            }
            Way::Encode => self.encode(array, column, failures)?,
            Way::Nested => match nested::carried(array, &self.target).map_err(internal)? {
                Some(carried) if nested::fits(&carried, &self.target) => carried,
                // Which row's value does not fit, and what of it, is told by its document.
                _ => self.read_documents(array, column, failures)?,
            },
        };
        self.check_vectors(&carried, column, failures);
        Ok(carried)
    }

    /// Casts row by row, when one value (such as a time of day past 24 hours) fails the cast of the
    /// whole array.
    fn cast_rows(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<ArrayRef, ArrowError> {
        let to = self.target.arrow_type();
        let mut rows = Vec::with_capacity(array.len());
        for row in 0..array.len() {
            rows.push(arrow_cast(&array.slice(row, 1), &to).unwrap_or_else(|_| {
                failures.note(row, column, || self.unfit(array, row, column));
                new_null_array(&to, 1)
            }));
        }
        let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        concat(&rows)
    }

    /// The values with local times as instants of the zone, and the way of what they are then.
    fn in_zone(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<(ArrayRef, Way), ArrowError> {
        let Some(zone) = self.zone else { return Ok((Arc::clone(array), self.way)) };
        let Instants { values, problem } = instants_in(array, &self.target, zone)?;
        if problem.is_some() {
            for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
                let one = instants_in(&array.slice(row, 1), &self.target, zone)?;
                if let Some(problem) = one.problem {
                    failures.note(row, column, || format!("{column:?}: {problem}"));
                }
            }
        }
        let is_turned = values.data_type() != array.data_type();
        let turned = is_turned.then(|| way(values.data_type(), &self.target, None)).flatten();
        Ok((values, turned.unwrap_or(self.way)))
    }

    /// The values with lengths of time as numbers in the unit that the column, or a field, states.
    fn in_units(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<ArrayRef, ArrowError> {
        if !has_lengths(array.data_type()) {
            return Ok(Arc::clone(array));
        }
        let (target, unit) = (&self.target, self.unit.as_deref());
        let turned = in_units(array, target, unit)?;
        if !turned.all_fit {
            for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
                if !in_units(&array.slice(row, 1), target, unit)?.all_fit {
                    failures.note(row, column, || {
                        let unit = unit.map(|unit| format!(" in {unit}")).unwrap_or_default();
                        format!("{}{unit}, as a whole number", self.unfit(array, row, column))
                    });
                }
            }
        }
        Ok(turned.values)
    }

    /// Notes the values that are others when they come back.
    pub(super) fn note_unlike(
        &self,
        array: &ArrayRef,
        carried: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<(), Unfit> {
        self.note_unlike_in(array.data_type(), array, carried, column, failures)
    }

    /// The same where both are seen as values of another type.
    pub(super) fn note_unlike_in(
        &self,
        seen_as: &DataType,
        array: &ArrayRef,
        carried: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<(), Unfit> {
        let internal = |e: ArrowError| Unfit(format!("{column:?} from {}: {e}", array.data_type()));
        let (before, after) = (arrow_cast(array, seen_as), arrow_cast(carried, seen_as));
        let (before, after) = (before.map_err(internal)?, after.map_err(internal)?);
        // One that can not come back is another one, too.
        let changed = distinct(&after, &before).map_err(internal)?;
        let changed: BooleanArray =
            (0..array.len()).map(|row| Some(changed.value(row) && carried.is_valid(row))).collect();
        self.note_changed(array, &changed, column, failures);
        Ok(())
    }

    /// Notes the texts that no number is written as: with a zero, a plus or a blank before it, or a blank behind.
    pub(super) fn note_names(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<(), Unfit> {
        let internal = |e: ArrowError| Unfit(format!("{column:?} from {}: {e}", array.data_type()));
        let texts = arrow_cast(array, &DataType::LargeUtf8).map_err(internal)?;
        let texts = texts.as_string_opt::<i64>();
        let texts = texts.ok_or_else(|| Unfit(format!("{column:?}: not a text")))?;
        let is_name = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
            let leads = matches!(digits, [b'0', b'0'..=b'9', ..] | [b'+', ..]);
            leads || text.trim() != text
        };
        let names: BooleanArray =
            texts.iter().map(|text| Some(text.is_some_and(is_name))).collect();
        self.note_changed(array, &names, column, failures);
        Ok(())
    }

    fn note_lost(&self, from: &ArrayRef, to: &ArrayRef, column: &str, failures: &mut Failures) {
        if to.logical_null_count() == from.logical_null_count() {
            return;
        }
        let (from_nulls, to_nulls) = (from.logical_nulls(), to.logical_nulls());
        let is_null = |nulls: &Option<arrow::buffer::NullBuffer>, row| {
            nulls.as_ref().is_some_and(|n| n.is_null(row))
        };
        for row in 0..from.len() {
            if is_null(&to_nulls, row) && !is_null(&from_nulls, row) {
                failures.note(row, column, || self.unfit(from, row, column));
            }
        }
    }

    fn note_changed(
        &self,
        from: &ArrayRef,
        changed: &BooleanArray,
        column: &str,
        failures: &mut Failures,
    ) {
        if changed.true_count() == 0 {
            return;
        }
        for row in 0..changed.len() {
            if changed.is_valid(row) && changed.value(row) {
                failures.note(row, column, || self.unfit(from, row, column));
            }
        }
    }

    fn unfit(&self, from: &ArrayRef, row: usize, column: &str) -> String {
        let options = FormatOptions::new().with_display_error(false);
        let formatter = ArrayFormatter::try_new(from, &options);
        let shown = formatter.and_then(|formatter| formatter.value(row).try_to_string());
        let shown =
            shown.unwrap_or_else(|_| format!("a value without a text ({})", from.data_type()));
        format!("{column:?}: expected {}, found {}", self.target, parse::quoted(&shown))
    }

    fn read_text(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<ArrayRef, Unfit> {
        let texts = arrow_cast(array, &DataType::Utf8)
            .map_err(|e| Unfit(format!("{column:?} as text: {e}")))?;
        let texts = texts.as_string::<i32>();
        let mut builder = ColumnBuilder::new(&self.target)?;
        for row in 0..texts.len() {
            if texts.is_null(row) {
                builder.push(&Slot::Null)?;
                continue;
            }
            match parse::text_slot(&self.target, texts.value(row)) {
                Ok(slot) => builder.push(&slot)?,
                Err(reason) => {
                    failures.note(row, column, || format!("{column:?}: {reason}"));
                    builder.push(&Slot::Null)?;
                }
            }
        }
        Ok(builder.finish()?)
    }

    fn read_documents(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<ArrayRef, Unfit> {
        let documents = self.encode(array, column, failures)?;
        self.read_text(&documents, column, failures)
    }

    fn encode(
        &self,
        array: &ArrayRef,
        column: &str,
        failures: &mut Failures,
    ) -> Result<ArrayRef, Unfit> {
        let unfit = |e| Unfit(format!("{column:?} ({}) as JSON: {e}", array.data_type()));
        match json_texts(array.as_ref()) {
            Err(ArrowError::CastError(_)) => {}
            texts => return texts.map_err(unfit),
        }
        // One of the values cannot be formatted.
        let mut texts = Vec::with_capacity(array.len());
        for row in 0..array.len() {
            match json_texts(array.slice(row, 1).as_ref()) {
                Ok(text) => texts.push(text),
                Err(ArrowError::CastError(reason)) => {
                    failures.note(row, column, || format!("{column:?}: {reason}"));
                    texts.push(new_null_array(&DataType::Utf8, 1));
                }
                Err(error) => return Err(unfit(error)),
            }
        }
        let texts: Vec<&dyn Array> = texts.iter().map(AsRef::as_ref).collect();
        concat(&texts).map_err(unfit)
    }

    /// Vectors are of one length and hold no nulls.
    fn check_vectors(&self, array: &ArrayRef, column: &str, failures: &mut Failures) {
        let ColumnType::Vector(length) = &self.target else { return };
        let Some(lists) = array.as_list_opt::<i32>() else { return };
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            let items = lists.value(row);
            if *length as usize != items.len() {
                failures.note(row, column, || {
                    format!("{column:?}: expected {length} numbers, found {}", items.len())
                });
            } else if items.null_count() > 0 {
                failures.note(row, column, || {
                    format!("{column:?}: expected {} without a null inside", self.target)
                });
            }
        }
    }
}

/// Which values differ, those of lists item by item.
fn distinct(left: &ArrayRef, right: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    if !left.data_type().is_nested() {
        return arrow::compute::kernels::cmp::distinct(left, right);
    }
    let compare = make_comparator(left, right, SortOptions::default())?;
    Ok((0..left.len()).map(|row| Some(compare(row, row).is_ne())).collect())
}

pub(super) fn arrow_cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let floored = match (has_finer_times(array.data_type()), to) {
        (false, _) | (_, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => None,
        _ => Some(floored(array, to)?),
    };
    let options = CastOptions { safe: true, ..Default::default() };
    cast_with_options(floored.as_ref().unwrap_or(array), to, &options)
}

pub(super) fn way(from: &DataType, target: &ColumnType, stated: Option<&str>) -> Option<Way> {
    use ColumnType as C;
    use DataType as D;
    let inside = match from {
        D::Dictionary(_, values) => Some(values.as_ref()),
        D::RunEndEncoded(_, values) => Some(values.data_type()),
        _ => None,
    };
    if let Some(inside) = inside {
        return match way(inside, target, stated)? {
            Way::Same | Way::Arrow => Some(Way::Arrow),
            Way::Encode | Way::Nested => None,
            other => Some(other),
        };
    }
    let textual = matches!(from, D::Utf8 | D::LargeUtf8 | D::Utf8View);
    if from == &D::Null {
        return Some(Way::Arrow);
    }
    if let C::Json = target {
        if textual {
            return Some(if stated == Some("json") { Way::Arrow } else { Way::JsonText });
        }
        return matches!(
            from,
            D::Struct(_)
                | D::Map(..)
                | D::List(_)
                | D::LargeList(_)
                | D::FixedSizeList(..)
                | D::ListView(_)
                | D::LargeListView(_)
                | D::Union(..)
        )
        .then_some(Way::Encode)
        .or_else(|| (from.is_numeric() || from == &D::Boolean).then_some(Way::Encode));
    }
    if target.is_nested() && !textual {
        return nested::has_way(from, target).then_some(Way::Nested);
    }
    if from == &target.arrow_type() {
        return Some(Way::Same);
    }
    if textual {
        return Some(if target == &C::Text { Way::Arrow } else { Way::Text });
    }
    let decimal =
        matches!(from, D::Decimal32(..) | D::Decimal64(..) | D::Decimal128(..) | D::Decimal256(..));
    match target {
        C::Text => (from.is_integer()
            || decimal
            || from == &D::Boolean
            || matches!(from, D::Time32(_) | D::Time64(_) | D::Interval(_)))
        .then_some(Way::Arrow),
        C::Int32 | C::Int64 => {
            if from.is_integer() || matches!(from, D::Duration(_)) {
                Some(Way::Arrow)
            } else {
                (from.is_floating() || decimal).then_some(Way::ThereAndBack)
            }
        }
        C::Float32 | C::Float64 => {
            if from.is_integer() && !fits_float(from, target) {
                Some(Way::ThereAndBack)
            } else {
                (from.is_integer() || from.is_floating() || decimal).then_some(Way::Arrow)
            }
        }
        C::Decimal(..) if from.is_integer() => Some(Way::Arrow),
        C::Decimal(..) if decimal => Some(Way::ThereAndBack),
        // By its shortest text: 0.1 is a tenth.
        C::Decimal(..) => from.is_floating().then_some(Way::Text),
        C::Timestamp => {
            matches!(from, D::Timestamp(..) | D::Date32 | D::Date64).then_some(Way::Arrow)
        }
        C::Date => matches!(from, D::Date64).then_some(Way::Arrow),
        C::Bytes => {
            matches!(from, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_))
                .then_some(Way::Arrow)
        }
        C::List(item) => list_way(from, item),
        C::Vector(_) => list_way(from, &C::Float32),
        C::Bool | C::Json | C::Struct(_) | C::Map(_) => None,
    }
}

/// Whether every integer of the type is a float of the type.
fn fits_float(from: &DataType, target: &ColumnType) -> bool {
    let bits = from.primitive_width().unwrap_or(8) * 8;
    bits <= if target == &ColumnType::Float64 { 32 } else { 16 }
}

fn list_way(from: &DataType, item: &ColumnType) -> Option<Way> {
    match way(item_of(from)?.data_type(), item, None)? {
        Way::Same | Way::Arrow => Some(Way::Arrow),
        // Floats in a list round like floats anywhere: from 64 bits to 32.
        Way::ThereAndBack => Some(Way::ThereAndBack),
        Way::Text if item_of(from)?.data_type().is_floating() => Some(Way::ThereAndBack),
        Way::Text | Way::JsonText | Way::Encode | Way::Nested => None,
    }
}
