#![allow(clippy::unwrap_used)]
use std::ops::ControlFlow;

use networks::Pooling;
use serde_json::Value;

use super::*;
use crate::card::TrainingData;
use crate::embedder::Embedder;
use crate::encoder::{published, tiny_config, tiny_weights};
use crate::evaluation::{Score, Threshold};
use crate::tokens::tests::tokenizer_bytes;
use crate::training::{
    Examples, FineTuneOptions, HeadOptions, HeadProgress, Labels, Method, TrainCall, TrainOptions,
    TrainProgress, Trained, fine_tune,
};
use crate::{ArtifactFiles, Card, TrainedOrigin};

const TEXTS: [&str; 8] =
    ["my card", "card", "card is my", "a card .", "lost", "is lost", "lost b", "b lost ."];
const CLASSES: [usize; 8] = [0, 0, 0, 0, 1, 1, 1, 1];

fn encoder(seed: u64) -> Arc<Embedder> {
    let config = tiny_config(Pooling::Mean);
    let weights = tiny_weights(&config, seed);
    Arc::new(crate::embedder::tests::load(&config, &weights, Some(&tokenizer_bytes())).unwrap())
}

fn settings() -> ClassifierSettings {
    let labels = Labels::new(vec!["card".into(), "lost".into()]).unwrap();
    let threshold = Threshold { score: Score::MaxProbability, least: 0.6 };
    ClassifierSettings {
        labels,
        temperature: 1.7,
        out_of_scope: Some(threshold),
        windows: 2,
        fields: 1,
        columns: vec!["body".into()],
        numbers: Numbers::default(),
    }
}

fn origin() -> TrainedOrigin {
    TrainedOrigin {
        name: "tickets".into(),
        description: String::new(),
        training_data: TrainingData::Elsewhere("eight texts".into()),
        evaluation: Vec::new(),
        licence: "Apache-2.0".into(),
    }
}

fn head(encoder: &Embedder) -> Head {
    let vectors = encoder.embed(&TEXTS, &EmbedOptions::default()).unwrap().values;
    let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
    let options = HeadOptions::default();
    Head::train(&vectors, &CLASSES, 2, &options, &mut go_on).unwrap().0
}

fn trained(encoder: &Embedder) -> Trained {
    let examples = Examples { texts: &TEXTS, classes: &CLASSES };
    let method = Method::LowRank { rank: 2, alpha: 4.0 };
    let training = TrainOptions { method, learning_rate: 1e-2, ..TrainOptions::default() };
    let options = FineTuneOptions { training, ..FineTuneOptions::default() };
    let mut go_on = |_: &TrainProgress| ControlFlow::Continue(());
    let call = TrainCall { options: &options, checkpoints: None, on_progress: &mut go_on };
    fine_tune(encoder, 2, examples, examples, call).unwrap()
}

fn classify(classifier: &Classifier) -> Classified {
    classifier
        .classify(&TEXTS[..], &ClassifyOptions { top: 5, ..ClassifyOptions::default() })
        .unwrap()
}

fn load(files: &ArtifactFiles, encoder: Option<Arc<Embedder>>) -> Result<Classifier> {
    let encoder = encoder.map(|encoder| encoder as Arc<dyn TextEmbedder>);
    Classifier::load(&files.artifact().unwrap(), encoder)
}

#[test]
fn a_head_is_read_back_with_its_encoder_and_no_other() {
    let other = encoder(2);
    let encoder = encoder(1);
    let head = head(&encoder);
    let made = Classifier::new(encoder.clone(), head.clone(), settings()).unwrap();
    let answers = classify(&made);
    for (prediction, class) in answers.predictions.iter().zip(CLASSES) {
        assert_eq!(prediction.top[0].0, class);
        assert_eq!((prediction.top.len(), prediction.top[0].1), (2, prediction.confidence));
        assert!((prediction.top[0].1 + prediction.top[1].1 - 1.0).abs() < 1e-6);
        assert_eq!(prediction.is_out_of_scope, prediction.confidence < 0.6);
    }
    let files = ArtifactFiles::of_head(&head, encoder.id(), &settings(), &origin()).unwrap();
    let read = load(&files, Some(encoder.clone())).unwrap();
    assert_eq!((classify(&read), read.settings()), (answers, &settings()));
    let message = load(&files, None).unwrap_err().to_string();
    assert!(message.contains(&format!("expected {}", encoder.id())), "{message}");
    let message = load(&files, Some(other)).unwrap_err().to_string();
    assert!(message.contains("whose vectors it was trained on, found"), "{message}");
}

#[test]
fn a_fine_tuned_classifier_is_read_back_whole() {
    let encoder = encoder(1);
    let trained = trained(&encoder);
    let files = ArtifactFiles::of_trained(
        &trained,
        encoder.config(),
        &tokenizer_bytes(),
        &settings(),
        &origin(),
    )
    .unwrap();
    let read = load(&files, None).unwrap();
    assert_eq!(read.head(), &trained.head);
    let artifact = files.artifact().unwrap();
    let inside = artifact::encoder_inside(&artifact).unwrap();
    let again = published(&inside.network().parameters().unwrap()).unwrap();
    assert!(again == published(&trained.encoder.weights).unwrap());
    assert!(classify(&read).predictions.iter().zip(CLASSES).all(|(p, class)| p.top[0].0 == class));
    assert_eq!(
        ClassifierSettings::from_card(files.artifact().unwrap().card()).unwrap(),
        settings()
    );
    let folder = tempfile::tempdir().unwrap();
    files.write(folder.path()).unwrap();
    assert_eq!(ArtifactFiles::read(folder.path()).unwrap(), files);
}

#[test]
fn an_artifact_that_does_not_fit_says_why() {
    let encoder = encoder(1);
    let trained = trained(&encoder);
    let settings = settings();
    let config = encoder.config();
    let with = |change: &dyn Fn(&mut Card), tokenizer: &[u8]| {
        let files =
            ArtifactFiles::of_trained(&trained, config, tokenizer, &settings, &origin()).unwrap();
        let mut card = files.artifact().unwrap().card().clone();
        change(&mut card);
        let files = ArtifactFiles { card: card.to_json().unwrap(), ..files };
        load(&files, None).unwrap_err().to_string()
    };
    let none = |_: &mut Card| ();
    let mut other = crate::tokens::tests::tokenizer_json();
    other["model"]["vocab"].as_object_mut().unwrap().insert("more".into(), 16.into());
    let message = with(&none, other.to_string().as_bytes());
    assert!(message.contains("expected 16 tokens, as the network has, found 17"), "{message}");
    let message = with(&|card| card.architecture = "mlp".into(), &tokenizer_bytes());
    assert!(message.contains("supported: bert-classifier, linear-classifier"), "{message}");
    let labels = |list: Value| {
        move |card: &mut Card| {
            card.hyperparameters.insert("labels".into(), list.clone());
        }
    };
    let three = labels(serde_json::json!(["a", "b", "c"]));
    let message = with(&three, &tokenizer_bytes());
    assert!(
        message.contains("classifier.weight: expected shape [3, 18], found [2, 18]"),
        "{message}"
    );
    let message = with(&labels(serde_json::json!(["a"])), &tokenizer_bytes());
    assert!(message.contains("at least 2 classes, found 1"), "{message}");
    let cold = |card: &mut Card| {
        card.hyperparameters.insert("temperature".into(), 0.into());
    };
    assert!(with(&cold, &tokenizer_bytes()).contains("temperature: expected a number above 0"));
}

#[test]
fn fields_lie_side_by_side_and_one_that_says_nothing_counts_for_nothing() {
    let encoder = encoder(1);
    let embed = |texts: &[&str], fields| {
        embed_fields(encoder.as_ref(), texts, fields, &EmbedOptions::default())
    };
    let alone = embed(&["my card", "is lost", "", " "], 1).unwrap();
    let rows: Vec<&[f32]> = alone.rows().collect();
    let (card, lost, empty) = (rows[0], rows[1], rows[2]);
    let none = vec![0.0; card.len()];
    let texts = ["my card", "is lost", "my card", " ", "", "is lost", "", " "];
    let found = embed(&texts, 2).unwrap();
    assert_eq!((found.dimension, found.empty_texts), (2 * card.len(), 1));
    let half = |vector: &[f32]| vector.iter().map(|x| x / 2_f32.sqrt()).collect::<Vec<_>>();
    let expected = [
        [half(card), half(lost)],
        [card.to_vec(), none.clone()],
        [none.clone(), lost.to_vec()],
        [empty.to_vec(), none],
    ];
    for (row, expected) in found.rows().zip(&expected) {
        let near = row.iter().zip(expected.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{row:?} {expected:?}");
    }
    let message = embed(&texts[..3], 2).unwrap_err().to_string();
    assert!(message.contains("expected 2 a row, found 3 in all"), "{message}");
    assert!(embed(&[], 2).unwrap().values.is_empty() && embed(&texts, 0).is_err());
}

#[test]
fn a_head_on_fields_is_read_back_and_takes_no_other_number() {
    let encoder = encoder(1);
    let vectors = embed_fields(encoder.as_ref(), &TEXTS, 2, &EmbedOptions::default()).unwrap();
    let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
    let (classes, options) = ([0, 0, 1, 1], HeadOptions::default());
    let (head, _) = Head::train(&vectors.values, &classes, 2, &options, &mut go_on).unwrap();
    let of_fields = |fields| ClassifierSettings { fields, windows: 1, ..settings() };
    let files = ArtifactFiles::of_head(&head, encoder.id(), &of_fields(2), &origin()).unwrap();
    let read = load(&files, Some(encoder.clone())).unwrap();
    assert_eq!((read.settings(), read.dimension()), (&of_fields(2), 2 * encoder.dimension()));
    assert_eq!(dimension_of(&files.artifact().unwrap()), Some(encoder.dimension()));
    let found = classify(&read).predictions;
    assert!(found.iter().zip(classes).all(|(row, class)| row.top[0].0 == class), "{found:?}");
    assert_eq!(found.len(), 4);
    for fields in [0, 1, 3, 17] {
        let refused = Classifier::new(encoder.clone(), head.clone(), of_fields(fields));
        assert!(refused.is_err(), "{fields}");
    }
}

#[test]
fn numbers_beside_texts_tell_apart_what_texts_do_not_and_are_read_back() {
    let encoder = encoder(1);
    // The same two texts in both classes, a number that is large in one of them, and another one that is missing.
    let texts: Vec<&str> = TEXTS.iter().copied().take(2).cycle().take(16).collect();
    let classes: Vec<usize> = (0..16).map(|row| usize::from(row % 4 > 1)).collect();
    let of_row = |row: usize| [(classes[row] * 100 + row) as f64, f64::NAN];
    let numbers: Vec<f64> = (0..16).flat_map(of_row).collect();
    let learned = Numbers::learn(&["amount".into(), "none".into()], &numbers).unwrap();
    let vectors = encoder.embed(&texts, &EmbedOptions::default()).unwrap();
    let vectors = learned.beside(vectors, &numbers).unwrap();
    let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
    let options = HeadOptions::default();
    let (head, _) = Head::train(&vectors.values, &classes, 2, &options, &mut go_on).unwrap();
    let settings = ClassifierSettings { numbers: learned, windows: 1, ..settings() };
    let plain = ClassifierSettings { numbers: Numbers::default(), ..settings.clone() };
    assert!(Classifier::new(encoder.clone(), head.clone(), plain).is_err());
    let files = ArtifactFiles::of_head(&head, encoder.id(), &settings, &origin()).unwrap();
    assert_eq!(dimension_of(&files.artifact().unwrap()), Some(encoder.dimension()));
    let read = load(&files, Some(encoder)).unwrap();
    assert_eq!(read.settings(), &settings);
    let rows = Inputs { texts: &texts, numbers: &numbers };
    let found = read.classify(rows, &ClassifyOptions::default()).unwrap();
    let answers: Vec<usize> = found.predictions.iter().map(|of| of.top[0].0).collect();
    assert_eq!(answers, classes);
    let error = read.classify(&texts[..], &ClassifyOptions::default()).unwrap_err().to_string();
    assert!(error.contains("numbers: expected 2 of each of 16 rows, found 0"), "{error}");
}

#[test]
fn megabytes_and_nothing_are_answered_and_counted() {
    let encoder = encoder(1);
    let head = head(&encoder);
    let classifier = Classifier::new(encoder, head, settings()).unwrap();
    let long = "card ".repeat(300_000);
    let found = classifier.classify(&["", &long[..]][..], &ClassifyOptions::default()).unwrap();
    assert_eq!((found.predictions.len(), found.cut_texts, found.empty_texts), (2, 1, 1));
    let none = classifier.classify(&[][..], &ClassifyOptions::default()).unwrap();
    assert!(none.predictions.is_empty());
}
