//! Training as a whole, on a network of two layers of 18.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use networks::{Network, Pooling, cpu};

use super::random::Random;
use super::*;
use crate::embedder::Embedder;
use crate::encoder::{EncoderConfig, published, tiny_config, tiny_weights};
use crate::error::{Error, Result};
use crate::{EmbedOptions, TextEmbedder};

const CLASSES: usize = 3;

pub fn encoder() -> Embedder {
    let config = tiny_config(Pooling::Mean);
    crate::embedder::tests::load(
        &config,
        &tiny_weights(&config, 1),
        Some(&crate::tokens::tests::tokenizer_bytes()),
    )
    .unwrap()
}

/// Texts of a few words in random order, one of which alone says the class, and a second that turns it.
fn examples(count: usize, seed: u64) -> (Vec<String>, Vec<usize>) {
    let mut random = Random::new(seed, 0);
    let words = ["my", "is", ".", "card"];
    let mut texts = Vec::new();
    let mut classes = Vec::new();
    for _ in 0..count {
        let class = random.below(CLASSES);
        let mut text: Vec<&str> =
            (0..2 + random.below(6)).map(|_| words[random.below(4)]).collect();
        text.push(["a", "b", "lost"][class]);
        random.shuffle(&mut text);
        texts.push(text.join(" "));
        classes.push(class);
    }
    (texts, classes)
}

struct Run<'a> {
    options: FineTuneOptions,
    folder: Option<&'a Path>,
    /// The step after which it is told to stop.
    stop: u64,
}

fn run(run: &Run<'_>) -> Result<Trained> {
    let encoder = encoder();
    let (train, validation) = (examples(90, 1), examples(60, 2));
    let refs = |texts: &'static [String]| texts.iter().map(String::as_str).collect::<Vec<_>>();
    let (train_texts, validation_texts) = (
        refs(Box::leak(train.0.into_boxed_slice())),
        refs(Box::leak(validation.0.into_boxed_slice())),
    );
    let checkpoints = run.folder.map(|folder| CheckpointOptions {
        folder: folder.to_owned(),
        every_steps: 2,
        kept: 2,
    });
    let mut on_progress = |progress: &TrainProgress| {
        assert!(progress.loss.is_finite() && progress.step <= progress.of);
        if progress.step == run.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    fine_tune(
        &encoder,
        CLASSES,
        Examples { texts: &train_texts, classes: &train.1 },
        Examples { texts: &validation_texts, classes: &validation.1 },
        TrainCall {
            options: &run.options,
            checkpoints: checkpoints.as_ref(),
            on_progress: &mut on_progress,
        },
    )
}

fn options() -> FineTuneOptions {
    FineTuneOptions {
        training: TrainOptions {
            epochs: 4,
            batch_rows: 16,
            learning_rate: 3e-3,
            patience: None,
            token_dropout: 0.1,
            seed: 7,
            ..TrainOptions::default()
        },
        head_rate: 1.0,
        head: HeadOptions { iterations_max: 3, ..HeadOptions::default() },
        ..FineTuneOptions::default()
    }
}

/// The usual options, those of training changed.
fn changed(change: impl FnOnce(&mut TrainOptions)) -> FineTuneOptions {
    let mut options = options();
    change(&mut options.training);
    options
}

fn low_rank() -> FineTuneOptions {
    changed(|training| training.method = Method::LowRank { rank: 4, alpha: 8.0 })
}

fn whole(options: FineTuneOptions) -> Trained {
    run(&Run { options, folder: None, stop: 0 }).unwrap()
}

/// The network of trained weights.
pub fn network_of(trained: &TrainedEncoder, config: &EncoderConfig) -> Box<dyn Network> {
    cpu().network(&config.network, trained.weights.clone()).unwrap()
}

/// All bits of the weights.
pub fn bits(trained: &Trained) -> Vec<u32> {
    let tensors = published(&trained.encoder.weights).unwrap();
    let network = tensors.values().flat_map(|(_, values)| values);
    network.chain(&trained.head.weight).chain(&trained.head.bias).map(|x| x.to_bits()).collect()
}

#[test]
fn training_learns_what_the_head_alone_does_not() {
    let tables = Method::Full { tables: Tables::Trained };
    for mut options in [options(), low_rank(), changed(|training| training.method = tables)] {
        // One word alone says the class here: without it nothing can be learned.
        options.training.epochs = 30;
        options.training.learning_rate = 1e-2;
        options.training.token_dropout = 0.0;
        let trained = whole(options);
        let first = trained.encoder.history[0];
        let best = trained.encoder.history[trained.encoder.best_epoch];
        assert!(best.validation_accuracy > 0.9, "{:?}", trained.encoder.history);
        assert!(
            best.validation_accuracy > first.validation_accuracy,
            "{:?}",
            trained.encoder.history
        );
        let losses: Vec<f64> =
            trained.encoder.history.iter().filter_map(|epoch| epoch.train_loss).collect();
        assert!(losses.last().unwrap() < &(losses[0] / 2.0), "{losses:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_with_any_number_of_threads() {
    for mut options in [options(), low_rank()] {
        let expected = bits(&whole(options.clone()));
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(
                pool.install(|| bits(&whole(options.clone()))) == expected,
                "{threads} threads"
            );
        }
        options.training.seed = 8;
        assert!(bits(&whole(options)) != expected);
    }
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_bits() {
    for options in [options(), low_rank()] {
        let expected = whole(options.clone());
        let steps = expected.encoder.cost.steps;
        assert_eq!(steps, 24);
        let mut random = Random::new(1, 1);
        for _ in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            let mut stop = 1 + random.below(steps as usize - 1) as u64;
            // Killed twice, the second time without a checkpoint of that step.
            let answer = run(&Run { options: options.clone(), folder: Some(folder.path()), stop });
            assert_eq!(answer.unwrap_err(), Error::Cancelled);
            stop = stop.midpoint(steps);
            let _ = run(&Run { options: options.clone(), folder: Some(folder.path()), stop });
            let newest = newest_file(folder.path());
            fs::remove_file(newest).unwrap();
            let run = Run { options: options.clone(), folder: Some(folder.path()), stop: 0 };
            let found = self::run(&run).unwrap();
            assert!(bits(&found) == bits(&expected), "stopped at {stop}");
            assert_eq!(
                (&found.encoder.history, found.encoder.cost.tokens),
                (&expected.encoder.history, expected.encoder.cost.tokens)
            );
        }
    }
}

fn newest_file(folder: &Path) -> std::path::PathBuf {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn a_torn_checkpoint_is_skipped_with_a_notice_and_anothers_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = Run { options: options(), folder: Some(folder.path()), stop: 9 };
    run(&stopped).unwrap_err();
    let newest = newest_file(folder.path());
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let found = run(&Run { stop: 0, ..stopped }).unwrap();
    assert!(found.encoder.notices[0].contains("expected sha256"), "{:?}", found.encoder.notices);
    assert!(bits(&found) == bits(&whole(options())));
    let other = changed(|training| training.seed = 1);
    let message = run(&Run { options: other, folder: Some(folder.path()), stop: 0 }).unwrap_err();
    assert!(message.to_string().contains("other data, options or encoder"), "{message}");
}

#[test]
fn a_loss_that_is_no_number_stops_and_leaves_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let wild = changed(|training| {
        (training.learning_rate, training.warm_up) = (1e30, 0.0);
        training.gradient_norm_max = None;
    });
    let message = run(&Run { options: wild, folder: Some(folder.path()), stop: 0 }).unwrap_err();
    let Error::Diverged { step, .. } = message else { unreachable!("{message}") };
    assert!((1..=6).contains(&step), "{message}");
    assert!(message.to_string().contains(&format!("step {step}: expected a finite")), "{message}");
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let of: u64 = name.split('-').nth(1).unwrap().parse().unwrap();
        assert!(of < step, "{name} at step {step}");
    }
}

#[test]
fn training_ends_when_validation_gets_no_better() {
    let still = changed(|training| {
        (training.learning_rate, training.patience, training.epochs) = (1e-12, Some(2), 50);
    });
    let trained = whole(still);
    assert!(trained.encoder.history.len() <= 4, "{:?}", trained.encoder.history);
}

#[test]
fn merged_adapters_answer_as_they_did_beside_the_weights() {
    let trained = whole(low_rank());
    // What was validated last with the adapters beside is what the merged network answers.
    let (texts, classes) = examples(60, 2);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let encoder = encoder();
    let tokens = encoder.tokenise(&texts, Default::default()).unwrap();
    let texts = network::Texts { ids: tokens.into_iter().map(|t| t.ids).collect(), classes };
    let merged = network_of(&trained.encoder, encoder.config());
    let (head, device) = (&trained.head, cpu());
    let found =
        network::validate(merged.as_ref(), Pooling::Mean, head, &texts, device.as_ref()).unwrap();
    let best = trained.encoder.history[trained.encoder.best_epoch];
    assert!((found.loss - best.validation_loss).abs() < 1e-5, "{found:?} {best:?}");
    assert_eq!(found.accuracy, best.validation_accuracy);
    let before = encoder.embed(&["a card"], &EmbedOptions::default()).unwrap().values;
    let after = network::vectors_of(
        merged.as_ref(),
        Pooling::Mean,
        &[encoder.tokenizer().encode("a card").unwrap().ids],
    );
    assert_ne!(before, after.unwrap());
}

/// The gradient of the whole network, by every parameter's steepest number, against differences of its loss.
#[test]
fn the_gradient_of_the_whole_network_is_that_of_differences() {
    use super::network::{Texts, gradient_of};
    use networks::Parameter;

    use super::parameters::{HEAD_BIAS, HEAD_WEIGHT, learner_of, parameters_of};
    let encoder = encoder();
    let mut parameters = parameters_of(&encoder, |_| true).unwrap();
    let mut random = Random::new(3, 3);
    for (name, shape) in [(HEAD_WEIGHT, vec![18, CLASSES]), (HEAD_BIAS, vec![CLASSES])] {
        let values = (0..shape.iter().product()).map(|_| random.signed()).collect();
        parameters.push(Parameter { name: name.into(), shape, values, is_trained: true });
    }
    let (texts, classes) = examples(5, 4);
    let ids = texts.iter().map(|text| encoder.tokenizer().encode(text).unwrap().ids).collect();
    let texts = Texts { ids, classes };
    let targets = loss::targets(&texts.classes, &[1.0, 2.0, 0.5], 0.1, 4.0);
    let answer = |parameters: &[Parameter]| {
        let learner = learner_of(&encoder, parameters, None).unwrap();
        gradient_of(learner.as_ref(), Pooling::Mean, &texts, targets.clone()).unwrap()
    };
    let found = answer(&parameters);
    assert_eq!(found.gradients.len(), parameters.len());
    for at in 0..parameters.len() {
        let gradient = &found.gradients[at];
        let size = |x: &f32| x.abs();
        let steepest =
            (0..gradient.len()).max_by(|a, b| size(&gradient[*a]).total_cmp(&size(&gradient[*b])));
        let steepest = steepest.unwrap();
        let slope = f64::from(gradient[steepest]);
        if slope.abs() < 1e-2 {
            continue;
        }
        let value = parameters[at].values[steepest];
        // So far that the loss moves by 2e-3 to both sides: its own rounding is 1e-7.
        let width = (2e-3 / slope.abs()).min(1e-2) as f32;
        let mut loss = |value: f32| {
            parameters[at].values[steepest] = value;
            answer(&parameters).loss
        };
        let difference = (loss(value + width) - loss(value - width)) / f64::from(2.0 * width);
        loss(value);
        let error = (difference - slope).abs() / slope.abs();
        assert!(error < 0.02, "{}: {slope}, differences {difference}", parameters[at].name);
    }
}

#[test]
fn megabyte_texts_are_cut_and_counted_and_empty_ones_learned_from() {
    let encoder = encoder();
    let long = "my card is lost. ".repeat(70_000);
    let texts = [&long[..], "", "a", "b", "a", "b"];
    let classes = [0, 1, 0, 1, 0, 1];
    let examples = Examples { texts: &texts, classes: &classes };
    let mut go_on = |_: &TrainProgress| ControlFlow::Continue(());
    let call = TrainCall { options: &options(), checkpoints: None, on_progress: &mut go_on };
    let trained = fine_tune(&encoder, 2, examples, examples, call).unwrap();
    assert_eq!(trained.encoder.cost.cut_texts, 2);
}

#[test]
fn examples_that_nothing_can_be_learned_from_are_refused() {
    let encoder = encoder();
    let says = |texts: &[&str], classes: &[usize], count| {
        let examples = Examples { texts, classes };
        let mut go_on = |_: &TrainProgress| ControlFlow::Continue(());
        let call = TrainCall { options: &options(), checkpoints: None, on_progress: &mut go_on };
        let answer = fine_tune(&encoder, count, examples, examples, call);
        answer.unwrap_err().to_string()
    };
    assert!(says(&[], &[], 2).contains("expected rows, found none"));
    assert!(says(&["a", "b"], &[1, 1], 2).contains("at least 2 classes"));
    assert!(says(&["a", "b"], &[0, 1], 3).contains("at least as many rows as the 3 classes"));
    assert!(says(&["a"], &[0, 1], 2).contains("found 1 and 2"));
}
