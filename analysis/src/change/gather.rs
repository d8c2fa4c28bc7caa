//! Rows as cells: one for each combination of values.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::cells::{BadCells, Cells, Dimension, Measure, Period};

/// Some rows, column by column.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// By dimension, each row's code.
    pub codes: &'a [Vec<u32>],
    /// Whether a row is of the later period.
    pub is_later: &'a [bool],
    /// What is summed.
    pub numerators: &'a [f64],
    /// By what sums are divided; of sums alone it counts for nothing.
    pub denominators: &'a [f64],
}

/// More combinations of values than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyCells;

/// The sums of one cell, earlier and later, side by side in memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Sums {
    numerators: [f64; 2],
    denominators: [f64; 2],
    squares: [f64; 2],
    rows: [u64; 2],
}

/// Cells so far.
#[derive(Debug)]
pub struct Gather {
    dimensions: usize,
    cells_max: usize,
    /// Cell by cell, the codes of its values.
    codes: Vec<u32>,
    sums: Vec<Sums>,
    /// Cells by their codes.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Gather {
    /// Of so many dimensions, with room for so many cells.
    pub fn new(dimensions: usize, cells_max: usize) -> Self {
        Self {
            dimensions,
            cells_max: cells_max.min(u32::MAX as usize - 1),
            codes: Vec::new(),
            sums: Vec::new(),
            places: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Adds rows, each to its cell.
    pub fn add(&mut self, rows: &Rows<'_>) -> Result<(), TooManyCells> {
        let mut key = vec![0; self.dimensions];
        let numbers = rows.numerators.iter().zip(rows.denominators);
        for (row, (is_later, (over, under))) in rows.is_later.iter().zip(numbers).enumerate() {
            for (code, codes) in key.iter_mut().zip(rows.codes) {
                *code = codes[row];
            }
            let (sums, period) = (self.cell(&key)?, usize::from(*is_later));
            sums.numerators[period] += over;
            sums.denominators[period] += under;
            sums.squares[period] += over * over;
            sums.rows[period] += 1;
        }
        Ok(())
    }

    fn cell(&mut self, key: &[u32]) -> Result<&mut Sums, TooManyCells> {
        let (codes, width, hasher) = (&self.codes, self.dimensions, &self.hasher);
        let of = |cell: u32| &codes[cell as usize * width..][..width];
        let (next, hash) = (self.sums.len(), hasher.hash_one(key));
        let entry =
            self.places.entry(hash, |&cell| of(cell) == key, |&cell| hasher.hash_one(of(cell)));
        let cell = match entry {
            Entry::Occupied(found) => *found.get() as usize,
            Entry::Vacant(_) if next >= self.cells_max => return Err(TooManyCells),
            Entry::Vacant(free) => {
                free.insert(next as u32);
                self.codes.extend_from_slice(key);
                self.sums.push(Sums::default());
                next
            }
        };
        Ok(&mut self.sums[cell])
    }

    /// The cells. `dimensions`: of each its name and how many codes it has.
    pub fn finish(
        mut self,
        measure: Measure,
        dimensions: impl IntoIterator<Item = (String, u32)>,
    ) -> Result<Cells, BadCells> {
        self.places = HashTable::new();
        let period = |at: usize| {
            let of = |value: fn(&Sums) -> [f64; 2]| -> Vec<f64> {
                self.sums.iter().map(|sums| value(sums)[at]).collect()
            };
            Period {
                numerators: of(|sums| sums.numerators),
                denominators: match measure {
                    Measure::Sum => Vec::new(),
                    Measure::Ratio => of(|sums| sums.denominators),
                },
                squares: Some(of(|sums| sums.squares)),
                rows: self.sums.iter().map(|sums| sums.rows[at]).collect(),
            }
        };
        let (earlier, later) = (period(0), period(1));
        self.sums = Vec::new();
        let width = self.dimensions;
        let codes_of =
            |at: usize| self.codes.iter().skip(at).step_by(width.max(1)).copied().collect();
        let dimensions = dimensions.into_iter().enumerate().map(|(at, (name, values))| Dimension {
            name,
            values,
            codes: codes_of(at),
        });
        Cells::new(measure, dimensions.collect(), earlier, later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(gather: &mut Gather, rows: &[(u32, u32, bool, f64)]) -> Result<(), TooManyCells> {
        gather.add(&Rows {
            codes: &[
                rows.iter().map(|row| row.0).collect(),
                rows.iter().map(|row| row.1).collect(),
            ],
            is_later: &rows.iter().map(|row| row.2).collect::<Vec<_>>(),
            numerators: &rows.iter().map(|row| row.3).collect::<Vec<_>>(),
            denominators: &vec![1.0; rows.len()],
        })
    }

    #[test]
    fn rows_of_the_same_values_are_one_cell_and_no_more_than_there_is_room_for() {
        let mut gather = Gather::new(2, 3);
        add(&mut gather, &[(0, 1, false, 2.0), (1, 0, true, 5.0), (0, 1, true, 3.0)])
            .unwrap_or_default();
        // What is known goes on to be added to, and a third finds room.
        let more = [(0, 1, false, 4.0), (1, 1, false, 1.0), (0, 1, false, 1.0)];
        assert_eq!(add(&mut gather, &more), Ok(()));
        assert_eq!(add(&mut gather, &[(0, 0, false, 1.0)]), Err(TooManyCells));
        let names = [("a".to_owned(), 2), ("b".to_owned(), 2)];
        let Ok(cells) = gather.finish(Measure::Ratio, names) else { unreachable!() };
        let codes: Vec<&[u32]> = cells.dimensions().iter().map(|of| &of.codes[..]).collect();
        assert_eq!(codes, [[0, 1, 1], [1, 0, 1]]);
        let [earlier, later] = cells.periods();
        assert_eq!(
            (&earlier.numerators[..], &later.numerators[..]),
            (&[7.0, 0.0, 1.0][..], &[3.0, 5.0, 0.0][..])
        );
        assert_eq!(
            (&earlier.rows[..], &later.denominators[..]),
            (&[3, 0, 1][..], &[1.0, 1.0, 0.0][..])
        );
        assert_eq!(earlier.squares.as_deref(), Some(&[21.0, 0.0, 1.0][..]));
    }
}
