//! From the arguments of a field to one DataFusion plan, and from its rows to GraphQL values.
//!
//! Filter, projection, order, limit and grouping all go into the plan; nothing is filtered here
//! afterwards. The rest of this crate hands arguments in and takes columns of values out.

pub(crate) mod as_of;
pub(crate) mod bucket;
pub(crate) mod by_key;
pub(crate) mod computed;
pub(crate) mod cursor;
pub(crate) mod functions;
pub(crate) mod grouping;
pub(crate) mod groups;
pub(crate) mod holding;
pub(crate) mod items;
pub(crate) mod literals;
pub(crate) mod measures;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod predicate;
pub(crate) mod related;
pub(crate) mod sample;
pub(crate) mod shown;
pub(crate) mod streamed;
pub(crate) mod values;
