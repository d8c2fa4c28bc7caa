//! What is compared: cells of all dimensions, with the sums of both periods.

use std::fmt;

/// Most dimensions: a group names its pairs by their numbers, and the search takes every subset.
pub const DIMENSIONS_MAX: usize = 64;

/// Most values of a dimension: the search holds a table of them on each thread.
pub const VALUES_MAX: u32 = 1 << 24;

/// Numbers of larger magnitude are refused: their squares would not be finite.
const MAGNITUDE_MAX: f64 = 1e150;

/// What the measure is of a group's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The sum of the numerators; counts are sums of ones.
    Sum,
    /// The sum of the numerators over that of the denominators: rates, means, costs of each call.
    Ratio,
}

/// A dimension and what value of it each cell has. The caller keeps the labels.
#[derive(Clone, Debug)]
pub struct Dimension {
    /// For the caller.
    pub name: String,
    /// Size of the dictionary; codes are below it.
    pub values: u32,
    /// By cell.
    pub codes: Vec<u32>,
}

/// The sums of one period, by cell.
#[derive(Clone, Debug, Default)]
pub struct Period {
    /// Sums of the numerators.
    pub numerators: Vec<f64>,
    /// Sums of the denominators, at least 0; empty for [`Measure::Sum`].
    pub denominators: Vec<f64>,
    /// Sums of the squares of each row's numerator, where known: then the noise is that of the data. See [`Cells`].
    pub squares: Option<Vec<f64>>,
    /// Rows.
    pub rows: Vec<u64>,
}

/// The cells of two periods. Several cells may have the same values, so that single rows do as well.
///
/// Noise is that of independent rows, as many as by chance (Poisson). Of each cell it takes Σn², Σnd and Σd² over the rows
/// (n the numerator of a row, d its denominator); Σnd and Σd² as if all rows of a cell had the same d. Where Σn² isn't given:
///
/// - *sum*: as if all rows of a cell had the same n, so that counts are Poisson;
/// - *ratio* where 0 ≤ n ≤ d in every cell: n successes of d trials (binomial), whatever the rows;
/// - *ratio* otherwise: as if n varied as much as its mean in the cell (a coefficient of variation of 1).
#[derive(Clone, Debug)]
pub struct Cells {
    measure: Measure,
    dimensions: Vec<Dimension>,
    earlier: Period,
    later: Period,
}

/// What is wrong with cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCells(String);

impl fmt::Display for BadCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compare periods: {}", self.0)
    }
}

impl std::error::Error for BadCells {}

impl Cells {
    /// Checks lengths, codes and numbers.
    pub fn new(
        measure: Measure,
        dimensions: Vec<Dimension>,
        earlier: Period,
        later: Period,
    ) -> Result<Self, BadCells> {
        if dimensions.len() > DIMENSIONS_MAX {
            let found = dimensions.len();
            return Err(BadCells(format!("{found} dimensions; at most {DIMENSIONS_MAX}")));
        }
        let cells = earlier.rows.len();
        if u32::try_from(cells).is_err() {
            return Err(BadCells(format!("{cells} cells; at most {}", u32::MAX)));
        }
        dimensions.iter().try_for_each(|dimension| dimension.check(cells))?;
        earlier.check("earlier", measure, cells)?;
        later.check("later", measure, cells)?;
        Ok(Self { measure, dimensions, earlier, later })
    }

    /// Cells.
    pub fn len(&self) -> usize {
        self.earlier.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of the sums.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// In the caller's order.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The earlier period and the later one.
    pub fn periods(&self) -> [&Period; 2] {
        [&self.earlier, &self.later]
    }
}

impl Dimension {
    fn check(&self, cells: usize) -> Result<(), BadCells> {
        let name = &self.name;
        if self.values > VALUES_MAX {
            let found = self.values;
            return Err(BadCells(format!("{name}: {found} values; at most {VALUES_MAX}")));
        }
        check_length(name, self.codes.len(), cells)?;
        match self.codes.iter().position(|&code| code >= self.values) {
            Some(cell) => Err(BadCells(format!(
                "{name}: code {} in cell {cell}; codes are below {}",
                self.codes[cell], self.values
            ))),
            None => Ok(()),
        }
    }
}

impl Period {
    fn check(&self, which: &str, measure: Measure, cells: usize) -> Result<(), BadCells> {
        let denominators = if measure == Measure::Ratio { cells } else { 0 };
        check_length(&format!("{which} rows"), self.rows.len(), cells)?;
        let name = format!("{which} numerators");
        check_length(&name, self.numerators.len(), cells)?;
        check_numbers(&name, &self.numerators, -MAGNITUDE_MAX)?;
        let name = format!("{which} denominators");
        check_length(&name, self.denominators.len(), denominators)?;
        check_numbers(&name, &self.denominators, 0.0)?;
        if let Some(squares) = &self.squares {
            let name = format!("{which} squares");
            check_length(&name, squares.len(), cells)?;
            check_numbers(&name, squares, 0.0)?;
        }
        Ok(())
    }
}

fn check_length(name: &str, found: usize, expected: usize) -> Result<(), BadCells> {
    if found == expected {
        return Ok(());
    }
    Err(BadCells(format!("{name}: {found} of {expected} cells")))
}

fn check_numbers(name: &str, numbers: &[f64], least: f64) -> Result<(), BadCells> {
    match numbers.iter().position(|number| !(least..=MAGNITUDE_MAX).contains(number)) {
        Some(cell) => Err(BadCells(format!(
            "{name}: {:?} in cell {cell}; numbers are from {least:e} to {MAGNITUDE_MAX:e}",
            numbers[cell]
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn period(numbers: &[f64]) -> Period {
        Period { numerators: numbers.to_vec(), rows: vec![1; numbers.len()], ..Period::default() }
    }

    fn dimension(values: u32, codes: &[u32]) -> Dimension {
        Dimension { name: "page".to_owned(), values, codes: codes.to_vec() }
    }

    fn refusal(measure: Measure, dimension: Dimension, earlier: Period, later: Period) -> String {
        Cells::new(measure, vec![dimension], earlier, later).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_was_expected() {
        use Measure::{Ratio, Sum};
        let two = || period(&[1.0, 2.0]);
        let good = || dimension(2, &[0, 1]);
        let cells = Cells::new(Sum, vec![good()], two(), two()).unwrap();
        assert_eq!((cells.len(), cells.is_empty(), cells.measure()), (2, false, Sum));
        assert!(Cells::new(Sum, vec![], period(&[]), period(&[])).unwrap().is_empty());
        for (found, expected) in [
            (
                refusal(Sum, dimension(2, &[0, 2]), two(), two()),
                "compare periods: page: code 2 in cell 1; codes are below 2",
            ),
            (refusal(Sum, dimension(2, &[0]), two(), two()), "compare periods: page: 1 of 2 cells"),
            (
                refusal(Sum, dimension(VALUES_MAX + 1, &[0, 1]), two(), two()),
                "compare periods: page: 16777217 values; at most 16777216",
            ),
            (
                refusal(Sum, good(), two(), period(&[1.0])),
                "compare periods: later rows: 1 of 2 cells",
            ),
            (
                refusal(Ratio, good(), two(), two()),
                "compare periods: earlier denominators: 0 of 2 cells",
            ),
            (
                refusal(Sum, good(), period(&[1.0, f64::NAN]), two()),
                "compare periods: earlier numerators: NaN in cell 1; numbers are from -1e150 to 1e150",
            ),
            (
                refusal(Sum, good(), two(), period(&[2e150, 1.0])),
                "compare periods: later numerators: 2e150 in cell 0; numbers are from -1e150 to 1e150",
            ),
            (
                refusal(
                    Ratio,
                    good(),
                    Period { denominators: vec![1.0, -1.0], ..two() },
                    Period { denominators: vec![1.0, 1.0], ..two() },
                ),
                "compare periods: earlier denominators: -1.0 in cell 1; numbers are from 0e0 to 1e150",
            ),
            (
                refusal(Sum, good(), Period { squares: Some(vec![1.0]), ..two() }, two()),
                "compare periods: earlier squares: 1 of 2 cells",
            ),
            (
                refusal(Sum, good(), two(), Period { numerators: vec![1.0], ..two() }),
                "compare periods: later numerators: 1 of 2 cells",
            ),
        ] {
            assert_eq!(found, expected);
        }
        let many = vec![good(); DIMENSIONS_MAX + 1];
        assert!(Cells::new(Sum, many.clone(), two(), two()).is_err());
        assert!(Cells::new(Sum, many[1..].to_vec(), two(), two()).is_ok());
        assert!(Cells::new(Sum, vec![dimension(VALUES_MAX, &[0, 1])], two(), two()).is_ok());
    }
}
