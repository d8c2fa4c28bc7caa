//! Training on pairs as a whole, on a network of two layers of 18.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::Path;

use super::random::Random;
use super::*;
use crate::encoder::published;
use crate::error::{Error, Result};
use crate::folder::{ArtifactFiles, TrainedOrigin};
use crate::{Embedder, TextEmbedder, TrainingData};

/// Texts of which two words of five say the group, in either order and among others; two of a group follow each other.
fn texts(groups: usize, seed: u64) -> (Vec<String>, Vec<usize>) {
    let mut random = Random::new(seed, 0);
    let kinds = ["lost", "card", "a", "b", "los"];
    let mut texts = Vec::new();
    let mut of = Vec::new();
    for _ in 0..groups {
        let (first, second) = (random.below(5), random.below(5));
        for _ in 0..2 {
            let mut text = vec![kinds[first], kinds[second]];
            text.extend((0..random.below(5)).map(|_| ["my", "is", "."][random.below(3)]));
            random.shuffle(&mut text);
            texts.push(text.join(" "));
            of.push(first.min(second) * 5 + first.max(second));
        }
    }
    (texts, of)
}

fn options() -> ContrastiveOptions {
    let training = TrainOptions {
        epochs: 6,
        batch_rows: 16,
        learning_rate: 3e-3,
        patience: None,
        seed: 7,
        ..TrainOptions::default()
    };
    ContrastiveOptions { training, temperature: 0.1 }
}

struct Run<'a> {
    options: ContrastiveOptions,
    folder: Option<&'a Path>,
    /// The step after which it is told to stop.
    stop: u64,
}

fn run(run: &Run<'_>) -> Result<TrainedEncoder> {
    let (pairs, groups) = texts(60, 1);
    let pairs: Vec<(&str, &str)> = pairs.chunks(2).map(|two| (&two[0][..], &two[1][..])).collect();
    let groups: Vec<usize> = groups.into_iter().step_by(2).collect();
    let (others, other_groups) = texts(40, 2);
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let checkpoints = run.folder.map(|folder| CheckpointOptions {
        folder: folder.to_owned(),
        every_steps: 2,
        kept: 2,
    });
    let mut on_progress = |progress: &TrainProgress| {
        assert!(progress.loss.is_finite() && progress.step <= progress.of);
        if progress.step == run.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    fine_tune_pairs(
        &tests::encoder(),
        Pairs { texts: &pairs, groups: &groups },
        Grouped { texts: &others, groups: &other_groups },
        TrainCall {
            options: &run.options,
            checkpoints: checkpoints.as_ref(),
            on_progress: &mut on_progress,
        },
    )
}

fn whole(options: ContrastiveOptions) -> TrainedEncoder {
    run(&Run { options, folder: None, stop: 0 }).unwrap()
}

fn bits(trained: &TrainedEncoder) -> Vec<u32> {
    let tensors = published(&trained.weights).unwrap();
    tensors.values().flat_map(|(_, values)| values).map(|x| x.to_bits()).collect()
}

#[test]
fn pairs_bring_their_texts_together() {
    for method in [options().training.method, Method::LowRank { rank: 4, alpha: 8.0 }] {
        let mut options = options();
        options.training = TrainOptions { method, epochs: 20, ..options.training };
        let trained = whole(options);
        let (first, best) = (trained.history[0], trained.history[trained.best_epoch]);
        assert!(
            best.validation_accuracy > first.validation_accuracy + 0.1,
            "{:?}",
            trained.history
        );
        assert!(best.validation_loss < first.validation_loss, "{:?}", trained.history);
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_with_any_number_of_threads_and_after_a_stop() {
    let expected = whole(options());
    assert_eq!(expected.cost.steps, 24);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| bits(&whole(options()))) == bits(&expected), "{threads} threads");
    }
    let folder = tempfile::tempdir().unwrap();
    for stop in [5, 18] {
        let stopped = run(&Run { options: options(), folder: Some(folder.path()), stop });
        assert_eq!(stopped.unwrap_err(), Error::Cancelled);
    }
    let found = run(&Run { options: options(), folder: Some(folder.path()), stop: 0 }).unwrap();
    assert!(bits(&found) == bits(&expected));
    assert_eq!((&found.history, found.cost.tokens), (&expected.history, expected.cost.tokens));
    let mut other = options();
    other.temperature = 0.2;
    let refused = run(&Run { options: other, folder: Some(folder.path()), stop: 0 }).unwrap_err();
    assert!(refused.to_string().contains("other data, options or encoder"), "{refused}");
}

/// Texts of which the class is said behind so many words that say nothing.
fn late_texts(count: usize, before: usize, seed: u64) -> (Vec<String>, Vec<usize>) {
    let (texts, classes) = texts(count, seed);
    let mut random = Random::new(seed, 1);
    let late = texts.into_iter().map(|text| {
        let nothing = (0..before).map(|_| ["my", "is", "."][random.below(3)]);
        [nothing.collect::<Vec<_>>().join(" "), text].join(" ")
    });
    (late.collect(), classes)
}

fn of_classes(
    windows: usize,
    before: usize,
    options: &ContrastiveOptions,
    folder: Option<&Path>,
    stop: u64,
) -> Result<TrainedEncoder> {
    let [(texts, classes), (others, other_classes)] =
        [(60, 1), (40, 2)].map(|(count, seed)| late_texts(count, before, seed));
    let [texts, others]: [Vec<&str>; 2] =
        [&texts, &others].map(|texts| texts.iter().map(String::as_str).collect());
    let checkpoints = folder.map(|folder| CheckpointOptions {
        folder: folder.to_owned(),
        every_steps: 2,
        kept: 2,
    });
    let mut on_progress = |progress: &TrainProgress| {
        if progress.step == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let call =
        TrainCall { options, checkpoints: checkpoints.as_ref(), on_progress: &mut on_progress };
    let (train, own) = (
        Examples { texts: &texts, classes: &classes },
        Examples { texts: &others, classes: &other_classes },
    );
    fine_tune_classes(&tests::encoder(), train, own, windows, call)
}

#[test]
fn texts_of_a_class_are_brought_together_by_what_stands_in_any_window() {
    let before = tests::encoder().tokenizer().tokens_max();
    let mut options = options();
    options.training.epochs = 60;
    let gain = |windows, before| {
        let trained = of_classes(windows, before, &options, None, 0).unwrap();
        let (first, best) = (trained.history[0], trained.history[trained.best_epoch]);
        best.validation_accuracy - first.validation_accuracy
    };
    let (short, late, unread) = (gain(1, 0), gain(2, before), gain(1, before));
    assert!(short > 0.1 && late > 0.1 && unread < 0.1, "{short} {late} {unread}");
}

#[test]
fn class_pairs_are_the_same_with_any_number_of_threads_and_after_a_stop() {
    let (options, before) = (options(), tests::encoder().tokenizer().tokens_max());
    let whole = |folder, stop| of_classes(2, before, &options, folder, stop);
    let expected = whole(None, 0).unwrap();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| whole(None, 0)).unwrap();
        assert!(bits(&found) == bits(&expected), "{threads} threads");
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(whole(Some(folder.path()), 5).unwrap_err(), Error::Cancelled);
    assert!(bits(&whole(Some(folder.path()), 0).unwrap()) == bits(&expected));
    let other = of_classes(1, before, &options, Some(folder.path()), 0).unwrap_err().to_string();
    assert!(other.contains("other data, options or encoder"), "{other}");
}

#[test]
fn classes_that_nothing_can_be_learned_from_are_refused() {
    let encoder = tests::encoder();
    let says = |texts: &[&str], classes: &[usize]| {
        let mut go_on = |_: &TrainProgress| ControlFlow::Continue(());
        let call = TrainCall { options: &options(), checkpoints: None, on_progress: &mut go_on };
        let own = Examples { texts: &["a", "b"], classes: &[0, 1] };
        let train = Examples { texts, classes };
        fine_tune_classes(&encoder, train, own, 1, call).unwrap_err().to_string()
    };
    assert!(says(&[], &[]).contains("at least 2 classes, found 0"));
    assert!(says(&["a", "b"], &[4, 4]).contains("at least 2 classes, found 1"));
    assert!(says(&["a", "b"], &[4]).contains("a class for each, found 2 and 1"));
    assert!(says(&["a", "b"], &[0, 1]).contains("expected two rows of one class, found none"));
}

#[test]
fn where_there_is_little_to_choose_by_what_is_learned_from_is_chosen_by() {
    let encoder = tests::encoder();
    let mut go_on = |_: &TrainProgress| ControlFlow::Continue(());
    let call = TrainCall { options: &options(), checkpoints: None, on_progress: &mut go_on };
    let own = Examples { texts: &["my card", "lost"], classes: &[0, 1] };
    let texts = ["card", "card is my", "is lost", "lost b"];
    let train = Examples { texts: &texts, classes: &[0, 0, 1, 1] };
    let trained = fine_tune_classes(&encoder, train, own, 1, call).unwrap();
    assert!(trained.history.iter().all(|epoch| epoch.validation_loss.is_finite()));
    assert!(trained.history[trained.best_epoch].validation_accuracy > 0.0);
}

#[test]
fn a_trained_encoder_is_written_and_read_back() {
    let (encoder, trained) = (tests::encoder(), whole(options()));
    let origin = TrainedOrigin {
        name: "own".into(),
        description: String::new(),
        training_data: TrainingData::Elsewhere("made here".into()),
        evaluation: Vec::new(),
        licence: "Apache-2.0".into(),
    };
    let tokenizer = crate::tokens::tests::tokenizer_bytes();
    let files = ArtifactFiles::of_encoder(&trained, encoder.config(), &tokenizer, &origin).unwrap();
    let read = Embedder::load(&files.artifact().unwrap()).unwrap();
    let again = published(&read.network().parameters().unwrap()).unwrap();
    assert!(again == published(&trained.weights).unwrap());
    assert_eq!((&read.id().name[..], read.config()), ("own", encoder.config()));
}

#[test]
fn an_estimate_counts_the_steps_and_the_tokens_that_training_takes() {
    let (encoder, mut options) = (tests::encoder(), options());
    options.training.token_dropout = 0.0;
    let (pairs, groups) = texts(60, 1);
    let pairs: Vec<(&str, &str)> = pairs.chunks(2).map(|two| (&two[0][..], &two[1][..])).collect();
    let groups: Vec<usize> = groups.into_iter().step_by(2).collect();
    let pairs = Pairs { texts: &pairs, groups: &groups };
    let found = estimate_pairs(&encoder, pairs, &options).unwrap();
    let cost = whole(options).cost;
    assert_eq!((found.steps, found.tokens, found.flops), (cost.steps, cost.tokens, cost.flops));
    assert!(found.seconds > 0.0);
}

#[test]
fn pairs_that_nothing_can_be_learned_from_are_refused() {
    let encoder = tests::encoder();
    let says = |texts: &[(&str, &str)], groups: &[usize], options: &ContrastiveOptions| {
        let pairs = Pairs { texts, groups };
        let others = Grouped { texts: &["a", "b"], groups: &[1, 2] };
        let mut go_on = |_: &TrainProgress| ControlFlow::Continue(());
        let call = TrainCall { options, checkpoints: None, on_progress: &mut go_on };
        let answer = fine_tune_pairs(&encoder, pairs, others, call);
        answer.unwrap_err().to_string()
    };
    let (two, good) = ([("a", "a b"), ("lost", "card")], options());
    assert!(says(&[], &[], &good).contains("at least 2 groups, found 0 pairs of one"));
    assert!(says(&two, &[3, 3], &good).contains("at least 2 groups, found 2 pairs of one"));
    assert!(says(&two, &[3], &good).contains("a group for each, found 2 and 1"));
    assert!(says(&two, &[1, 2], &good).contains("expected two texts of one group, found none"));
    let cold = ContrastiveOptions { temperature: 0.0, ..options() };
    assert!(says(&two, &[1, 2], &cold).contains("temperature: expected a number above 0"));
}
