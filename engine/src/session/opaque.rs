//! A value that is shared, and of whose type the compiler need not prove again what it is made of.
//!
//! DataFusion's sessions hold plans, and those hold the whole syntax of SQL: that all of it is `Send` and `Sync` takes the
//! compiler three seconds, and it is asked in every `impl` with an async function that holds a session, in every crate above
//! this one. Behind a trait object it is known by the bounds alone.

use std::ops::Deref;
use std::sync::Arc;

/// A `T` behind a pointer that is `Send` and `Sync` at once. Clones are of the pointer.
pub(super) struct Opaque<T>(Arc<dyn Holds<T> + Send + Sync>);

trait Holds<T> {
    fn held(&self) -> &T;
}

impl<T> Holds<T> for T {
    fn held(&self) -> &T {
        self
    }
}

impl<T: Send + Sync + 'static> Opaque<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Clone for Opaque<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Opaque<T> {
    type Target = T;

    fn deref(&self) -> &T {
        (*self.0).held()
    }
}
