//! Real training: all-MiniLM-L6-v2 on Banking77 and CLINC. `make test-training` runs it; the model is where
//! `COLONNADE_MINILM` says. `COLONNADE_FINE_TUNE` holds options as JSON that go before the defaults.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::*;
use crate::published_tests::data_and_model;
use crate::{EmbedOptions, Embedder, TextEmbedder};

/// What is held out of Banking77's rows to be answered once, at the end, and of the rest to stop early by.
const HELD_OUT: f64 = 0.2;
const VALIDATION: f64 = 0.1;
const SPLIT_SEED: u64 = 77;

#[derive(Deserialize)]
struct Ticket {
    text: String,
    category: String,
}

struct Rows {
    texts: Vec<String>,
    classes: Vec<usize>,
    labels: Labels,
}

impl Rows {
    fn banking77(folder: &Path) -> Self {
        let mut reader = csv::Reader::from_path(folder.join("train.csv")).unwrap();
        let rows: Vec<Ticket> = reader.deserialize().map(|row| row.unwrap()).collect();
        let labels = Labels::of_rows(rows.iter().map(|row| &row.category[..])).unwrap();
        let classes = rows.iter().map(|row| labels.number(&row.category).unwrap()).collect();
        Self { texts: rows.into_iter().map(|row| row.text).collect(), classes, labels }
    }

    fn some(&self, rows: &[usize]) -> (Vec<&str>, Vec<usize>) {
        rows.iter().map(|row| (&self.texts[*row][..], self.classes[*row])).unzip()
    }
}

struct Parts {
    train: Vec<usize>,
    validation: Vec<usize>,
    test: Vec<usize>,
}

/// The rows to learn from (a share of them, of each class alike), to stop early by, and to be judged by.
fn parts(classes: &[usize], share: f64) -> Parts {
    let seed =
        std::env::var("COLONNADE_SPLIT_SEED").map_or(SPLIT_SEED, |seed| seed.parse().unwrap());
    let outer = split(classes, None, HELD_OUT, seed).unwrap();
    let within = |rows: &[usize], share: f64, seed: u64| {
        let inner: Vec<usize> = rows.iter().map(|row| classes[*row]).collect();
        let parts = split(&inner, None, share, seed).unwrap();
        let back = |of: &[usize]| of.iter().map(|at| rows[*at]).collect::<Vec<_>>();
        (back(&parts.train), back(&parts.held_out))
    };
    let learned = if share < 1.0 { within(&outer.train, share, SPLIT_SEED).1 } else { outer.train };
    let (train, validation) = within(&learned, VALIDATION, SPLIT_SEED + 1);
    Parts { train, validation, test: outer.held_out }
}

fn options(method: Method) -> FineTuneOptions {
    let mut options = match std::env::var("COLONNADE_FINE_TUNE") {
        Ok(json) => serde_json::from_str(&json).unwrap(),
        Err(_) => FineTuneOptions::default(),
    };
    options.training.method = method;
    if let Method::LowRank { .. } = method {
        options.training.learning_rate *= LOW_RANK_RATE;
    }
    options
}

/// Those of `COLONNADE_CONTRASTIVE`, as JSON, before the defaults.
fn contrastive_options() -> ContrastiveOptions {
    match std::env::var("COLONNADE_CONTRASTIVE") {
        Ok(json) => serde_json::from_str(&json).unwrap(),
        Err(_) => ContrastiveOptions::default(),
    }
}

/// Adapters begin from nothing and take a higher rate than weights that are good already.
const LOW_RANK_RATE: f64 = 5.0;
const FULL: Method = Method::Full { tables: Tables::Frozen };
const LOW_RANK: Method = Method::LowRank { rank: 16, alpha: 32.0 };

fn accuracy_of(head: &Head, vectors: &[f32], classes: &[usize]) -> f64 {
    let logits = head.logits(vectors).unwrap();
    let rows = logits.chunks_exact(head.classes()).zip(classes);
    let right = rows.filter(|(row, class)| row.iter().all(|x| *x <= row[**class])).count();
    right as f64 / classes.len() as f64
}

/// Trains a head alone on all rows that are not held out; answers accuracy and seconds, embedding included.
fn head_alone(embedder: &Embedder, rows: &Rows, share: f64) -> (f64, f64) {
    let parts = parts(&rows.classes, share);
    let started = Instant::now();
    let learned = [&parts.train[..], &parts.validation].concat();
    let (texts, classes) = rows.some(&learned);
    let vectors = embedder.embed(&texts, &EmbedOptions::default()).unwrap().values;
    let embedded_s = started.elapsed().as_secs_f64();
    let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
    let (options, count) = (HeadOptions::default(), rows.labels.count());
    let (head, outcome) = Head::train(&vectors, &classes, count, &options, &mut go_on).unwrap();
    let elapsed_s = started.elapsed().as_secs_f64();
    let (texts, classes) = rows.some(&parts.test);
    let vectors = embedder.embed(&texts, &EmbedOptions::default()).unwrap().values;
    let accuracy = accuracy_of(&head, &vectors, &classes);
    println!(
        "head alone, {} rows: accuracy {accuracy:.4} on {}; {elapsed_s:.1} s, {embedded_s:.1} s of it to embed; {outcome:?}",
        learned.len(),
        classes.len()
    );
    (accuracy, elapsed_s)
}

fn tuned(embedder: &Embedder, rows: &Rows, share: f64, method: Method) -> (f64, Trained) {
    let parts = parts(&rows.classes, share);
    let (train_texts, train_classes) = rows.some(&parts.train);
    let (validation_texts, validation_classes) = rows.some(&parts.validation);
    let options = options(method);
    let mut rate = 0.0;
    let mut on_progress = |progress: &TrainProgress| {
        rate = progress.texts_per_s;
        ControlFlow::Continue(())
    };
    let trained = fine_tune(
        embedder,
        rows.labels.count(),
        Examples { texts: &train_texts, classes: &train_classes },
        Examples { texts: &validation_texts, classes: &validation_classes },
        TrainCall { options: &options, checkpoints: None, on_progress: &mut on_progress },
    )
    .unwrap();
    let (texts, classes) = rows.some(&parts.test);
    let ids = embedder.tokenizer().encode_all(&texts).unwrap();
    let texts = network::Texts { ids: ids.into_iter().map(|t| t.ids).collect(), classes };
    let pooling = embedder.config().pooling;
    let tuned = tests::network_of(&trained.encoder, embedder.config());
    let (head, device) = (&trained.head, networks::cpu());
    let found = network::validate(tuned.as_ref(), pooling, head, &texts, device.as_ref()).unwrap();
    println!(
        "{method:?}, {} rows: accuracy {:.4} on {}, best epoch {}; {:.1} s, {rate:.0} texts/s, {:.1} Gflop/s, {:?}",
        train_texts.len(),
        found.accuracy,
        texts.classes.len(),
        trained.encoder.best_epoch,
        trained.encoder.cost.seconds,
        trained.encoder.cost.flops / trained.encoder.cost.seconds / 1e9,
        trained.encoder.cost,
    );
    for epoch in &trained.encoder.history {
        println!("  {epoch:?}");
    }
    (found.accuracy, trained)
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn banking77_head_alone() {
    let Some((data, embedder)) = data_and_model("banking77") else { return };
    let rows = Rows::banking77(&data);
    for share in [0.1, 0.3, 1.0] {
        let (accuracy, _) = head_alone(&embedder, &rows, share);
        assert!(share < 1.0 || accuracy >= 0.90, "{accuracy}");
    }
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn banking77_full_fine_tuning() {
    let Some((data, embedder)) = data_and_model("banking77") else { return };
    let rows = Rows::banking77(&data);
    let (accuracy, _) = tuned(&embedder, &rows, 1.0, FULL);
    assert!(accuracy >= 0.93, "{accuracy}");
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn banking77_adapters() {
    let Some((data, embedder)) = data_and_model("banking77") else { return };
    let rows = Rows::banking77(&data);
    let (accuracy, _) = tuned(&embedder, &rows, 1.0, LOW_RANK);
    assert!(accuracy >= 0.91, "{accuracy}");
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn banking77_learning_curve() {
    let Some((data, embedder)) = data_and_model("banking77") else { return };
    let rows = Rows::banking77(&data);
    let few: Vec<f64> = [0.1, 0.3].map(|share| tuned(&embedder, &rows, share, FULL).0).to_vec();
    assert!(few[0] < few[1], "{few:?}");
}

/// Resident memory in bytes, where the system says.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn memory_is_flat_over_two_thousand_steps() {
    let Some((data, embedder)) = data_and_model("banking77") else { return };
    let rows = Rows::banking77(&data);
    let parts = parts(&rows.classes, 1.0);
    // Short steps, many of them: what grows grows by the step.
    let (train_texts, train_classes) = rows.some(&parts.train[..4000]);
    let (texts, classes) = rows.some(&parts.validation);
    let training =
        TrainOptions { batch_rows: 4, epochs: 2, patience: None, ..TrainOptions::default() };
    let options = FineTuneOptions { training, ..FineTuneOptions::default() };
    let mut seen: Vec<(u64, u64)> = Vec::new();
    let mut on_progress = |progress: &TrainProgress| {
        if progress.step.is_multiple_of(100) {
            seen.extend(resident_bytes().map(|bytes| (progress.step, bytes)));
        }
        ControlFlow::Continue(())
    };
    let call = TrainCall { options: &options, checkpoints: None, on_progress: &mut on_progress };
    let trained = fine_tune(
        &embedder,
        rows.labels.count(),
        Examples { texts: &train_texts, classes: &train_classes },
        Examples { texts: &texts, classes: &classes },
        call,
    );
    assert_eq!(trained.unwrap().encoder.cost.steps, 2000);
    let mib: Vec<(u64, u64)> = seen.iter().map(|(step, bytes)| (*step, bytes >> 20)).collect();
    println!("resident MiB by step: {mib:?}");
    let at = |step: u64| seen.iter().find(|(at, _)| *at == step).map(|(_, bytes)| *bytes).unwrap();
    assert!(at(2000) < at(500) + (64 << 20), "{mib:?}");
}

/// Where a child process keeps its checkpoints and, at the end, its weights.
const CHILD_FOLDER: &str = "COLONNADE_TRAIN_INTO";

/// Trains a little and answers the bits of all weights. Says each step.
fn train_a_little(checkpoints: Option<&CheckpointOptions>) -> Option<(Vec<u32>, u64)> {
    let (data, embedder) = data_and_model("banking77")?;
    let rows = Rows::banking77(&data);
    let parts = parts(&rows.classes, 0.1);
    let (train_texts, train_classes) = rows.some(&parts.train);
    let (texts, classes) = rows.some(&parts.validation);
    let training = TrainOptions { epochs: 2, ..TrainOptions::default() };
    let options = FineTuneOptions { training, ..FineTuneOptions::default() };
    let mut on_progress = |progress: &TrainProgress| {
        println!("\nstep {}", progress.step);
        ControlFlow::Continue(())
    };
    let call = TrainCall { options: &options, checkpoints, on_progress: &mut on_progress };
    let trained = fine_tune(
        &embedder,
        rows.labels.count(),
        Examples { texts: &train_texts, classes: &train_classes },
        Examples { texts: &texts, classes: &classes },
        call,
    )
    .unwrap();
    Some((tests::bits(&trained), trained.encoder.cost.steps))
}

fn bytes(bits: &[u32]) -> Vec<u8> {
    bits.iter().flat_map(|bits| bits.to_le_bytes()).collect()
}

/// The process that the next test kills; by itself it does nothing.
#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn a_child_that_trains() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER).map(PathBuf::from) else { return };
    let to = CheckpointOptions { folder: folder.join("checkpoints"), every_steps: 3, kept: 2 };
    let (bits, _) = train_a_little(Some(&to)).unwrap();
    fs::write(folder.join("bits"), bytes(&bits)).unwrap();
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn killed_ten_times_it_ends_with_the_same_bits() {
    let Some((expected, steps)) = train_a_little(None) else { return };
    let folder = tempfile::tempdir().unwrap();
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "training::published_tests::a_child_that_trains"])
            .args(["--include-ignored", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut random = Random::new(std::process::id().into(), 0);
    let mut killed_after = Vec::new();
    for _ in 0..10 {
        let mut child = child();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Somewhere in the step after one that it finished: while it computes, or writes a checkpoint.
        let more = 1 + random.below(steps as usize / 12) as usize;
        let step_of = |line: String| line.strip_prefix("step ")?.parse::<u64>().ok();
        let mut steps_done = lines.by_ref().map_while(Result::ok).filter_map(step_of);
        let done = steps_done.nth(more - 1).unwrap();
        thread::sleep(Duration::from_millis(random.below(1500) as u64));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status} after step {done}");
        killed_after.push(done);
    }
    let status = child().wait_with_output().unwrap().status;
    assert!(status.success(), "{status}");
    let found = fs::read(folder.path().join("bits")).unwrap();
    println!("{steps} steps, killed after {killed_after:?}: {} weights", found.len() / 4);
    assert!(found == bytes(&expected));
}

/// The people of FEBRL 3 by their number, and how they are written, without the number of their social security.
fn people(folder: &Path) -> (Vec<String>, Vec<usize>) {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(folder.join("dataset3.csv"))
        .unwrap();
    let columns: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let is_text = |name: &str| !["rec_id", "soc_sec_id"].contains(&name);
    let mut found = (Vec::new(), Vec::new());
    for row in reader.records() {
        let row = row.unwrap();
        let number = row[0].split('-').nth(1).unwrap().parse().unwrap();
        let texts =
            columns.iter().zip(&row).filter(|(name, text)| is_text(name) && !text.is_empty());
        found.0.push(texts.map(|(_, text)| text).collect::<Vec<_>>().join(" "));
        found.1.push(number);
    }
    found
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn febrl_people_find_their_duplicates() {
    let Some((data, embedder)) = data_and_model("febrl") else { return };
    let (texts, people) = people(&data);
    let all: Vec<u64> = people.iter().map(|number| *number as u64).collect();
    let none = vec![0; texts.len()];
    let outer = split(&none, Some(&all), HELD_OUT, SPLIT_SEED).unwrap();
    let of = |rows: &[usize]| -> (Vec<&str>, Vec<usize>) {
        rows.iter().map(|row| (&texts[*row][..], people[*row])).unzip()
    };
    let inner: Vec<u64> = outer.train.iter().map(|row| all[*row]).collect();
    let inner = split(&none[..inner.len()], Some(&inner), VALIDATION, SPLIT_SEED + 1).unwrap();
    let back = |rows: &[usize]| rows.iter().map(|at| outer.train[*at]).collect::<Vec<_>>();
    let (validation, validation_people) = of(&back(&inner.held_out));
    let (judged, judged_people) = of(&outer.held_out);
    // Neighbours in the order of the people.
    let mut rows = back(&inner.train);
    rows.sort_by_key(|row| people[*row]);
    let pairs: Vec<(&str, &str, usize)> = rows
        .windows(2)
        .filter(|two| people[two[0]] == people[two[1]])
        .map(|two| (&texts[two[0]][..], &texts[two[1]][..], people[two[0]]))
        .collect();
    let (pairs, groups): (Vec<(&str, &str)>, Vec<usize>) =
        pairs.into_iter().map(|(a, b, person)| ((a, b), person)).unzip();
    let options = contrastive_options();
    let mut rate = 0.0;
    let mut on_progress = |progress: &TrainProgress| {
        rate = progress.texts_per_s;
        ControlFlow::Continue(())
    };
    let trained = fine_tune_pairs(
        &embedder,
        Pairs { texts: &pairs, groups: &groups },
        Grouped { texts: &validation, groups: &validation_people },
        TrainCall { options: &options, checkpoints: None, on_progress: &mut on_progress },
    )
    .unwrap();
    let judge = |network: &dyn networks::Network| {
        let ids = embedder.tokenizer().encode_all(&judged).unwrap();
        let ids: Vec<Vec<u32>> = ids.into_iter().map(|tokens| tokens.ids).collect();
        let vectors = network::vectors_of(network, embedder.config().pooling, &ids).unwrap();
        crate::retrieval(&vectors, &judged_people).unwrap()
    };
    let tuned = tests::network_of(&trained, embedder.config());
    let (before, after) = (judge(embedder.network()), judge(tuned.as_ref()));
    for (name, found) in [("before", &before), ("after", &after)] {
        println!(
            "{name}: {} questions among {} texts: recall at 1 {:.4}, at 10 {:.4}, mean reciprocal rank {:.4}",
            found.questions,
            judged.len(),
            found.recall_at_1,
            found.recall_at_10,
            found.mean_reciprocal_rank
        );
    }
    println!(
        "{} pairs, best epoch {}; {:.1} s, {rate:.0} texts/s, {:?}",
        pairs.len(),
        trained.best_epoch,
        trained.cost.seconds,
        trained.cost
    );
    for epoch in &trained.history {
        println!("  {epoch:?}");
    }
    let compared = crate::compare(&after.is_found, &before.is_found).unwrap();
    println!("{compared:?}");
    assert!(after.recall_at_1 > before.recall_at_1 && compared.p_value < 0.01);
}

/// Of a class of made long texts: what the names of its categories in Banking77 have.
const FAMILIES: [&str; 5] = ["transfer", "cash", "top", "exchange", "card"];
/// Sentences of a long text, at least and at most; one in so many is of its class, one of another, the others are of CLINC and
/// say nothing of it.
const SENTENCES: [usize; 2] = [30, 60];
const OWN: usize = 8;
const ANOTHER: usize = 16;

#[derive(Deserialize)]
struct Clinc {
    train: Vec<[String; 2]>,
}

/// Texts of some 500 words whose class is what a few of their sentences are about. A sentence is in texts of one part only:
/// what is learned from and what is judged by are made of different ones.
fn long_texts(folder: &Path, part: [usize; 2], count: usize) -> (Vec<String>, Vec<usize>) {
    let tickets = Rows::banking77(folder);
    let family = |row: usize| {
        let name = &tickets.labels.names()[tickets.classes[row]];
        FAMILIES.iter().position(|family| name.contains(family))
    };
    let mut of_family = vec![Vec::new(); FAMILIES.len()];
    for row in (0..tickets.texts.len()).filter(|row| row % part[1] == part[0]) {
        if let Some(family) = family(row) {
            of_family[family].push(&tickets.texts[row][..]);
        }
    }
    let clinc = fs::read(folder.join("../clinc_small/data_small_train_val.json")).unwrap();
    let clinc: Clinc = serde_json::from_slice(&clinc).unwrap();
    let others: Vec<&str> = clinc.train.iter().map(|[text, _]| &text[..]).collect();
    let others: Vec<&str> = others.into_iter().skip(part[0]).step_by(part[1]).collect();
    let mut random = Random::new(SPLIT_SEED, part[0] as u64);
    let one_of =
        |random: &mut Random, texts: &[&str]| texts[random.below(texts.len())].trim().to_owned();
    let mut rows = (Vec::new(), Vec::new());
    for row in 0..count {
        let class = row % FAMILIES.len();
        let sentences = SENTENCES[0] + random.below(SENTENCES[1] - SENTENCES[0] + 1);
        let mut text: Vec<String> = (0..sentences)
            .map(|at| {
                if at % OWN == 0 {
                    one_of(&mut random, &of_family[class])
                } else if at % ANOTHER == 1 {
                    let another = (class + 1 + random.below(FAMILIES.len() - 1)) % FAMILIES.len();
                    one_of(&mut random, &of_family[another])
                } else {
                    one_of(&mut random, &others)
                }
            })
            .collect();
        random.shuffle(&mut text);
        rows.0.push(text.join(". "));
        rows.1.push(class);
    }
    rows
}

#[test]
#[ignore = "trains for minutes on real data: `make test-training`"]
fn long_texts_are_told_apart_by_what_stands_anywhere_in_them() {
    let Some((data, embedder)) = data_and_model("banking77") else { return };
    let [learned, own, judged] =
        [(0, 600), (1, 150), (2, 500)].map(|(part, count)| long_texts(&data, [part, 3], count));
    fn all((texts, _): &(Vec<String>, Vec<usize>)) -> Vec<&str> {
        texts.iter().map(String::as_str).collect()
    }
    let words = judged.0.iter().map(|text| text.split(' ').count()).sum::<usize>();
    println!("{} words a text", words / judged.0.len());
    let by_head = |embedder: &Embedder, windows: usize| {
        let started = Instant::now();
        let options = EmbedOptions { windows, ..EmbedOptions::default() };
        let of = |rows| embedder.embed(&all(rows), &options).unwrap().values;
        let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
        let count = FAMILIES.len();
        let options = HeadOptions::default();
        let (head, _) =
            Head::train(&of(&learned), &learned.1, count, &options, &mut go_on).unwrap();
        let logits = head.logits(&of(&judged)).unwrap();
        let answers: Vec<Option<usize>> =
            logits.chunks_exact(count).map(|row| Some(crate::evaluation::best_of(row))).collect();
        let found = crate::scores(&answers, &judged.1, count).unwrap();
        let (accuracy, f1) = (found.accuracy, found.macro_f1);
        println!(
            "head on {windows} windows: accuracy {accuracy:.3}, macro-F1 {f1:.3}; {:.0} s",
            started.elapsed().as_secs_f64()
        );
        f1
    };
    let (beginnings, windows) = (by_head(&embedder, 1), by_head(&embedder, 4));
    assert!(windows > beginnings);
    let options = contrastive_options();
    let mut on_progress = |_: &TrainProgress| ControlFlow::Continue(());
    let (learned_texts, own_texts) = (all(&learned), all(&own));
    let trained = fine_tune_classes(
        &embedder,
        Examples { texts: &learned_texts, classes: &learned.1 },
        Examples { texts: &own_texts, classes: &own.1 },
        4,
        TrainCall { options: &options, checkpoints: None, on_progress: &mut on_progress },
    )
    .unwrap();
    println!("best epoch {}; {:?}", trained.best_epoch, trained.cost);
    trained.history.iter().for_each(|epoch| println!("  {epoch:?}"));
    let (config, tokenizer) = (embedder.config().clone(), embedder.tokenizer().clone());
    let tuned = Embedder::assemble(embedder.id().clone(), config, tokenizer, trained.weights);
    let tuned = tuned.unwrap();
    assert!(by_head(&tuned, 4) > windows);
}
