//! How good a model is: pure functions of what it answered and what is true. Rows of labels that the classifier
//! does not know are counted and left out of what only makes sense for those it knows.

mod calibration;
mod compare;
mod out_of_scope;
mod retrieval;
mod scores;

pub use calibration::{
    Calibration, calibration_error, calibration_error_interval, confirmed_temperature,
    fit_temperature,
};
pub use compare::{Comparison, compare};
pub use out_of_scope::{
    Aim, InScope, NO_THRESHOLD, ScopeReport, Score, Threshold, auroc, choose_threshold,
    scope_report, separates_better,
};
pub use retrieval::{Retrieval, retrieval};
pub use scores::{ClassScores, Scores, macro_f1_interval, scores};

pub(crate) use calibration::best_of;
pub(crate) use retrieval::{for_each_similarity, product, retrieval_on};
