//! The rows that `accuracy` commits.

use analysis::answers::{Answers, BINS, Bin};
use analysis::trial::wilson;
use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use engine::Result;

use super::params::Params;
use super::read::{Model, Read};
use super::told::{Compared, OfPeriod};
use crate::tables::columns::{column, float, of_sources, some_text, source, text, version, whole};
use crate::tables::rows::{Rows, Table};

fn model() -> ColumnSpec {
    text("model", "Who answered")
}

/// How good answers are.
fn measures() -> Vec<ColumnSpec> {
    vec![
        whole("known", "Answers of which it is known what is so"),
        whole("right", "Those of them that are right"),
        float("accuracy", "The part that is right, 0 to 1"),
        float(
            "lower",
            "Where the accuracy behind it lies with a confidence of 95 % (Wilson): the lower end",
        ),
        float("upper", "The upper end"),
        float("confidence", "The mean of how sure it says it is, 0 to 1"),
        float("confidence_lower", "Where that mean lies with a confidence of 95 %: the lower end"),
        float("confidence_upper", "The upper end"),
        float(
            "calibration_error",
            "How far tenths of confidence are from the part that is right, by how many answers they have, 0 to 1 (expected calibration error)",
        ),
        float(
            "calibration_error_lower",
            "Where the error lies with a confidence of 95 %: the lower end",
        ),
        float("calibration_error_upper", "The upper end"),
        float("brier", "The mean square of how far its confidence is from what is so, 0 to 1"),
        float("brier_lower", "Where that lies with a confidence of 95 %: the lower end"),
        float("brier_upper", "The upper end"),
        float(
            "calibration_p",
            "The chance that it is so far off where it is right as often as it says (Spiegelhalter)",
        ),
    ]
}

/// What has answers.
pub(crate) trait Answering {
    fn answers(&self) -> &Answers;
}

impl Answering for Model {
    fn answers(&self) -> &Answers {
        &self.known
    }
}

impl Answering for OfPeriod<'_> {
    fn answers(&self) -> &Answers {
        self.answers
    }
}

impl<T: Answering> Table<'_, T> {
    fn measures(self) -> Self {
        let rate = |of: &T| of.answers().accuracy();
        self.whole(|of| of.answers().answers)
            .whole(|of| of.answers().right)
            .float(|of| rate(of).map(|rate| rate.rate))
            .float(|of| rate(of).map(|rate| rate.lower))
            .float(|of| rate(of).map(|rate| rate.upper))
            .float(|of| of.answers().confidence())
            .float(|of| of.answers().confidence_interval().map(|rate| rate.lower))
            .float(|of| of.answers().confidence_interval().map(|rate| rate.upper))
            .float(|of| of.answers().calibration_error())
            .float(|of| of.answers().calibration_error_interval().map(|of| of[0]))
            .float(|of| of.answers().calibration_error_interval().map(|of| of[1]))
            .float(|of| of.answers().brier())
            .float(|of| of.answers().brier_interval().map(|rate| rate.lower))
            .float(|of| of.answers().brier_interval().map(|rate| rate.upper))
            .float(|of| of.answers().calibration_p())
    }
}

fn spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![source(), model(), whole("answers", "Its answers, known or not")];
    columns.extend(measures());
    columns.extend([
        float("weighted_accuracy", "The part of all answers that is right, if labelled ones are like others of their confidence; none without confidences"),
        float("weighted_accuracy_lower", "Lower end of its 95 % confidence interval, whatever the accuracy of bins without labels"),
        float("weighted_accuracy_upper", "The upper end"),
        float("label_sampling_p", "The chance that labels are so uneven over confidences if answers to label are drawn at random; none where there are too few"),
        float(
            "macro_f1",
            "The mean over labels of the harmonic mean of precision and recall, 0 to 1",
        ),
        float("macro_f1_lower", "Where that lies with a confidence of 95 %: the lower end"),
        float("macro_f1_upper", "The upper end"),
        whole("labels", "Labels that it answers, or that are so"),
        version(),
    ]);
    let about = "How often models are right, and whether they know it";
    of_sources(params.output.clone(), about, ["source", "model"], None, columns)
}

fn periods_spec(params: &Params) -> DatasetSpec {
    let at = column("at", ColumnType::Timestamp, false, "When the period began");
    let mut columns = vec![source(), model(), at];
    columns.extend(measures());
    columns.extend([
        float(
            "accuracy_before",
            "The part that was right in all periods before it that were no worse",
        ),
        float("before_lower", "Where that lies with a confidence of 95 %: the lower end"),
        float("before_upper", "The upper end"),
        float("p", "The chance of so few where nothing changed (Fisher)"),
        column(
            "is_worse",
            ColumnType::Bool,
            false,
            "Whether it is right less often than before, by more than chance",
        ),
        version(),
    ]);
    let about = "How often models are right, period by period";
    let key = ["source", "model", "at"];
    of_sources(params.periods_output.clone(), about, key, Some("at"), columns)
}

fn calibration_spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        model(),
        whole("tenth", "1 for the least confidence, 10 for the most"),
        float("from", "The least confidence of the tenth"),
        float("to", "The most; below it but for 1"),
        whole("known", "Answers that say so, and of which it is known what is so"),
        float("confidence", "The mean of what they say"),
        float("accuracy", "The part that is right, 0 to 1"),
        float(
            "lower",
            "Where the accuracy behind it lies with a confidence of 95 %: the lower end",
        ),
        float("upper", "The upper end"),
        version(),
    ];
    let about = "How often models are right that say how sure they are";
    let key = ["source", "model", "tenth"];
    of_sources(params.calibration_output.clone(), about, key, None, columns)
}

fn comparisons_spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        text("model_a", "One model: the champion, where one is named"),
        text("model_b", "The other"),
        whole("rows", "Rows that both answered, and of which it is known what is so"),
        whole("both", "Those on which both are right"),
        whole("only_a", "Those on which the first alone is"),
        whole("only_b", "Those on which the second alone is"),
        whole("neither", "Those on which none is"),
        float("difference", "The accuracy of the second less that of the first, -1 to 1"),
        float(
            "lower",
            "Where the difference behind it lies with a confidence of 95 %: the lower end",
        ),
        float("upper", "The upper end"),
        float(
            "p",
            "The chance of such a difference where both are right as often (McNemar, exact)",
        ),
        float(
            "weighted_difference",
            "The difference on all answers, by their confidence; none where answers to label seem drawn at random",
        ),
        float("weighted_p", "p-value of weighted_difference"),
        float(
            "p_adjusted",
            "The higher of both chances with the number of comparisons in mind (Holm)",
        ),
        some_text("better", "Who is right more often; none where that is not sure"),
        version(),
    ];
    let about = "Which of two models is right more often, on the same rows";
    let key = ["source", "model_a", "model_b"];
    of_sources(params.comparisons_output.clone(), about, key, None, columns)
}

pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![spec(params), periods_spec(params), calibration_spec(params), comparisons_spec(params)]
}

/// A tenth of confidence that answers have.
struct Tenth<'a> {
    model: &'a Model,
    place: usize,
    bin: &'a Bin,
}

/// The rows of all outputs.
pub(super) fn rows(
    params: &Params,
    version: i64,
    read: &Read,
    periods: &[OfPeriod<'_>],
    comparisons: &[Compared<'_>],
) -> Result<Vec<Rows>> {
    let source = params.truth.as_str();
    let calendar = params.periods_of();
    let models = Table::new(&read.models, source, version)
        .text(|of| of.name.clone())
        .whole(|of| of.answers)
        .measures()
        .float(|of| of.weighted_accuracy().map(|rate| rate.rate))
        .float(|of| of.weighted_accuracy().map(|rate| rate.lower))
        .float(|of| of.weighted_accuracy().map(|rate| rate.upper))
        .float(Model::label_sampling_p)
        .float(|of| of.macro_f1().map(|rate| rate.rate))
        .float(|of| of.macro_f1().map(|rate| rate.lower))
        .float(|of| of.macro_f1().map(|rate| rate.upper))
        .whole(|of| of.labels() as u64)
        .finish(spec(params))?;
    let periods = Table::new(periods, source, version)
        .text(|of| of.model.name.clone())
        .time(|of| calendar.start_us(of.at))
        .measures()
        .float(|of| of.before.map(|rate| rate.rate))
        .float(|of| of.before.map(|rate| rate.lower))
        .float(|of| of.before.map(|rate| rate.upper))
        .float(|of| of.p)
        .flag(|of| of.is_worse)
        .finish(periods_spec(params))?;
    let tenths = read.models.iter().flat_map(|model| {
        let bins = model.known.bins.iter().enumerate();
        let there = bins.filter(|(_, bin)| bin.answers > 0);
        there.map(move |(place, bin)| Tenth { model, place, bin })
    });
    let tenths: Vec<Tenth<'_>> = tenths.collect();
    let rate = |of: &Tenth<'_>| wilson(of.bin.right, of.bin.answers);
    let tenths = Table::new(&tenths, source, version)
        .text(|of| of.model.name.clone())
        .whole(|of| of.place as u64 + 1)
        .float(|of| Some(of.place as f64 / BINS as f64))
        .float(|of| Some((of.place + 1) as f64 / BINS as f64))
        .whole(|of| of.bin.answers)
        .float(|of| Some(of.bin.confidence / of.bin.answers as f64))
        .float(|of| rate(of).map(|rate| rate.rate))
        .float(|of| rate(of).map(|rate| rate.lower))
        .float(|of| rate(of).map(|rate| rate.upper))
        .finish(calibration_spec(params))?;
    let difference = |of: &Compared<'_>| of.beside.difference();
    let comparisons = Table::new(comparisons, source, version)
        .text(|of| of.a.name.clone())
        .text(|of| of.b.name.clone())
        .whole(|of| of.beside.rows())
        .whole(|of| of.beside.both)
        .whole(|of| of.beside.only_a)
        .whole(|of| of.beside.only_b)
        .whole(|of| of.beside.neither)
        .float(|of| difference(of).map(|of| of.0))
        .float(|of| difference(of).map(|of| of.1))
        .float(|of| difference(of).map(|of| of.2))
        .float(|of| Some(of.p))
        .float(|of| of.weighted_difference().map(|of| of.difference))
        .float(|of| of.weighted_difference().map(|of| of.p))
        .float(|of| Some(of.p_adjusted))
        .some_text(|of| of.better.map(str::to_owned))
        .finish(comparisons_spec(params))?;
    Ok(vec![models, periods, tenths, comparisons])
}
