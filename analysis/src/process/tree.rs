//! Models of processes as trees: each node a block, so that none can get stuck or leave something undone.

use std::fmt;

use super::log::Names;

/// How the parts of a block are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// One of them.
    Exclusive,
    /// All, one after the other.
    Sequence,
    /// All, in any order and at the same time.
    Parallel,
    /// The first; and then, as often as it takes, one of the others and the first again.
    Loop,
}

/// A model. Activities are numbers of [`Log::activities`](super::Log::activities).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// Nothing is done.
    Silent,
    /// Something is done.
    Activity(u32),
    /// A block.
    Block(Operator, Vec<Tree>),
}

impl Operator {
    /// As it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Exclusive => "X",
            Self::Sequence => "->",
            Self::Parallel => "+",
            Self::Loop => "*",
        }
    }
}

impl Tree {
    /// A block; of one part that is no loop, the part.
    pub fn block(operator: Operator, mut parts: Vec<Self>) -> Self {
        match (operator, parts.len()) {
            (Operator::Exclusive | Operator::Sequence | Operator::Parallel, 1) => parts.remove(0),
            _ => Self::Block(operator, parts),
        }
    }

    /// The same language in a form of its own: blocks within blocks of their kind are theirs, what is the same twice in a choice
    /// is once, silent steps of sequences and of what goes on at the same time are left out, and what has no order is sorted.
    pub fn normal(self) -> Self {
        let Self::Block(operator, parts) = self else { return self };
        let mut flat = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            match part.normal() {
                Self::Block(own, parts) if own == operator && operator != Operator::Loop => {
                    flat.extend(parts);
                }
                // What is done again is one of them.
                Self::Block(Operator::Exclusive, parts) if operator == Operator::Loop && at > 0 => {
                    flat.extend(parts);
                }
                Self::Silent if matches!(operator, Operator::Sequence | Operator::Parallel) => {}
                part => flat.push(part),
            }
        }
        match operator {
            Operator::Exclusive => {
                flat.sort();
                flat.dedup();
            }
            Operator::Parallel => flat.sort(),
            Operator::Loop => {
                if let Some((_, again)) = flat.split_first_mut() {
                    again.sort();
                }
                flat.dedup();
            }
            Operator::Sequence => {}
        }
        if flat.is_empty() {
            return Self::Silent;
        }
        Self::block(operator, flat)
    }

    /// With the names of its activities, as `->( 'register', X( 'check', tau ) )`.
    pub fn named<'a>(&'a self, names: &'a Names) -> impl fmt::Display + 'a {
        Named { tree: self, names }
    }
}

struct Named<'a> {
    tree: &'a Tree,
    names: &'a Names,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tree {
            Tree::Silent => f.write_str("tau"),
            Tree::Activity(activity) => write!(f, "'{}'", self.names.text(*activity)),
            Tree::Block(operator, parts) => {
                write!(f, "{}( ", operator.symbol())?;
                for (at, tree) in parts.iter().enumerate() {
                    let between = if at == 0 { "" } else { ", " };
                    write!(f, "{between}{}", Named { tree, names: self.names })?;
                }
                f.write_str(" )")
            }
        }
    }
}
