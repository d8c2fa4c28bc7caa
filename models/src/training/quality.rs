//! How far a labelled row can be trusted as an example, and why not.
//!
//! ```text
//!   quality = support × the factor of each issue          0 (no use) to 1
//!   support = p(label) / p(likeliest class)               of a head that did not see the row; 1 where none was asked
//! ```
//! The factors only order rows, for people who look at the worst first; nothing is trained by them.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::report::{FoldAnswer, normalised, same_text_groups};
use crate::error::{Error, Result};

/// Letters below which a text does not tell its language.
const LETTERS_MIN: usize = 40;
/// Words below which a text says little.
const WORDS_MIN: usize = 3;

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Issue {
    /// It has no letter and no digit.
    Empty,
    /// It has fewer than three words.
    Short,
    /// An earlier row has the same text.
    Repeated,
    /// A row with the same text has another label.
    Contradictory,
    /// It is in another language than most rows.
    OtherLanguage,
    /// Parts of it are in different languages.
    MixedLanguages,
    /// A head that did not see it answers another class.
    Doubted,
}

impl Issue {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Short => "short",
            Self::Repeated => "repeated",
            Self::Contradictory => "contradictory",
            Self::OtherLanguage => "other_language",
            Self::MixedLanguages => "mixed_languages",
            Self::Doubted => "doubted",
        }
    }

    /// What a row with it is worth beside one without.
    fn factor(self) -> f32 {
        match self {
            Self::Empty => 0.0,
            Self::Contradictory => 0.25,
            Self::Short | Self::Repeated | Self::OtherLanguage => 0.5,
            Self::MixedLanguages => 0.75,
            // Counted by the support.
            Self::Doubted => 1.0,
        }
    }
}

/// What a row is worth as an example.
#[derive(Clone, Debug, PartialEq)]
pub struct RowQuality {
    /// 0 to 1.
    pub quality: f32,
    /// The language by ISO 639-3, where the text tells it.
    pub language: Option<&'static str>,
    /// What is wrong with it, in order.
    pub issues: Vec<Issue>,
}

/// The quality of each row. `answers`: what heads that did not see the rows answer for them; none to leave the support
/// out. Fails for lists of different lengths.
pub fn row_quality(
    texts: &[&str],
    classes: &[usize],
    answers: Option<&[FoldAnswer]>,
) -> Result<Vec<RowQuality>> {
    let found = answers.map_or(texts.len(), <[FoldAnswer]>::len);
    if classes.len() != texts.len() || found != texts.len() {
        return Err(Error::Training {
            problem: format!(
                "quality: expected a class and an answer for each of {} texts, found {} and {found}",
                texts.len(),
                classes.len()
            ),
        });
    }
    let languages: Vec<Languages> = texts.par_iter().map(|text| Languages::of(text)).collect();
    let usual = most_common(languages.iter().filter_map(|it| it.main));
    let copies = Copies::of(texts, classes);
    let row = |row: usize| {
        let text = normalised(texts[row]);
        let words = text.split(' ').filter(|word| !word.is_empty()).count();
        let Languages { main, is_mixed } = languages[row];
        let doubted = answers.is_some_and(|answers| answers[row].answered != classes[row]);
        let issues = [
            (Issue::Empty, words == 0),
            (Issue::Short, (1..WORDS_MIN).contains(&words)),
            (Issue::Repeated, copies.is_repeated[row]),
            (Issue::Contradictory, copies.is_contradictory[row]),
            (Issue::OtherLanguage, main.is_some() && main != usual),
            (Issue::MixedLanguages, is_mixed),
            (Issue::Doubted, doubted),
        ];
        let issues: Vec<Issue> =
            issues.into_iter().filter_map(|(issue, is_there)| is_there.then_some(issue)).collect();
        let support = answers.map_or(1.0, |answers| {
            let FoldAnswer { confidence, of_label, .. } = answers[row];
            if confidence > 0.0 { of_label / confidence } else { 0.0 }
        });
        let quality = issues.iter().fold(support, |quality, issue| quality * issue.factor());
        RowQuality { quality, language: main, issues }
    };
    Ok((0..texts.len()).map(row).collect())
}

/// The languages of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Languages {
    main: Option<&'static str>,
    is_mixed: bool,
}

impl Languages {
    fn of(text: &str) -> Self {
        let main = language(text);
        let parts = text.split(['.', '!', '?', ';', '\n']).filter_map(language);
        let mut parts = parts.collect::<Vec<_>>();
        parts.dedup();
        Self { main, is_mixed: parts.len() > 1 }
    }
}

/// The language of a text that is long enough, where the detector is sure of it.
fn language(text: &str) -> Option<&'static str> {
    if text.chars().filter(|c| c.is_alphabetic()).take(LETTERS_MIN).count() < LETTERS_MIN {
        return None;
    }
    let found = whatlang::detect(text)?;
    found.is_reliable().then(|| found.lang().code())
}

/// The one that is there most often, of equals the first by name.
fn most_common<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name)
}

/// Rows whose text others have, too.
struct Copies {
    is_repeated: Vec<bool>,
    is_contradictory: Vec<bool>,
}

impl Copies {
    fn of(texts: &[&str], classes: &[usize]) -> Self {
        let groups = same_text_groups(texts);
        let mut first: HashMap<u64, (usize, bool)> = HashMap::new();
        let mut is_repeated = Vec::with_capacity(groups.len());
        for (group, class) in groups.iter().zip(classes) {
            match first.get_mut(group) {
                Some((first, is_one)) => {
                    *is_one &= first == class;
                    is_repeated.push(true);
                }
                None => {
                    first.insert(*group, (*class, true));
                    is_repeated.push(false);
                }
            }
        }
        let is_contradictory =
            groups.iter().map(|group| first.get(group).is_some_and(|(_, is_one)| !is_one));
        Self { is_contradictory: is_contradictory.collect(), is_repeated }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ENGLISH: &str = "My card has still not arrived at my house, although I have been waiting for it for more than two weeks and asked about it several times";
    const GERMAN: &str = "Meine Karte ist leider immer noch nicht bei mir angekommen, obwohl ich schon seit über zwei Wochen darauf warte und mehrmals nachgefragt habe";

    const OTHER: &str =
        "Which of the exchange rates would you have used for the money that I withdrew abroad?";

    #[test]
    fn what_is_wrong_with_a_row_is_named_and_lowers_its_quality() {
        let mixed = format!("{OTHER}. {GERMAN}.");
        let texts = [
            ENGLISH,
            "Lost my card",
            "lost, my card!",
            GERMAN,
            "",
            "Help",
            &mixed,
            "a b c d",
            OTHER,
            "Could somebody please explain to me why the payment that I made yesterday was declined?",
            "There is a payment on my statement that I do not recognise and that I have certainly never made",
        ];
        let classes = [0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0];
        let found = row_quality(&texts, &classes, None).unwrap();
        let issues: Vec<&[Issue]> = found.iter().map(|row| &row.issues[..]).collect();
        assert_eq!(issues[0], []);
        assert_eq!(issues[1], [Issue::Contradictory]);
        assert_eq!(issues[2], [Issue::Repeated, Issue::Contradictory]);
        assert_eq!(issues[3], [Issue::OtherLanguage]);
        assert_eq!(issues[4], [Issue::Empty]);
        assert_eq!(issues[5], [Issue::Short]);
        assert!(issues[6].contains(&Issue::MixedLanguages), "{:?}", issues[6]);
        assert_eq!(issues[7], []);
        assert_eq!(
            (found[8].language, found[3].language, found[5].language),
            (Some("eng"), Some("deu"), None)
        );
        let quality: Vec<f32> = found.iter().map(|row| row.quality).collect();
        assert_eq!(quality[..6], [1.0, 0.25, 0.125, 0.5, 0.0, 0.5]);
    }

    #[test]
    fn support_is_the_labels_share_of_the_likeliest() {
        let answer = |answered, confidence, of_label| FoldAnswer { answered, confidence, of_label };
        let answers = [answer(0, 0.8, 0.8), answer(1, 0.9, 0.09)];
        let texts = ["one two three", "four five six"];
        let found = row_quality(&texts, &[0, 0], Some(&answers)).unwrap();
        assert_eq!(found[0], RowQuality { quality: 1.0, language: None, issues: Vec::new() });
        assert!((found[1].quality - 0.1).abs() < 1e-6);
        assert_eq!(found[1].issues, [Issue::Doubted]);
        assert!(row_quality(&texts, &[0], None).is_err());
        assert!(row_quality(&texts, &[0, 0], Some(&answers[..1])).is_err());
        assert_eq!(row_quality(&[], &[], None).unwrap(), []);
    }
}
