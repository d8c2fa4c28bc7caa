//! From verdicts to findings: an episode begins where the severity reaches a threshold, goes on while it stays above a lower one, and
//! ends after a rest, so that what swings about the threshold is one finding and not many.

use serde::{Deserialize, Serialize};

use super::detector::{Aspect, Verdict};

/// When episodes begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeOptions {
    /// The severity that an episode begins with.
    pub threshold: f64,
    /// The severity that it goes on with.
    pub keep_threshold: f64,
    /// Samples in a row below that after which it is over.
    pub rest_samples: u32,
}

impl Default for EpisodeOptions {
    fn default() -> Self {
        Self { threshold: 2.3, keep_threshold: 2.0, rest_samples: 144 }
    }
}

/// The place of a sample in an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The number of the episode, from 0.
    pub number: u64,
    /// Samples of the episode before this one: 0 where it begins.
    pub offset: u64,
}

/// An episode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its number, from 0.
    pub number: u64,
    /// The instant of its first sample.
    pub start_us: i64,
    /// The instant of its last one that is unusual.
    pub end_us: i64,
    /// The instant of the most unusual one.
    pub peak_us: i64,
    /// Samples from the first to the last.
    pub samples: u64,
    /// The score of the most unusual one, its severity, and what was unusual about it.
    pub score: f64,
    /// Its severity.
    pub severity: f64,
    /// What was unusual about it.
    pub aspect: Option<Aspect>,
    /// Its value.
    pub observed: f64,
    /// What was expected instead.
    pub expected: Option<f64>,
}

/// Collects verdicts into episodes. Its state can be saved and taken up again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episodes {
    options: EpisodeOptions,
    /// Episodes that began so far.
    begun: u64,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    finding: Finding,
    /// Samples since its last one.
    rested: u32,
}

impl Episodes {
    /// Before the first verdict.
    pub fn new(options: EpisodeOptions) -> Self {
        Self { options, begun: 0, open: None }
    }

    /// Takes the next verdict and tells it its place; gives the episode that is over with it.
    pub fn push(&mut self, at_us: i64, verdict: &mut Verdict) -> Option<Finding> {
        verdict.episode = None;
        let Some(open) = &mut self.open else {
            if verdict.severity >= self.options.threshold {
                let finding = Finding::begin(self.begun, at_us, verdict);
                self.begun = self.begun.saturating_add(1);
                verdict.episode = Some(Place { number: finding.number, offset: 0 });
                self.open = Some(Open { finding, rested: 0 });
            }
            return None;
        };
        let least = self.options.keep_threshold.min(self.options.threshold);
        if verdict.severity >= least {
            let finding = &mut open.finding;
            let offset = finding.samples.saturating_add(u64::from(open.rested));
            (finding.samples, finding.end_us) = (offset.saturating_add(1), at_us);
            if verdict.severity > finding.severity {
                finding.peak(at_us, verdict);
            }
            verdict.episode = Some(Place { number: finding.number, offset });
            open.rested = 0;
            return None;
        }
        open.rested = open.rested.saturating_add(1);
        if open.rested < self.options.rest_samples {
            return None;
        }
        self.finish()
    }

    /// The episode that is not over yet.
    pub fn open(&self) -> Option<&Finding> {
        self.open.as_ref().map(|open| &open.finding)
    }

    /// Ends the episode that is not over yet.
    pub fn finish(&mut self) -> Option<Finding> {
        self.open.take().map(|open| open.finding)
    }
}

impl Finding {
    fn begin(number: u64, at_us: i64, verdict: &Verdict) -> Self {
        Self {
            number,
            start_us: at_us,
            end_us: at_us,
            peak_us: at_us,
            samples: 1,
            score: verdict.score,
            severity: verdict.severity,
            aspect: verdict.aspect,
            observed: verdict.observed,
            expected: verdict.expected,
        }
    }

    fn peak(&mut self, at_us: i64, verdict: &Verdict) {
        let Self { number, start_us, end_us, samples, .. } = *self;
        *self = Self { start_us, end_us, samples, ..Self::begin(number, at_us, verdict) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: EpisodeOptions =
        EpisodeOptions { threshold: 2.0, keep_threshold: 1.0, rest_samples: 3 };

    fn verdict(severity: f64) -> Verdict {
        Verdict {
            score: severity / 10.0,
            severity,
            aspect: Some(Aspect::Level),
            observed: severity * 100.0,
            expected: Some(1.0),
            episode: None,
        }
    }

    /// The findings with the instant each came at, and the places.
    fn run(
        severities: &[f64],
        options: EpisodeOptions,
    ) -> (Vec<(i64, Finding)>, Vec<Option<Place>>) {
        let mut episodes = Episodes::new(options);
        let (mut findings, mut places) = (Vec::new(), Vec::new());
        for (at, severity) in severities.iter().enumerate() {
            let (at, mut verdict) = (at as i64, verdict(*severity));
            findings.extend(episodes.push(at, &mut verdict).map(|finding| (at, finding)));
            places.push(verdict.episode);
        }
        findings.extend(episodes.finish().map(|finding| (severities.len() as i64, finding)));
        (findings, places)
    }

    #[test]
    fn an_episode_goes_from_its_threshold_over_what_is_kept_to_a_rest() {
        let severities = [1.9, 2.0, 0.0, 0.5, 1.0, 5.0, 1.5, 0.9, 0.9, 0.9, 1.9, 2.5];
        let (findings, places) = run(&severities, OPTIONS);
        let (at, first) = findings[0];
        assert_eq!(at, 9);
        assert_eq!((first.number, first.start_us, first.end_us, first.peak_us), (0, 1, 6, 5));
        assert_eq!((first.samples, first.severity, first.score), (6, 5.0, 0.5));
        assert_eq!((first.observed, first.expected), (500.0, Some(1.0)));
        let (at, second) = findings[1];
        assert_eq!((at, second.number, second.start_us, second.samples), (12, 1, 11, 1));
        assert_eq!(findings.len(), 2);
        let place = |number, offset| Some(Place { number, offset });
        let expected = [
            None,
            place(0, 0),
            None,
            None,
            place(0, 3),
            place(0, 4),
            place(0, 5),
            None,
            None,
            None,
            None,
            place(1, 0),
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn what_is_open_can_be_seen() {
        let mut episodes = Episodes::new(OPTIONS);
        assert_eq!(episodes.open(), None);
        episodes.push(7, &mut verdict(3.0));
        assert_eq!(episodes.open().map(|open| (open.start_us, open.severity)), Some((7, 3.0)));
    }

    #[test]
    fn the_threshold_to_keep_is_never_above_the_one_to_begin() {
        let options = EpisodeOptions { keep_threshold: 9.0, ..OPTIONS };
        let (findings, _) = run(&[2.0, 2.0, 2.0], options);
        assert_eq!((findings.len(), findings[0].1.samples), (1, 3));
    }

    #[test]
    fn without_a_rest_the_first_sample_below_ends_it() {
        let (findings, _) = run(&[2.0, 0.0, 2.0], EpisodeOptions { rest_samples: 0, ..OPTIONS });
        assert_eq!(findings.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 3]);
    }
}
