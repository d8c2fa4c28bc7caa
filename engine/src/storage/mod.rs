//! Where bytes lie: one root, on a disk, in memory or in an object store.
//!
//! Everything above sees one `ObjectStore` whose paths begin at the root, so that no path of the
//! server can reach a table's log or an error message. This room owns what differs between stores:
//! how a root is named, how an acknowledged write becomes durable, and who may write.

mod durable;
mod environment;
mod error;
#[cfg(test)]
pub(crate) mod faulty;
mod identity;
mod lock;
mod marks;
mod root;
mod target;

pub use environment::add_store_variables;
pub(crate) use error::{STORE_FAILED, store_answer, store_failure};
pub use lock::WorkMark;
pub(crate) use lock::{WriterLock, is_marked};
pub use marks::RootMark;
pub(crate) use root::Root;
pub(crate) use target::{Target, TargetLock, Upload};
