//! What a run reads: all, or what came since the run before.

use std::collections::HashMap;

use engine::{Changes, Code, Result, Version};

use super::state::{Known, State};
use crate::kinds::anomalies::Params;
use crate::run::context::RunContext;

pub(super) enum Reach {
    /// Nothing: no row came after this version.
    Nothing(Version),
    /// What came after this version, and what went.
    Since { version: Version, changes: Box<Changes> },
    /// All, and why.
    All(String),
}

/// What is known of the series, where it still counts, and what is to be read.
pub(super) async fn reach(
    ctx: &RunContext,
    params: &Params,
    state: State,
) -> Result<(HashMap<String, Known>, Reach)> {
    let all = |why: String| Ok((HashMap::new(), Reach::All(why)));
    let (version, known) = match state {
        State::None(why) => return all(why),
        State::Of(version, known) => (version, known),
    };
    let to = ctx.input(&params.dataset)?.version;
    if version == to {
        return Ok((known, Reach::Nothing(version)));
    }
    if version > to {
        return all(format!("version {version} of {} is none of this dataset's", params.dataset));
    }
    match ctx.engine().changes(ctx.principal(), &params.dataset, version, to).await {
        Err(error) if error.code() == Code::NotFound => {
            all(format!("version {version} of {} is gone", params.dataset))
        }
        changes => match changes? {
            changes if changes.commits == 0 => Ok((known, Reach::Nothing(version))),
            changes => Ok((known, Reach::Since { version, changes: Box::new(changes) })),
        },
    }
}
