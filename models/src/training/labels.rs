//! The classes of a classifier: a list of names in a fixed order, and rows that bear one of them each.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Most classes.
pub const LABELS_MAX: usize = 10_000;
/// Longest name of a class in bytes: what a card has room for.
pub const LABEL_BYTES_MAX: usize = 80;

/// Names of classes, each once, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

/// Rows by the numbers of their classes, and those of no class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadLabels {
    /// Every row's class, none where it is not one of the list.
    pub classes: Vec<Option<usize>>,
    /// The names that are not in the list, with the rows that bear them.
    pub unseen: BTreeMap<String, usize>,
}

impl Labels {
    /// The classes of these names, in this order. Fails for fewer than two, for one that is there twice, is empty or is
    /// longer than [`LABEL_BYTES_MAX`], and for more than [`LABELS_MAX`].
    pub fn new(names: Vec<String>) -> Result<Self> {
        if names.len() < 2 {
            return fail(format!("expected at least 2 classes, found {}", names.len()));
        }
        if names.len() > LABELS_MAX {
            return Err(Error::Limit {
                part: "classes",
                found: names.len() as u64,
                limit: LABELS_MAX as u64,
                unit: "classes",
            });
        }
        let mut numbers = BTreeMap::new();
        for (number, name) in names.iter().enumerate() {
            if name.trim().is_empty() || name.len() > LABEL_BYTES_MAX {
                let shown: String = name.chars().take(LABEL_BYTES_MAX).collect();
                return fail(format!(
                    "class {shown:?}: expected a name of 1 to {LABEL_BYTES_MAX} bytes, found {}",
                    name.len()
                ));
            }
            if numbers.insert(name.clone(), number).is_some() {
                return fail(format!("class {name:?}: expected it once, found it twice"));
            }
        }
        Ok(Self { names, numbers })
    }

    /// The classes that rows bear, in the order of their names. Fails for no rows and for one class.
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let names: std::collections::BTreeSet<&str> = rows.into_iter().collect();
        if names.is_empty() {
            return fail("expected rows, found none".into());
        }
        Self::new(names.into_iter().map(str::to_owned).collect())
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of classes, at least 2.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The classes of rows; names that are not in the list are counted.
    pub fn read<'a>(&self, rows: impl IntoIterator<Item = &'a str>) -> ReadLabels {
        let mut read = ReadLabels::default();
        for name in rows {
            let class = self.number(name);
            if class.is_none() {
                *read.unseen.entry(name.to_owned()).or_default() += 1;
            }
            read.classes.push(class);
        }
        read
    }
}

/// Checks that something can be learned from rows of these classes: there are rows, of at least two classes, and at
/// least as many as classes.
pub(crate) fn check_classes(classes: &[usize], count: usize) -> Result<()> {
    if classes.is_empty() {
        return fail("expected rows, found none".into());
    }
    if let Some(class) = classes.iter().find(|class| **class >= count) {
        return fail(format!("expected classes below {count}, found {class}"));
    }
    if classes.len() < count {
        return fail(format!(
            "expected at least as many rows as the {count} classes, found {}",
            classes.len()
        ));
    }
    if classes.iter().all(|class| *class == classes[0]) {
        return fail(format!("expected rows of at least 2 classes, found only {}", classes[0]));
    }
    Ok(())
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Training { problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_are_not_in_the_list_are_counted() {
        let labels = Labels::of_rows(["b", "a", "b"]).unwrap();
        assert_eq!(labels.names(), ["a", "b"]);
        let read = labels.read(["b", "x", "x", "a", "y"]);
        assert_eq!(read.classes, [Some(1), None, None, Some(0), None]);
        assert_eq!(read.unseen, BTreeMap::from([("x".into(), 2), ("y".into(), 1)]));
    }

    #[test]
    fn classes_that_nothing_can_be_learned_from_are_refused() {
        let says = |rows: &[&str]| Labels::of_rows(rows.iter().copied()).unwrap_err().to_string();
        assert_eq!(says(&[]), "training: expected rows, found none");
        assert_eq!(says(&["a", "a"]), "training: expected at least 2 classes, found 1");
        assert!(says(&["a", " "]).contains("expected a name of 1 to 80 bytes"));
        let twice = Labels::new(vec!["a".into(), "a".into()]).unwrap_err().to_string();
        assert!(twice.contains("expected it once, found it twice"), "{twice}");
        let says =
            |classes: &[usize], count| check_classes(classes, count).unwrap_err().to_string();
        assert!(says(&[], 2).ends_with("expected rows, found none"));
        assert!(says(&[0, 1], 3).contains("at least as many rows as the 3 classes, found 2"));
        assert!(says(&[1, 1, 1], 2).contains("at least 2 classes, found only 1"));
        assert!(says(&[0, 2], 2).contains("below 2, found 2"));
        assert!(check_classes(&[0, 1, 1], 2).is_ok());
    }
}
