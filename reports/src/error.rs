//! What can go wrong here: a template, the values for its parameters, the answers to its queries, or pages that can't be set.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of templates and reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A template that is not one.
    #[error("{file}: {place}: {problem}")]
    Template {
        /// The file, or the name of a ready template.
        file: String,
        /// The section, query or parameter, and the key.
        place: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A value for a parameter that does not fit it.
    #[error("parameter {name}: {problem}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// An answer that does not fit what the template makes of it.
    #[error("{place}: {problem}")]
    Answer {
        /// The section and the query.
        place: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A font that can't be read.
    #[error("font {name}: {problem}")]
    Font {
        /// Its name, as given.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// Pages that can't be set: our own bug, or a bound.
    #[error("{0}")]
    Pages(String),
}
