//! What an event log says of the process behind it.

use analysis::process::{
    Alignment, Graph, Log, Move, Names, Net, States, Tokens, Tree, Variant, align, discover_among,
    from_file, replay, variants,
};
use engine::{Error, Result};
use rayon::prelude::*;

use super::NAME;
use super::params::Params;
use super::read::Read;
use crate::parameters::bad;

/// Activities of a log that a model is discovered from, at most: it looks at all pairs of them, again and again.
const ACTIVITIES_MAX: usize = 1_000;
/// States of a model that alignments look at, at most.
const STATES_MAX: usize = 50_000;

/// Ways that are aligned together, and after how many that could not be none is tried any more: each of these takes seconds.
const CHUNK: usize = 32;
const NOT_ALIGNED_MAX: usize = 16;
/// Deviations of a case that are named.
const DEVIATIONS_MAX: usize = 20;

/// What was found.
pub(super) struct Mined {
    pub(super) log: Log,
    pub(super) graph: Graph,
    pub(super) variants: Vec<Variant>,
    /// How each variant fits the model.
    pub(super) fits: Vec<Fit>,
    pub(super) model: Option<Model>,
    /// Why there is none.
    pub(super) no_model: Option<String>,
}

/// A model.
pub(super) struct Model {
    /// None of one that was given.
    pub(super) tree: Option<Tree>,
    pub(super) net: Net,
    /// Those of the log, with others that the model alone has.
    pub(super) names: Names,
    /// Variants that it was discovered from, and the part of the cases that these are.
    pub(super) from_variants: usize,
    pub(super) from_share: f64,
    /// Of all cases.
    pub(super) tokens: Tokens,
}

/// How the cases of a variant fit the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Fit {
    pub(super) tokens: Tokens,
    /// None where there are too many states to look at.
    pub(super) alignment: Option<Alignment>,
}

/// Looks at a log. `check` fails where nobody waits any more.
pub(super) fn mine(
    read: Read,
    params: &Params,
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Mined> {
    let log = read.log;
    let graph = Graph::of(&log);
    check()?;
    let variants = variants(&log);
    check()?;
    let stop = || check().is_err();
    let (model, no_model) = match model(&log, &variants, params, &stop)? {
        Ok(model) => (Some(model), None),
        Err(says) => (None, Some(says)),
    };
    check()?;
    let mut mined = Mined { log, graph, variants, fits: Vec::new(), model, no_model };
    if let Some(model) = &mut mined.model {
        mined.fits = fits(&model.net, &mined.variants, check)?;
        for (variant, fit) in mined.variants.iter().zip(&mined.fits) {
            model.tokens.add(&fit.tokens, variant.cases.len() as u64);
        }
    }
    Ok(mined)
}

/// The model that is given, or that of the most frequent ways; or why there is none.
fn model(
    log: &Log,
    variants: &[Variant],
    params: &Params,
    stop: &dyn Fn() -> bool,
) -> Result<std::result::Result<Model, String>> {
    let mut names = log.activities.clone();
    let of = |tree, net, names, from: &[Variant]| Model {
        tree,
        net,
        names,
        from_variants: from.len(),
        from_share: from.last().map_or(0.0, |last| last.covered),
        tokens: Tokens::default(),
    };
    if let Some(text) = &params.model {
        let net = from_file(text, &mut names).map_err(|problem| bad(NAME, "model", problem))?;
        return Ok(Ok(of(None, net, names, &[])));
    }
    if variants.is_empty() {
        return Ok(Err("there are no events".to_owned()));
    }
    let before = variants.partition_point(|variant| variant.covered < params.model_share);
    let from = variants.get(..=before).unwrap_or(variants);
    if log.activities.len() > ACTIVITIES_MAX {
        return Ok(Err(format!(
            "there are {} activities, and a model is discovered of at most {ACTIVITIES_MAX}",
            log.activities.len()
        )));
    }
    let tree = discover_among(from, stop).normal();
    let net = Net::of(&tree);
    Ok(Ok(of(Some(tree), net, names, from)))
}

/// Plays all ways through the model, and aligns them, the most frequent first, until too many could not be.
fn fits(
    net: &Net,
    variants: &[Variant],
    check: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Vec<Fit>> {
    let mut fits = Vec::with_capacity(variants.len());
    let mut not_aligned = 0;
    for some in variants.chunks(CHUNK) {
        let is_given_up = not_aligned >= NOT_ALIGNED_MAX;
        let begin = || Aligner { net, states: States::new(net, STATES_MAX), is_fresh: true };
        let one = |aligner: &mut Aligner<'_>, variant: &Variant| {
            check()?;
            let way = &variant.activities;
            let alignment = if is_given_up { None } else { aligner.align(way) };
            Ok(Fit { tokens: replay(net, way), alignment })
        };
        let found: Vec<Fit> = some.par_iter().map_init(begin, one).collect::<Result<_, Error>>()?;
        not_aligned += found.iter().filter(|fit| fit.alignment.is_none()).count();
        fits.extend(found);
    }
    Ok(fits)
}

/// Aligns one way after the other, with what was seen of the model's states before.
struct Aligner<'a> {
    net: &'a Net,
    states: States<'a>,
    is_fresh: bool,
}

impl Aligner<'_> {
    fn align(&mut self, way: &[u32]) -> Option<Alignment> {
        let mut found = align(&mut self.states, way);
        if found.is_err() && !self.is_fresh {
            // Of those that others were looked at in there may be too many: what is told of a way must not depend on these.
            self.states = States::new(self.net, STATES_MAX);
            found = align(&mut self.states, way);
        }
        self.is_fresh = found.is_err();
        if self.is_fresh {
            self.states = States::new(self.net, STATES_MAX);
        }
        // Too many states.
        found.unwrap_or(None)
    }
}

impl Fit {
    /// What a case did that the model does not allow, and what it lacks, in words, in order.
    pub(super) fn deviations(&self, names: &Names) -> Vec<String> {
        let moves = self.alignment.iter().flat_map(|alignment| &alignment.moves);
        let mut told = moves.filter_map(|step| match step {
            Move::Log(activity) => Some(format!("extra: {}", names.text(*activity))),
            Move::Model(activity) => Some(format!("missing: {}", names.text(*activity))),
            Move::Both(_) | Move::Silent => None,
        });
        let mut some: Vec<String> = told.by_ref().take(DEVIATIONS_MAX).collect();
        let more = told.count();
        if more > 0 {
            some.push(format!("and {more} more"));
        }
        some
    }
}
