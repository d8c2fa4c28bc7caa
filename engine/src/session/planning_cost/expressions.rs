//! Sizes of expressions after the optimizer has copied operands, and put expressions in the place of
//! columns.

use std::collections::HashMap;
use std::rc::Rc;

use datafusion::sql::sqlparser::ast::{Expr, Query, SelectItem};

use super::{CostEstimator, Read, Work, call_name, identifier_name};

/// Functions that become a CASE with two copies of each argument.
const COPYING: [&str; 3] = ["coalesce", "nvl", "ifnull"];
/// An IN list up to this length becomes comparisons with a copy of the operand each.
const COPIED_LIST_MAX: usize = 3;

/// Sizes of the expressions of a relation's columns.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    /// By name, where they are above 1.
    named: Rc<HashMap<String, u64>>,
    /// Of columns without an entry.
    others: u64,
    /// The largest of columns without an alias, whose names the planner makes.
    unnamed: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { named: Rc::default(), others: 1, unnamed: 1 }
    }
}

impl Sizes {
    fn of(&self, name: &str) -> u64 {
        let is_word = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        let unlisted = if is_word { self.others } else { self.others.max(self.unnamed) };
        self.named.get(name).copied().unwrap_or(unlisted)
    }

    fn largest(&self) -> u64 {
        self.named.values().copied().fold(self.others.max(self.unnamed), u64::max)
    }

    pub(super) fn merged(mut self, other: &Self) -> Self {
        if !Rc::ptr_eq(&self.named, &other.named) && !other.named.is_empty() {
            let named = Rc::make_mut(&mut self.named);
            for (name, size) in other.named.iter() {
                let own = named.entry(name.clone()).or_default();
                *own = (*own).max(*size);
            }
        }
        let (others, unnamed) = (self.others.max(other.others), self.unnamed.max(other.unnamed));
        Self { others, unnamed, ..self }
    }

    /// With the columns of another relation at the same positions, whose names are lost.
    pub(super) fn with_positions_of(self, other: &Self) -> Self {
        let largest = other.largest();
        match largest {
            1 => self,
            largest => self.merged(&Self { others: largest, ..Self::default() }).at_least(largest),
        }
    }

    fn at_least(mut self, least: u64) -> Self {
        Rc::make_mut(&mut self.named).values_mut().for_each(|size| *size = (*size).max(least));
        self
    }

    /// The same under other names.
    pub(super) fn renamed(&self, names: impl Iterator<Item = String>) -> Self {
        match self.largest() {
            1 => Self::default(),
            largest => {
                let named = names.map(|name| (name, largest)).collect();
                Self { named: Rc::new(named), ..self.clone() }
            }
        }
    }

    /// Adds an item of a SELECT.
    pub(super) fn add(&mut self, item: &SelectItem, size: u64) {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(identifier_name(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(identifier_name(ident)),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => {
                idents.last().map(identifier_name)
            }
            _ => None,
        };
        match name {
            Some(name) if size > 1 => drop(Rc::make_mut(&mut self.named).insert(name, size)),
            Some(_) => {}
            None => self.unnamed = self.unnamed.max(size),
        }
    }
}

/// Reads expressions over the columns of one FROM, and the subqueries in them.
pub(super) struct Expressions<'p, 'a> {
    estimator: &'p mut CostEstimator<'a>,
    /// Columns among which each reference is searched, and the sizes of their expressions.
    columns: u64,
    sizes: Sizes,
    pub(super) references: u64,
    /// Parts, with the copies that the optimizer makes.
    pub(super) plain: u64,
    /// The same with the expressions of the columns in place of references.
    pub(super) substituted: u64,
    /// Whether `unnest` is called.
    pub(super) is_unnested: bool,
    subqueries: Work,
    /// Sizes of the operands of each enclosing expression.
    operands: Vec<Vec<[u64; 2]>>,
    /// Queries that enclose the current part of an expression.
    depth: usize,
}

impl<'p, 'a> Expressions<'p, 'a> {
    pub(super) fn new(estimator: &'p mut CostEstimator<'a>, columns: u64, sizes: &Sizes) -> Self {
        Self {
            estimator,
            columns,
            sizes: sizes.clone(),
            references: 0,
            plain: 0,
            substituted: 0,
            is_unnested: false,
            subqueries: Work::default(),
            operands: Vec::new(),
            depth: 0,
        }
    }

    pub(super) fn work(self) -> Work {
        self.times(1)
    }

    pub(super) fn times(self, times: u64) -> Work {
        let columns = self.columns.saturating_add(self.estimator.outer_columns);
        let work = Work {
            comparisons: self.references.saturating_mul(columns).saturating_mul(times),
            expressions: self.plain.saturating_mul(times),
            pushed: 0,
        };
        work.plus(self.subqueries)
    }

    pub(super) fn work_of_filter(self) -> Work {
        let pushed = self.substituted;
        self.work().plus(Work { pushed, ..Work::default() })
    }
}

/// The size of an expression with its operands.
fn size(expr: &Expr, operands: &[u64]) -> u64 {
    let sum = |operands: &[u64]| operands.iter().copied().fold(0, u64::saturating_add);
    let times = |factor: u64| sum(operands).saturating_mul(factor).saturating_add(1);
    match expr {
        Expr::Value(_) => 0,
        Expr::Nested(_) => sum(operands),
        Expr::Between { .. } => times(2),
        Expr::InList { list, .. } if list.len() <= COPIED_LIST_MAX => {
            times(list.len().max(1) as u64)
        }
        Expr::Case { operand, conditions, .. } => {
            // Conditions alternate with results.
            let first = usize::from(operand.is_some());
            let (before, rest) = operands.split_at(first.min(operands.len()));
            let conditions = rest.iter().take(2 * conditions.len()).step_by(2);
            let conditions: Vec<u64> = conditions.chain(before).copied().collect();
            times(1).saturating_add(sum(&conditions))
        }
        Expr::Function(call) if COPYING.contains(&call_name(call).as_str()) => times(2),
        _ => times(1),
    }
}

impl Read for Expressions<'_, '_> {
    fn query(&mut self, query: &Query) -> Result<(), String> {
        if self.depth == 0 {
            let outer = self.estimator.outer_columns;
            self.estimator.outer_columns = outer.saturating_add(self.columns);
            let work = self.estimator.query(query, None).work;
            self.estimator.outer_columns = outer;
            self.subqueries = self.subqueries.plus(work);
        }
        self.depth += 1;
        Ok(())
    }

    fn query_after(&mut self) {
        self.depth -= 1;
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), String> {
        if self.depth == 0 {
            self.operands.push(Vec::new());
            self.is_unnested |= matches!(expr, Expr::Function(call) if call_name(call) == "unnest");
        }
        Ok(())
    }

    fn expr_after(&mut self, expr: &Expr) {
        if self.depth > 0 {
            return;
        }
        let operands = self.operands.pop().unwrap_or_default();
        let name = match expr {
            Expr::Identifier(ident) => Some(identifier_name(ident)),
            Expr::CompoundIdentifier(idents) => idents.last().map(identifier_name),
            _ => None,
        };
        let sizes = match name {
            Some(name) => {
                self.references += 1;
                [1, self.sizes.of(&name)]
            }
            None => [0, 1].map(|at| {
                let operands: Vec<u64> = operands.iter().map(|sizes| sizes[at]).collect();
                size(expr, &operands)
            }),
        };
        match self.operands.last_mut() {
            Some(operands) => operands.push(sizes),
            None => {
                self.plain = self.plain.saturating_add(sizes[0]);
                self.substituted = self.substituted.saturating_add(sizes[1]);
            }
        }
    }
}
