//! What the data looks like: dataset specs, readers of public file formats, deterministic generators.
//!
//! A leaf of the workspace: it knows Arrow and files, and nothing of storage, tables or tenants. A
//! dataset that a user declares and one that comes with Colonnade are the same kind of value, a
//! [`DatasetSpec`]; no code anywhere asks which of the two it has.

mod causes;
mod column_type;
mod columns;
pub mod conform;
mod contain;
pub mod encode;
pub mod error;
pub mod generate;
pub mod infer;
mod local_time;
mod measure;
pub mod name;
mod near;
pub mod otlp;
pub mod parse;
mod pattern;
pub mod read;
pub mod rejected;
mod relation;
pub mod spec;
pub mod specs;
pub mod validate;

pub use causes::{Cause, Causes};
pub use column_type::{ColumnType, StructField, TYPE_FIELDS_MAX, TYPE_NESTING_MAX};
pub use error::{Error, Result};
pub use measure::{
    DIMENSIONS_MAX, DimensionSpec, EXPRESSION_MAX_BYTES, MEASURES_MAX, MeasureFormat, MeasureSpec,
    RESERVED_WORDS,
};
pub use name::DatasetName;
pub use near::{did_you_mean, near_names};
pub use pattern::PATTERN_MAX_BYTES;
pub use rejected::{Position, RejectedRow};
pub use relation::{RELATIONS_MAX, RelationSpec};
pub use spec::{
    ColumnSpec, DatasetSpec, Evolution, KeyPolicy, LoadSettings, PartitionSpec, PartitionTransform,
    Validation, toml_problem,
};
