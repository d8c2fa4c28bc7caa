//! A report: all that is on its pages, said in words and drawn, and no longer any query. Pages of HTML and of PDF are made of it.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// A report, ready to be put on pages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What it is called.
    pub title: String,
    /// The line under it.
    pub subtitle: Option<String>,
    /// What was chosen: titles of parameters and their values.
    pub parameters: Vec<(String, String)>,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// What made it, with its version.
    pub made_by: String,
    /// Who asked for it.
    pub asked_by: Option<String>,
    /// What was read, each `dataset@version`.
    pub sources: Vec<String>,
    /// What it shows.
    pub parts: Vec<Part>,
    /// What is to be known of it as a whole.
    pub notes: Vec<String>,
}

/// One section.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Its title.
    pub title: Option<String>,
    /// What is to be known of it.
    pub note: Option<String>,
    /// Whether it stands beside another.
    pub is_half: bool,
    /// What it shows.
    pub body: Body,
}

/// What a section shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Body {
    /// Paragraphs.
    Text {
        /// In order.
        paragraphs: Vec<String>,
    },
    /// Headline numbers.
    Figures {
        /// In order.
        figures: Vec<Figure>,
    },
    /// Rows and columns.
    Table(Table),
    /// A drawing.
    Chart {
        /// As SVG.
        svg: String,
        /// What it shows, for who does not see it.
        alt: String,
        /// What is not shown.
        left_out: Option<String>,
    },
    /// A sentence in the place of what is not there.
    Absent {
        /// Why.
        sentence: String,
    },
}

/// A headline number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub label: String,
    /// The number with its unit.
    pub value: String,
    /// Against the time before.
    pub change: Option<Change>,
}

/// How a number changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// In words.
    pub text: String,
    /// What it means.
    pub meaning: Meaning,
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// It went the good way.
    Good,
    /// It went the other way.
    Bad,
    /// Neither way is good, or nothing changed.
    Plain,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Cells as they are read, by row.
    pub rows: Vec<Vec<String>>,
    /// Sums, under the columns that have one.
    pub total: Option<Vec<String>>,
    /// How many rows are not shown.
    pub left_out: Option<String>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// What it is called.
    pub label: String,
    /// Whether it stands at the right.
    pub is_number: bool,
    /// How much room it needs beside others, in letters.
    pub letters: usize,
}

impl Report {
    /// Every text of it, drawings among them, to be changed in place.
    pub(crate) fn texts_mut(&mut self, change: &mut dyn FnMut(&mut String)) {
        change(&mut self.title);
        self.subtitle.iter_mut().for_each(&mut *change);
        for (title, value) in &mut self.parameters {
            change(title);
            change(value);
        }
        change(&mut self.made_by);
        self.asked_by.iter_mut().for_each(&mut *change);
        self.sources.iter_mut().for_each(&mut *change);
        self.notes.iter_mut().for_each(&mut *change);
        for part in &mut self.parts {
            part.title.iter_mut().chain(&mut part.note).for_each(&mut *change);
            match &mut part.body {
                Body::Text { paragraphs } => paragraphs.iter_mut().for_each(&mut *change),
                Body::Figures { figures } => {
                    for figure in figures {
                        change(&mut figure.label);
                        change(&mut figure.value);
                        figure.change.iter_mut().for_each(|c| change(&mut c.text));
                    }
                }
                Body::Table(table) => {
                    table.columns.iter_mut().for_each(|column| change(&mut column.label));
                    table.rows.iter_mut().flatten().for_each(&mut *change);
                    table.total.iter_mut().flatten().for_each(&mut *change);
                    table.left_out.iter_mut().for_each(&mut *change);
                }
                Body::Chart { svg, alt, left_out } => {
                    change(svg);
                    change(alt);
                    left_out.iter_mut().for_each(&mut *change);
                }
                Body::Absent { sentence } => change(sentence),
            }
        }
    }

    /// Every text of it, one behind the other.
    pub(crate) fn letters(&self) -> std::collections::BTreeSet<char> {
        let mut letters = std::collections::BTreeSet::new();
        self.clone().texts_mut(&mut |text| letters.extend(text.chars()));
        letters
    }
}

impl Report {
    /// Of what, when and by what it was made.
    pub fn provenance(&self) -> String {
        let mut said = String::new();
        if !self.sources.is_empty() {
            said = format!("Made of {}. ", self.sources.join(", "));
        }
        said +=
            &format!("Made at {} UTC by {}", crate::format::instant(self.made_at), self.made_by);
        if let Some(who) = &self.asked_by {
            said += &format!(" for {who}");
        }
        said + "."
    }
}

/// How many headline numbers stand beside each other, so that lines are alike.
pub(crate) fn beside(figures: usize) -> usize {
    match figures {
        0..=4 => figures.max(1),
        5 | 6 | 9 => 3,
        _ => 4,
    }
}
