//! How alike texts must be: as asked for, or as labels say.
//!
//! Each labelled pair has the part of runs of characters that both texts have and the cosine of their vectors, both counted
//! and not estimated. A pair is taken where either reaches its threshold. Of all thresholds those are chosen with which F1 is
//! best; where several are, the usual ones, and else the highest, since they take the fewest other pairs.

use analysis::curve::{Point, curve, thinned};
use engine::Result;
use kernels::minhash::jaccard;
use serde_json::{Value, json};

use super::Params;
use super::find::minhash;
use super::incremental::corpus_of;
use super::labels::{Judged, Kinds};
use super::semantic::Semantic;
use crate::run::context::RunContext;

/// The least thresholds that labels choose: below, nearly every text is compared with nearly every other.
const LEAST: (f64, f64) = (0.3, 0.5);

/// Thresholds of either kind that are tried.
const TRIED_MAX: usize = 100;

/// A labelled pair.
#[derive(Clone, Copy, Debug)]
struct Scored {
    is_same: bool,
    similarity: f64,
    /// Below all others where a row has no vector.
    cosine: f64,
    is_duplicate: bool,
}

/// The parameters with the thresholds that are taken, and what labels say of these.
pub(super) async fn resolve(
    ctx: &RunContext,
    params: &Params,
    semantic: Option<&Semantic>,
) -> Result<(Params, Value)> {
    let Some(labels) = &params.labels else { return Ok((params.clone(), Value::Null)) };
    let mut stage = ctx.stage("labels");
    let judged = Judged::read(ctx, labels, &params.dataset).await?;
    let corpus = corpus_of(ctx, params, &judged.ids()).await?;
    let (texts, ids) = (corpus.texts()?, corpus.ids());
    let labels = judged.labels(ids)?;
    stage.record.rows_in = labels.len() as u64;
    let kinds = Kinds::of(&labels)?;
    if labels.is_empty() {
        return Ok((params.clone(), Value::Null));
    }
    let mut scored = Vec::with_capacity(labels.len());
    for label in &labels {
        let (a, b) = (texts.text(label.a), texts.text(label.b));
        let cosine = semantic.and_then(|of| of.cosine(ids.value(label.a), ids.value(label.b)));
        scored.push(Scored {
            is_same: a == b,
            similarity: jaccard(a, b, &minhash(params))?,
            cosine: cosine.unwrap_or(-1.0),
            is_duplicate: label.is_duplicate,
        });
    }
    stage.finish();
    let by_words = curve(&pairs(&scored, |pair| pair.similarity));
    let by_vectors = semantic.map(|_| curve(&pairs(&scored, |pair| pair.cosine)));
    let usual = (params.min_similarity(), params.min_cosine());
    let similarities = tried((params.min_similarity, usual.0), &by_words, LEAST.0);
    let cosines = match &by_vectors {
        Some(points) => tried((params.min_cosine, usual.1), points, LEAST.1),
        None => vec![f64::INFINITY],
    };
    let (similarity, cosine) = best(&scored, &similarities, &cosines);
    let resolved = Params {
        min_similarity: Some(similarity),
        min_cosine: semantic.map(|_| cosine),
        ..params.clone()
    };
    let stages = stages(&scored, similarity, semantic.map(|_| cosine));
    let report = json!({
        "pairs": labels.len(),
        "duplicates": kinds.duplicates,
        "stages": stages,
        "curve_of_similarity": thinned(&by_words),
        "curve_of_cosine": by_vectors.as_deref().map(thinned),
    });
    Ok((resolved, report))
}

fn pairs(scored: &[Scored], score: impl Fn(&Scored) -> f64) -> Vec<(f64, bool)> {
    scored.iter().map(|pair| (score(pair), pair.is_duplicate)).collect()
}

/// The one that is asked for, or the usual one and some of those of a curve, the highest first.
fn tried((asked, usual): (Option<f64>, f64), points: &[Point], least: f64) -> Vec<f64> {
    if let Some(asked) = asked {
        return vec![asked];
    }
    let step = points.len().div_ceil(TRIED_MAX).max(1);
    let mut tried: Vec<f64> = [usual, 1.0]
        .into_iter()
        .chain(points.iter().step_by(step).map(|point| point.threshold))
        .map(|threshold| threshold.clamp(least, 1.0))
        .collect();
    tried.dedup();
    tried
}

/// Precision, recall and F1 of what `takes` takes.
fn point(scored: &[Scored], threshold: f64, takes: impl Fn(&Scored) -> bool) -> Point {
    let count = |of: &dyn Fn(&Scored) -> bool| scored.iter().filter(|pair| of(pair)).count() as f64;
    let hits = count(&|pair| pair.is_duplicate && takes(pair));
    Point::of(threshold, hits, count(&takes), count(&|pair| pair.is_duplicate))
}

fn best(scored: &[Scored], similarities: &[f64], cosines: &[f64]) -> (f64, f64) {
    let all = similarities.iter().flat_map(|s| cosines.iter().map(move |c| (*s, *c)));
    let with_f1 = all.map(|(similarity, cosine)| {
        let taken =
            |pair: &Scored| pair.is_same || pair.similarity >= similarity || pair.cosine >= cosine;
        (point(scored, 0.0, taken).f1, (similarity, cosine))
    });
    let best = with_f1.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map_or((1.0, 1.0), |best| best.1)
}

/// What each stage adds to those before it.
fn stages(scored: &[Scored], similarity: f64, cosine: Option<f64>) -> Vec<Value> {
    let is_near = |pair: &Scored| pair.is_same || pair.similarity >= similarity;
    let of = |stage: &str, point: Point| {
        let Point { precision, recall, f1, .. } = point;
        json!({"stage": stage, "precision": precision, "recall": recall, "f1": f1})
    };
    let mut stages = vec![
        of("exact", point(scored, 1.0, |pair| pair.is_same)),
        of("near", point(scored, similarity, is_near)),
    ];
    stages.extend(cosine.map(|cosine| {
        of("semantic", point(scored, cosine, |pair| is_near(pair) || pair.cosine >= cosine))
    }));
    stages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(pairs: &[(f64, f64, bool)]) -> Vec<Scored> {
        let of = |&(similarity, cosine, is_duplicate): &(f64, f64, bool)| Scored {
            is_same: similarity == 1.0,
            similarity,
            cosine,
            is_duplicate,
        };
        pairs.iter().map(of).collect()
    }

    #[test]
    fn the_thresholds_with_the_best_f1_together_are_chosen() {
        let scored = scored(&[
            (1.0, 1.0, true),
            (0.8, 0.7, true),
            (0.2, 0.95, true),
            (0.4, 0.9, true),
            (0.5, 0.6, false),
            (0.1, 0.8, false),
            (0.0, 0.1, false),
        ]);
        let by_words = curve(&pairs(&scored, |pair| pair.similarity));
        let by_vectors = curve(&pairs(&scored, |pair| pair.cosine));
        let chosen = |usual: (f64, f64)| {
            let similarities = tried((None, usual.0), &by_words, LEAST.0);
            let cosines = tried((None, usual.1), &by_vectors, LEAST.1);
            best(&scored, &similarities, &cosines)
        };
        // The usual ones are as good; where they are not, others are chosen.
        assert_eq!(chosen((0.75, 0.9)), (0.75, 0.9));
        let (similarity, cosine) = chosen((0.9, 0.99));
        assert_eq!((similarity, cosine), (0.65, 0.8500000000000001));
        let stages = stages(&scored, similarity, Some(cosine));
        let recalls: Vec<f64> = stages.iter().filter_map(|s| s["recall"].as_f64()).collect();
        assert_eq!(recalls, [0.25, 0.5, 1.0]);
        assert!(stages.iter().all(|stage| stage["precision"] == 1.0));
        // What is asked for stays.
        assert_eq!(best(&scored, &[0.75], &tried((None, 0.9), &by_vectors, LEAST.1)).0, 0.75);
        assert_eq!(tried((Some(0.2), 0.75), &by_words, LEAST.0), [0.2]);
        // No label leads below the least.
        assert!(tried((None, 0.75), &by_words, LEAST.0).iter().all(|s| *s >= LEAST.0));
    }
}
