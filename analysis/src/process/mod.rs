//! What event logs say of the processes behind them.
//!
//! ```text
//!   case   activity    start   end        a trace: the events of one case in the order of their ends,
//!   17     register     9:00   9:05       those of the same instant in the order in which they came
//!   17     check        9:40  10:00
//!   17     decide      11:00  11:00       directly follows: register → check → decide
//!                                         waiting: from an event's end to the start of the next;
//!                                         working: from an event's start to its end
//! ```
//!
//! - [`Log`]: events by case.
//! - [`Graph`]: which activity directly follows which, how often, and how long that takes; what cases begin and end with; what is done
//!   again, and who hands over to whom.
//! - [`variants`]: the ways that cases take, the most frequent first.
//!
//! Terms are those of van der Aalst, "Process Mining: Data Science in Action", 2016.

mod align;
mod bpmn;
mod bpmn_in;
mod bpmn_net;
#[cfg(test)]
mod bpmn_tests;
mod file;
#[cfg(test)]
mod files_tests;
mod graph;
mod inductive;
mod log;
mod net;
mod pnml;
mod replay;
mod span;
#[cfg(test)]
mod tests;
mod tree;
mod variant;

pub use align::{Alignment, Move, align};
pub use bpmn::to_bpmn;
pub use file::{BadModel, from_file};
pub use graph::{Activity, Edge, Graph, HandOver};
pub use inductive::{discover, discover_among};
pub use log::{Builder, Event, Log, Names, Trace};
pub use net::{Net, States, TooManyStates, Transition};
pub use pnml::to_pnml;
pub use replay::{Tokens, replay};
pub use span::Spans;
pub use tree::{Operator, Tree};
pub use variant::{Variant, variants};
