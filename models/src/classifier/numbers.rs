//! Numbers that a row has beside its texts, such as features of who wrote them.

use serde::{Deserialize, Serialize};

use super::NUMBERS_MAX;
use crate::embedding::Embeddings;
use crate::error::{Error, Result};

/// Parts that the values of a column are cut into, of equally many each.
const PARTS: usize = 32;
/// What a column is in a vector: where its value lies among others, and whether it is missing.
const WIDTH: usize = 2;

/// How numbers become part of a row's vector.
///
/// Of each column it is known where values lie among those that were learned from. A value is its place among them, from -1 to 1,
/// so that neither a unit nor a few large values matter; one that is missing is in the middle, and a second number says so. All are
/// scaled so that the numbers of a row are about as long as the vector of its texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Numbers {
    columns: Vec<NumberColumn>,
}

/// A column of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NumberColumn {
    name: String,
    /// Values at equal parts of those that were learned from, the smallest first and the largest last; none, where all were missing.
    quantiles: Vec<f64>,
}

impl Numbers {
    /// Learns where values lie: `values` are those of the first row, one for each name, then those of the next, NaN where one is missing.
    /// Fails for values that are no whole rows, and for more than [`NUMBERS_MAX`] names.
    pub fn learn(names: &[String], values: &[f64]) -> Result<Self> {
        if names.is_empty() || !values.len().is_multiple_of(names.len()) {
            let problem = format!(
                "numbers: expected {} of each row, found {} in all",
                names.len(),
                values.len()
            );
            return Err(Error::Config { problem });
        }
        let column = |(at, name): (usize, &String)| {
            let of_column = values.iter().skip(at).step_by(names.len());
            let mut known: Vec<f64> = of_column.copied().filter(|of| of.is_finite()).collect();
            known.sort_unstable_by(f64::total_cmp);
            let parts = if known.is_empty() { 0..0 } else { 0..PARTS + 1 };
            let last = known.len().saturating_sub(1);
            let nearest = |part: usize| (part * last + PARTS / 2) / PARTS;
            let quantiles = parts.filter_map(|part| known.get(nearest(part)).copied());
            NumberColumn { name: name.clone(), quantiles: quantiles.collect() }
        };
        let found = Self { columns: names.iter().enumerate().map(column).collect() };
        found.check()?;
        Ok(found)
    }

    /// The columns' names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|column| &column.name[..])
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.columns.len()
    }

    /// Numbers that they are in the vector of a row.
    pub fn width(&self) -> usize {
        WIDTH * self.columns.len()
    }

    pub(super) fn check(&self) -> Result<()> {
        let fail = |problem: String| Err(Error::Config { problem });
        if self.columns.len() > NUMBERS_MAX {
            let found = self.columns.len();
            return fail(format!("numbers: expected at most {NUMBERS_MAX}, found {found}"));
        }
        for (at, NumberColumn { name, quantiles }) in self.columns.iter().enumerate() {
            if self.columns[..at].iter().any(|other| other.name == *name) {
                return fail(format!("numbers: {name:?} stands there twice"));
            }
            let is_right = quantiles.iter().all(|of| of.is_finite()) && quantiles.is_sorted();
            if !is_right || !matches!(quantiles.len(), 0 | 2..) {
                return fail(format!(
                    "numbers: quantiles of {name:?}: expected finite ones in order"
                ));
            }
        }
        Ok(())
    }

    /// Vectors of texts with the numbers of each row behind them. Fails for numbers that are not as many for each row as there are columns.
    pub fn beside(&self, texts: Embeddings, numbers: &[f64]) -> Result<Embeddings> {
        let rows = texts.values.len() / texts.dimension.max(1);
        if numbers.len() != rows * self.count() {
            let problem = format!(
                "numbers: expected {} of each of {rows} rows, found {} in all",
                self.count(),
                numbers.len()
            );
            return Err(Error::Config { problem });
        }
        if self.columns.is_empty() {
            return Ok(texts);
        }
        let dimension = texts.dimension + self.width();
        // Places that all are as likely have a mean square of a third.
        let scale = (3.0 / self.count() as f64).sqrt();
        let mut values = Vec::with_capacity(rows * dimension);
        let of_texts = texts.values.chunks_exact(texts.dimension.max(1));
        for (text, numbers) in of_texts.zip(numbers.chunks_exact(self.count())) {
            values.extend_from_slice(text);
            for (column, number) in self.columns.iter().zip(numbers) {
                let place = column.place(*number);
                let is_missing = f64::from(u8::from(place.is_none()));
                values.extend([place.unwrap_or(0.0), is_missing].map(|of| (scale * of) as f32));
            }
        }
        Ok(Embeddings { values, dimension, ..texts })
    }
}

impl NumberColumn {
    /// Where a value lies among those that were learned from, -1 to 1; none where it is missing, or nothing is known.
    fn place(&self, number: f64) -> Option<f64> {
        let of = &self.quantiles;
        let parts = of.len().checked_sub(1).filter(|parts| *parts > 0 && number.is_finite())?;
        // Of equal ones the middle, so that what is often there has its mean place.
        let below = of.partition_point(|quantile| *quantile < number);
        let upto = of.partition_point(|quantile| *quantile <= number);
        let place = match upto - below {
            0 if below == 0 => 0.0,
            0 if below > parts => parts as f64,
            0 => {
                let (low, high) = (of[below - 1], of[below]);
                let part = match high - low {
                    apart if apart.is_finite() => (number - low) / apart,
                    _ => (number / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0),
                };
                (below - 1) as f64 + part.clamp(0.0, 1.0)
            }
            _ => (below + upto - 1) as f64 / 2.0,
        };
        Some(2.0 * place / parts as f64 - 1.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("n{at}")).collect()
    }

    fn places(learned: &[f64], of: &[f64]) -> Vec<Option<f64>> {
        let numbers = Numbers::learn(&names(1), learned).unwrap();
        of.iter().map(|number| numbers.columns[0].place(*number)).collect()
    }

    #[test]
    fn a_number_is_its_place_among_those_that_were_learned_from() {
        // Of 0 to 96 each third stands at the end of a part.
        let even: Vec<f64> = (0..97).map(f64::from).collect();
        let found = places(&even, &[-1e300, 0.0, 24.0, 25.5, 48.0, 96.0, f64::MAX]);
        let expected = [-1.0, -1.0, -0.5, -0.46875, 0.0, 1.0, 1.0];
        assert_eq!(found, expected.map(Some));
        // Neither the unit nor how far the largest is matters.
        let far: Vec<f64> = even.iter().map(|of| (of / 8.0).exp()).collect();
        assert_eq!(places(&far, &[far[24], far[48]]), [Some(-0.5), Some(0.0)]);
        // Of what is there or not, the mean of all is in the middle.
        let few: Vec<f64> = (0..64).map(|at| f64::from(u8::from(at >= 48))).collect();
        let found: Vec<f64> = places(&few, &[0.0, 1.0]).into_iter().flatten().collect();
        assert!((3.0 * found[0] + found[1]).abs() < 0.1, "{found:?}");
        assert!(found[0] < 0.0 && found[1] > 0.0);
        // Extremes of what a number can be; half of 33 is not whole.
        assert_eq!(places(&[f64::MIN, f64::MAX], &[0.0]), [Some(-0.03125)]);
        let tiny = places(&[1.5e-323, 2.5e-323], &[2e-323])[0].unwrap();
        assert!(tiny.abs() <= 0.03125, "{tiny}");
        // One that never changes says nothing.
        assert_eq!(places(&[5.0; 9], &[5.0]), [Some(0.0)]);
        let missing = [f64::NAN, f64::INFINITY];
        assert_eq!(places(&even, &missing), [None, None]);
        assert_eq!(places(&[f64::NAN; 3], &[1.0]), [None]);
    }

    #[test]
    fn numbers_stand_behind_the_texts_and_are_about_as_long() {
        let all: Vec<f64> = (0..2_000).map(|at| f64::from(at % 1_000)).collect();
        let numbers = Numbers::learn(&names(2), &all).unwrap();
        assert_eq!((numbers.count(), numbers.width()), (2, 4));
        let texts = |rows: usize| Embeddings {
            values: [1.0, 2.0].repeat(rows),
            dimension: 2,
            cut_texts: 1,
            empty_texts: 0,
            tokens: 7,
        };
        let found = numbers.beside(texts(1_000), &all).unwrap();
        assert_eq!((found.dimension, found.values.len(), found.tokens), (6, 6_000, 7));
        let rows = found.values.chunks_exact(6);
        let squares = rows.map(|row| row[2..].iter().map(|of| of * of).sum::<f32>());
        let mean = squares.sum::<f32>() / 1_000.0;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let scale = 1.5_f32.sqrt();
        let one = numbers.beside(texts(1), &[f64::NAN, 1e9]).unwrap().values;
        assert_eq!(one, [1.0, 2.0, 0.0, scale, scale, 0.0]);
        assert_eq!(Numbers::default().beside(texts(1), &[]).unwrap(), texts(1));
        let error = numbers.beside(texts(2), &[1.0; 3]).unwrap_err().to_string();
        assert!(error.contains("expected 2 of each of 2 rows, found 3 in all"), "{error}");
    }

    #[test]
    fn what_is_no_column_of_numbers_is_refused() {
        let read = |text: &str| {
            let numbers: Numbers = serde_json::from_str(text).unwrap();
            numbers.check().unwrap_err().to_string()
        };
        let twice = r#"[{"name":"a","quantiles":[]},{"name":"a","quantiles":[]}]"#;
        assert!(read(twice).contains("\"a\" stands there twice"));
        for quantiles in ["[1.0]", "[2.0, 1.0]"] {
            let text = format!(r#"[{{"name":"a","quantiles":{quantiles}}}]"#);
            assert!(read(&text).contains("quantiles of \"a\""));
        }
        assert!(Numbers::learn(&names(NUMBERS_MAX), &[]).is_ok());
        let many = Numbers::learn(&names(NUMBERS_MAX + 1), &[]).unwrap_err().to_string();
        assert!(many.contains("expected at most 64, found 65"), "{many}");
        let uneven = Numbers::learn(&names(2), &[1.0; 3]).unwrap_err().to_string();
        assert!(uneven.contains("expected 2 of each row, found 3 in all"), "{uneven}");
    }
}
