//! What is kept of attributes: their values as JSON, cut where they are too long or nested too deep, and a word on what was cut.

use serde_json::{Map, Number, Value};

use super::NESTING_MAX;
use super::message::{Any, AnyValue, KeyValue};
use crate::parse;

/// Most that is kept of one attribute of a span, in bytes of its texts and 8 for each part of it.
pub(super) const ATTRIBUTE_BYTES_MAX: usize = 256 << 10;
/// The same of all attributes of a span.
pub(super) const ATTRIBUTES_BYTES_MAX: usize = 1 << 20;
/// The same of those of a resource: they stand in the row of each of its spans.
pub(super) const RESOURCE_BYTES_MAX: usize = 16 << 10;
/// Attributes of which it is told that they were cut; of others, only how many they are.
const TOLD_MAX: usize = 32;
/// What a part of a value takes beside its text.
const PART_BYTES: usize = 8;

/// Whether an attribute of this key says that a span follows the conventions for generative AI.
pub(super) fn is_of_convention(key: &[u8]) -> bool {
    key.starts_with(b"gen_ai.")
}

/// Attributes as they are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) values: Map<String, Value>,
    /// What was cut, by key.
    pub(super) cut: Map<String, Value>,
    /// How many were left out, or cut and are not named.
    pub(super) left_out: u64,
}

impl Kept {
    /// Of several with one key the last is kept.
    pub(super) fn of(attributes: &[KeyValue], bytes_max: usize) -> Self {
        let mut kept = Self::default();
        let mut left = bytes_max;
        for KeyValue { key, value } in attributes {
            let Some(for_value) = left.checked_sub(key.len() + PART_BYTES).filter(|it| *it > 0)
            else {
                kept.left_out += 1;
                continue;
            };
            let room = for_value.min(ATTRIBUTE_BYTES_MAX);
            let mut cutting = Cutting { left: room, cut: None };
            let value = cutting.value(value.as_ref(), 0);
            left = for_value - (room - cutting.left);
            match cutting.cut {
                Some(cut) if kept.cut.len() < TOLD_MAX => {
                    kept.cut.insert(key.clone(), Value::from(cut.told()));
                }
                Some(_) => kept.left_out += 1,
                None => {
                    kept.cut.remove(key);
                }
            }
            kept.values.insert(key.clone(), value);
        }
        kept
    }
}

/// Why a value is not whole.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Long,
    Deep,
}

impl Cut {
    fn told(self) -> String {
        match self {
            Self::Long => "cut: too long".to_owned(),
            Self::Deep => format!("cut: nested deeper than {NESTING_MAX}"),
        }
    }
}

/// Takes over a value as long as there is room.
struct Cutting {
    left: usize,
    cut: Option<Cut>,
}

impl Cutting {
    /// A value that is inside so many lists.
    fn value(&mut self, value: Option<&AnyValue>, depth: usize) -> Value {
        match value.and_then(|value| value.value.as_ref()) {
            None => Value::Null,
            Some(Any::Text(text)) => Value::String(self.text(text)),
            Some(Any::Bool(value)) => Value::Bool(*value),
            Some(Any::Int(value)) => Value::from(*value),
            // As protobuf writes in JSON what JSON has not.
            Some(Any::Double(value)) => match Number::from_f64(*value) {
                Some(number) => Value::Number(number),
                None if value.is_nan() => Value::from("NaN"),
                None if *value > 0.0 => Value::from("Infinity"),
                None => Value::from("-Infinity"),
            },
            Some(Any::Bytes(bytes)) => {
                let fit = bytes.len().min(self.left / 4 * 3);
                if fit < bytes.len() {
                    self.cut = Some(Cut::Long);
                }
                Value::String(self.text(&parse::base64_text(&bytes[..fit])))
            }
            Some(Any::Array(_) | Any::Pairs(_)) if depth == NESTING_MAX => {
                self.cut = Some(Cut::Deep);
                Value::Null
            }
            Some(Any::Array(list)) => {
                let mut values = Vec::new();
                for value in &list.values {
                    if !self.has_room(PART_BYTES) {
                        break;
                    }
                    values.push(self.value(Some(value), depth + 1));
                }
                Value::Array(values)
            }
            Some(Any::Pairs(list)) => {
                let mut values = Map::new();
                for KeyValue { key, value } in &list.values {
                    if !self.has_room(key.len() + PART_BYTES) {
                        break;
                    }
                    values.insert(key.clone(), self.value(value.as_ref(), depth + 1));
                }
                Value::Object(values)
            }
        }
    }

    /// As much of a text as there is room for.
    fn text(&mut self, text: &str) -> String {
        let fit = shortened(text, self.left);
        if fit.len() < text.len() {
            self.cut = Some(Cut::Long);
        }
        self.left -= fit.len();
        fit.to_owned()
    }

    /// Takes room where there is enough.
    fn has_room(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                self.cut = Some(Cut::Long);
                return false;
            }
        }
        true
    }
}

/// The beginning of a text that has at most so many bytes.
pub(super) fn shortened(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
