//! Connected components of a graph that comes as a stream of pairs.
//!
//! **Idea.** Every node points to a smaller one of its component, or to itself: then it is the smallest of all and
//! names the component. A pair makes the larger of two roots point to the smaller one. The labels depend on the set
//! of pairs only, neither on their order nor on how they were cut into batches.
//!
//! ```text
//!   node     0  1  2  3  4  5
//!   parent   0  0  2  1  2  5        {0, 1, 3} named 0, {2, 4} named 2, {5} named 5
//! ```
//!
//! **Method.** Both nodes of a pair are followed up at the same time, always the one whose parent is larger, and every
//! node on the way is pointed to the smaller parent: Rem's algorithm with splicing (Dijkstra, "A Discipline of
//! Programming", 1976; Patwary, Blair & Manne, "Experiments on union-find algorithms for the disjoint-set data structure",
//! 2010, where it is the fastest of 55). Labels and sizes follow paths with halving (Tarjan & van Leeuwen, "Worst-case
//! analysis of set union algorithms", 1984).
//!
//! **Hazards.** Parents are linked by index and not by size: a list of pairs made to hurt costs O(log n) amortised
//! for each, where linking by size would cost less; in exchange the label needs no second table.
//!
//! **Cost.** One node's parent for each node: 4 bytes with `u32` ids, 8 with `u64`; time about that of two reads of
//! memory for each pair. One thread; threads that each have a part of the pairs can have a structure each, and
//! [`merge`](Components::merge) them. A CUDA path would wait for the same reads: there is none.
//!
//! ```
//! use kernels::components::Components;
//!
//! let mut components = Components::<u32>::new(6)?;
//! components.add(&[(4, 2), (3, 1)])?;
//! components.add(&[(1, 0)])?;
//! assert_eq!(components.labels(), [0, 0, 2, 0, 2, 5]);
//! assert_eq!(components.sizes(), [(0, 3), (2, 2), (5, 1)]);
//! assert_eq!(components.count(), 3);
//! # Ok::<(), kernels::Error>(())
//! ```

#[cfg(test)]
mod suite;

use crate::error::{Error, Memory, Result};
use crate::minhash::{SimilarPair, SimilarSink};

const OPERATION: &str = "components";

/// The number of a node: `u32` or `u64`.
pub trait NodeId: sealed::Index + Copy + Ord + Send + Sync + std::fmt::Debug + 'static {}

impl NodeId for u32 {}
impl NodeId for u64 {}

mod sealed {
    /// A number that indexes.
    pub trait Index: Sized {
        /// As an index; one that can't be is beyond all memory.
        fn index(self) -> usize;

        /// From an index; `None` where the type is too narrow.
        fn from_index(index: usize) -> Option<Self>;
    }

    impl Index for u32 {
        #[inline(always)]
        fn index(self) -> usize {
            self as usize
        }

        #[inline(always)]
        fn from_index(index: usize) -> Option<Self> {
            Self::try_from(index).ok()
        }
    }

    impl Index for u64 {
        #[inline(always)]
        fn index(self) -> usize {
            usize::try_from(self).unwrap_or(usize::MAX)
        }

        #[inline(always)]
        fn from_index(index: usize) -> Option<Self> {
            Self::try_from(index).ok()
        }
    }
}

/// The components of nodes 0 up to a count, of the pairs so far.
#[derive(Debug, Clone)]
pub struct Components<I: NodeId> {
    /// Never larger than the node itself, so that every path ends.
    parents: Vec<I>,
    count: usize,
}

impl<I: NodeId> Components<I> {
    /// `nodes` nodes without pairs.
    ///
    /// Fails when the type of ids can't number so many, or there is no memory for them.
    pub fn new(nodes: usize) -> Result<Self> {
        let mut components = Self { parents: Vec::new(), count: 0 };
        components.grow(nodes)?;
        Ok(components)
    }

    /// Adds nodes without pairs until there are `nodes`; never takes any away.
    ///
    /// Fails as [`new`](Self::new) does, and then changes nothing.
    pub fn grow(&mut self, nodes: usize) -> Result<()> {
        let before = self.parents.len();
        let more = nodes.saturating_sub(before);
        if more > 0 && I::from_index(nodes - 1).is_none() {
            return Err(Error::Option {
                operation: OPERATION,
                option: "nodes",
                found: nodes.to_string(),
                expected: format!("ids of {} bits number fewer", 8 * size_of::<I>()),
            });
        }
        self.parents.try_reserve_exact(more).map_err(|_| Error::OutOfMemory {
            operation: OPERATION,
            memory: Memory::Host,
            bytes: more.saturating_mul(size_of::<I>()),
        })?;
        self.parents.extend((before..before + more).filter_map(I::from_index));
        self.count += more;
        Ok(())
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.parents.len()
    }

    /// Number of components.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Joins the components of both nodes of every pair. Returns how many components became fewer.
    ///
    /// Fails on a pair with a node that there is not, naming it, and then adds none of `pairs`.
    pub fn add(&mut self, pairs: &[(I, I)]) -> Result<usize> {
        let nodes = self.parents.len();
        let known = |&(a, b): &(I, I)| a.max(b).index() < nodes;
        if let Some(place) = pairs.iter().position(|pair| !known(pair)) {
            let found =
                pairs.get(place).map_or_else(String::new, |(a, b)| format!("({a:?}, {b:?})"));
            return Err(Error::Shape {
                operation: OPERATION,
                found: format!("pair {place} is {found}"),
                expected: format!("ids below {nodes} are needed"),
            });
        }
        let before = self.count;
        for &(a, b) in pairs {
            self.join(a, b);
        }
        Ok(before - self.count)
    }

    /// Joins two components; the nodes are there.
    #[inline(always)]
    fn join(&mut self, mut a: I, mut b: I) {
        let parents = &mut self.parents[..];
        let (mut of_a, mut of_b) = (parents[a.index()], parents[b.index()]);
        while of_a != of_b {
            if of_a < of_b {
                std::mem::swap(&mut a, &mut b);
                std::mem::swap(&mut of_a, &mut of_b);
            }
            // Now a has the larger parent: it gets the smaller one.
            parents[a.index()] = of_b;
            if a == of_a {
                // It was a root.
                self.count -= 1;
                return;
            }
            a = of_a;
            of_a = parents[a.index()];
        }
    }

    /// The smallest node of a node's component; `None` for a node that there is not.
    pub fn label(&mut self, node: I) -> Option<I> {
        let (mut at, mut parent) = (node, *self.parents.get(node.index())?);
        while at != parent {
            let above = self.parents[parent.index()];
            self.parents[at.index()] = above;
            (at, parent) = (above, self.parents[above.index()]);
        }
        Some(at)
    }

    /// For every node the smallest node of its component.
    pub fn labels(&mut self) -> &[I] {
        // Parents come first, so that theirs is the root by the time it is asked for.
        for node in 0..self.parents.len() {
            self.parents[node] = self.parents[self.parents[node].index()];
        }
        &self.parents
    }

    /// The components by their labels, in order, each with its number of nodes. Takes 8 bytes a node while it counts.
    pub fn sizes(&mut self) -> Vec<(I, usize)> {
        let mut places = vec![0usize; self.parents.len()];
        let mut sizes: Vec<(I, usize)> = Vec::with_capacity(self.count);
        for (node, &label) in self.labels().iter().enumerate() {
            if label.index() == node {
                places[node] = sizes.len();
                sizes.push((label, 0));
            }
            sizes[places[label.index()]].1 += 1;
        }
        sizes
    }

    /// Joins what the pairs of `other` join. Returns how many components became fewer.
    ///
    /// Fails when `other` has more nodes.
    pub fn merge(&mut self, other: &Self) -> Result<usize> {
        if other.nodes() > self.nodes() {
            return Err(Error::Shape {
                operation: OPERATION,
                found: format!(
                    "components of {} nodes into those of {}",
                    other.nodes(),
                    self.nodes()
                ),
                expected: "at least as many are needed".into(),
            });
        }
        let before = self.count;
        for (node, &parent) in other.parents.iter().enumerate() {
            if let Some(node) = I::from_index(node).filter(|&node| node != parent) {
                self.join(node, parent);
            }
        }
        Ok(before - self.count)
    }
}

/// Similar pairs join their rows, so that groups of similar texts need no list of pairs.
impl<I: NodeId> SimilarSink for Components<I> {
    fn take(&mut self, pairs: &[SimilarPair]) -> Result<()> {
        for pair in pairs {
            let ends = I::from_index(pair.first).zip(I::from_index(pair.second));
            let Some(ends) = ends.filter(|_| pair.first.max(pair.second) < self.nodes()) else {
                return Err(Error::Shape {
                    operation: OPERATION,
                    found: format!("a pair of rows {} and {}", pair.first, pair.second),
                    expected: format!("rows below {} are needed", self.nodes()),
                });
            };
            self.join(ends.0, ends.1);
        }
        Ok(())
    }
}
