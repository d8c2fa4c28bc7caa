//! Subscriptions: commits of the bus, turned into messages.
//!
//! ```text
//!   commit bus ──▶ follow: which version is next?  ──▶ Change ──▶ rows, counts   ──▶ transport
//!   (broadcast)    (two numbers, no queue)             (shared: computed once        (bounded)
//!                                                       for all subscribers)
//! ```
//!
//! A subscription keeps no queue of its own. It knows the version it told last and the newest there
//! is, and makes the next message only when the transport asks for it. So a slow client costs two
//! numbers, and what it missed meanwhile it is told version by version, or, when that is too much, as
//! one net change.
//!
//! Those who have been told all that there is, and ask the same, wait in a [`hub`], which follows for all of them.

pub(crate) mod catalog;
pub(crate) mod change;
pub(crate) mod hub;
pub(crate) mod runs;
pub(crate) mod shared;
pub(crate) mod versions;
