//! The non-dominated set of points that come, move and go.
//!
//! Two structures are kept. The **stairs** are the front itself: by ReLU count, with accuracy
//! rising from step to step. The **tree** holds every point, dominated ones too, because one of
//! them may come back when its dominator gets worse or goes. It is a treap ordered like the
//! table (by count, then falling accuracy) in which each node knows the best accuracy below it,
//! so that the first point after some place that beats some accuracy is found by one descent.
//!
//! With n points, any change costs O((1 + k) log n), k being the points that join or leave the
//! front by it: no change that touches nobody else depends on how many points there are.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A point: fewer ReLUs and more accuracy are better.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// ReLUs for one image.
    pub relu_count: u64,
    /// Accuracy, in any unit; never NaN.
    pub accuracy: f64,
}

impl Point {
    /// Whether this point is at least as good as `other` in both and better in one.
    pub fn dominates(&self, other: &Self) -> bool {
        self.relu_count <= other.relu_count
            && self.accuracy >= other.accuracy
            && (self.relu_count < other.relu_count || self.accuracy > other.accuracy)
    }
}

/// What a change did to the membership of the front, net: in rising order, nobody in both.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flips {
    /// Owners on the front now and not before.
    pub joined: Vec<u32>,
    /// Owners on the front before and not now.
    pub left: Vec<u32>,
}

/// Points of owners numbered from zero, at most one each, and which of them no other dominates.
#[derive(Clone, Debug, Default)]
pub struct Pareto {
    /// Two slots per owner, so that a point's new place exists before the old one goes: then
    /// nobody is uncovered in between only to be covered again.
    nodes: Vec<Node>,
    /// Which of its slots an owner's point is in.
    homes: Vec<Option<Slot>>,
    root: Option<Slot>,
    stairs: BTreeMap<u64, Step>,
}

type Slot = u32;

#[derive(Clone, Debug)]
struct Node {
    point: Point,
    left: Option<Slot>,
    right: Option<Slot>,
    /// The largest accuracy in the subtree.
    best: f64,
}

/// All points on the front with one ReLU count: equals in both.
#[derive(Clone, Debug)]
struct Step {
    accuracy: f64,
    slots: BTreeSet<Slot>,
}

/// A place in the tree's order. Slots make it total, so that equal points have places of their own.
#[derive(Clone, Copy, Debug)]
struct Place {
    point: Point,
    slot: Slot,
}

impl Place {
    fn order(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.point, &other.point);
        (a.relu_count.cmp(&b.relu_count))
            .then(b.accuracy.total_cmp(&a.accuracy))
            .then(self.slot.cmp(&other.slot))
    }
}

/// Membership that flipped so far: the last word on each owner, kept only while it differs from
/// the first.
#[derive(Default)]
struct Tally(BTreeMap<u32, bool>);

impl Tally {
    fn flip(&mut self, owner: u32, on_front: bool) {
        // Membership alternates, so a second flip undoes the first.
        if self.0.remove(&owner).is_none() {
            self.0.insert(owner, on_front);
        }
    }

    fn net(self) -> Flips {
        let mut flips = Flips::default();
        for (owner, joined) in self.0 {
            if joined {
                flips.joined.push(owner);
            } else {
                flips.left.push(owner);
            }
        }
        flips
    }
}

impl Pareto {
    /// No points yet, for owners 0 to `owners` - 1.
    pub fn new(owners: u32) -> Self {
        let empty = Node {
            point: Point {
                relu_count: 0,
                accuracy: 0.0,
            },
            left: None,
            right: None,
            best: 0.0,
        };
        Self {
            nodes: vec![empty; 2 * owners as usize],
            homes: vec![None; owners as usize],
            root: None,
            stairs: BTreeMap::new(),
        }
    }

    /// The owner's point, if it has one.
    pub fn point(&self, owner: u32) -> Option<Point> {
        self.homes[owner as usize].map(|slot| self.nodes[slot as usize].point)
    }

    /// Whether the owner has a point and no other point dominates it.
    pub fn is_on_front(&self, owner: u32) -> bool {
        self.homes[owner as usize].is_some_and(|slot| {
            let point = self.nodes[slot as usize].point;
            self.stairs
                .get(&point.relu_count)
                .is_some_and(|step| step.slots.contains(&slot))
        })
    }

    /// The owners on the front, by rising ReLU count; equals by owner.
    pub fn front(&self) -> impl Iterator<Item = u32> + '_ {
        self.stairs
            .values()
            .flat_map(|step| step.slots.iter().copied().map(owner_of))
    }

    /// Gives the owner this point in place of the one it has; `None` takes its point away.
    ///
    /// # Panics
    ///
    /// If the owner is not below the number given to [`Self::new`], or the accuracy is NaN.
    pub fn set(&mut self, owner: u32, point: Option<Point>) -> Flips {
        let old = self.homes[owner as usize];
        if self.point(owner) == point {
            return Flips::default();
        }
        let mut tally = Tally::default();
        self.homes[owner as usize] = point.map(|point| {
            assert!(!point.accuracy.is_nan(), "an accuracy is a number");
            let accuracy = point.accuracy + 0.0; // turns a negative zero into a positive one
            let point = Point { accuracy, ..point };
            let slot = match old {
                Some(slot) => slot ^ 1,
                None => 2 * owner,
            };
            self.insert(slot, point, &mut tally);
            slot
        });
        if let Some(slot) = old {
            self.remove(slot, &mut tally);
        }
        tally.net()
    }

    fn insert(&mut self, slot: Slot, point: Point, tally: &mut Tally) {
        self.nodes[slot as usize] = Node {
            point,
            left: None,
            right: None,
            best: point.accuracy,
        };
        self.root = Some(self.insert_below(self.root, slot));

        if let Some((&count, step)) = self.stairs.range_mut(..=point.relu_count).next_back() {
            if count == point.relu_count && step.accuracy.total_cmp(&point.accuracy).is_eq() {
                step.slots.insert(slot);
                tally.flip(owner_of(slot), true);
                return;
            }
            if step.accuracy >= point.accuracy {
                return;
            }
        }
        self.cover(point, tally);
        let slots = BTreeSet::from([slot]);
        let accuracy = point.accuracy;
        self.stairs
            .insert(point.relu_count, Step { accuracy, slots });
        tally.flip(owner_of(slot), true);
    }

    /// Takes off the front what `point`, which is about to join it, dominates.
    fn cover(&mut self, point: Point, tally: &mut Tally) {
        while let Some((&count, step)) = self.stairs.range(point.relu_count..).next() {
            if step.accuracy > point.accuracy {
                break;
            }
            for &slot in &step.slots {
                tally.flip(owner_of(slot), false);
            }
            self.stairs.remove(&count);
        }
    }

    fn remove(&mut self, slot: Slot, tally: &mut Tally) {
        let point = self.nodes[slot as usize].point;
        self.root = self.remove_below(self.root, Place { point, slot });

        let Some(step) = self.stairs.get_mut(&point.relu_count) else {
            return;
        };
        if !step.slots.remove(&slot) {
            return;
        }
        tally.flip(owner_of(slot), false);
        if step.slots.is_empty() {
            self.stairs.remove(&point.relu_count);
            self.uncover(point, tally);
        }
    }

    /// Puts on the front what `gone`, which has just left it, alone dominated: from the step
    /// before it, the stairs are climbed through the tree up to the step that is next.
    fn uncover(&mut self, gone: Point, tally: &mut Tally) {
        let mut below = self
            .stairs
            .range(..gone.relu_count)
            .next_back()
            .map_or(f64::NEG_INFINITY, |(_, step)| step.accuracy);
        let next = self
            .stairs
            .range(gone.relu_count..)
            .next()
            .map(|(&count, _)| count);
        let mut from = gone.relu_count;
        while let Some(first) = self.first_above(self.root, from, below) {
            let found = self.nodes[first as usize].point;
            if next.is_some_and(|next| found.relu_count >= next) {
                break;
            }
            let mut slots = BTreeSet::new();
            let mut equal = Some(first);
            while let Some(slot) = equal {
                slots.insert(slot);
                tally.flip(owner_of(slot), true);
                equal = self
                    .successor(Place { point: found, slot })
                    .filter(|&slot| self.nodes[slot as usize].point == found);
            }
            let accuracy = found.accuracy;
            self.stairs
                .insert(found.relu_count, Step { accuracy, slots });
            below = found.accuracy;
            from = found.relu_count;
        }
    }

    /// The first slot in order with at least `count` ReLUs and more accuracy than `accuracy`.
    fn first_above(&self, tree: Option<Slot>, count: u64, accuracy: f64) -> Option<Slot> {
        let node = &self.nodes[tree? as usize];
        if node.best <= accuracy {
            return None;
        }
        if node.point.relu_count < count {
            return self.first_above(node.right, count, accuracy);
        }
        self.first_above(node.left, count, accuracy).or_else(|| {
            if node.point.accuracy > accuracy {
                tree
            } else {
                self.first_above(node.right, count, accuracy)
            }
        })
    }

    /// The longest way down the tree.
    #[cfg(test)]
    pub(super) fn depth(&self) -> usize {
        let mut depth = 0;
        let mut waiting = vec![(self.root, 0)];
        while let Some((tree, above)) = waiting.pop() {
            if let Some(slot) = tree {
                let node = &self.nodes[slot as usize];
                depth = depth.max(above + 1);
                waiting.extend([(node.left, above + 1), (node.right, above + 1)]);
            }
        }
        depth
    }

    /// The slot right after `place` in order.
    fn successor(&self, place: Place) -> Option<Slot> {
        let mut found = None;
        let mut tree = self.root;
        while let Some(slot) = tree {
            let node = &self.nodes[slot as usize];
            if self.place(slot).order(&place).is_gt() {
                found = tree;
                tree = node.left;
            } else {
                tree = node.right;
            }
        }
        found
    }

    fn place(&self, slot: Slot) -> Place {
        Place {
            point: self.nodes[slot as usize].point,
            slot,
        }
    }

    /// The tree with `slot`, which is on its own, in its place.
    fn insert_below(&mut self, tree: Option<Slot>, slot: Slot) -> Slot {
        let Some(top) = tree else {
            return slot;
        };
        let place = self.place(slot);
        if priority(slot) > priority(top) {
            let (before, after) = self.split(tree, place);
            self.nodes[slot as usize].left = before;
            self.nodes[slot as usize].right = after;
            self.refresh(slot);
            return slot;
        }
        let at = top as usize;
        if place.order(&self.place(top)).is_lt() {
            self.nodes[at].left = Some(self.insert_below(self.nodes[at].left, slot));
        } else {
            self.nodes[at].right = Some(self.insert_below(self.nodes[at].right, slot));
        }
        self.refresh(top);
        top
    }

    /// Splits a tree into what comes before `place` and the rest.
    fn split(&mut self, tree: Option<Slot>, place: Place) -> (Option<Slot>, Option<Slot>) {
        let Some(slot) = tree else {
            return (None, None);
        };
        let at = slot as usize;
        if self.place(slot).order(&place).is_lt() {
            let (before, after) = self.split(self.nodes[at].right, place);
            self.nodes[at].right = before;
            self.refresh(slot);
            (tree, after)
        } else {
            let (before, after) = self.split(self.nodes[at].left, place);
            self.nodes[at].left = after;
            self.refresh(slot);
            (before, tree)
        }
    }

    /// Joins two trees, all of the first before all of the second. The larger priority is on top.
    fn merge(&mut self, first: Option<Slot>, second: Option<Slot>) -> Option<Slot> {
        let (Some(a), Some(b)) = (first, second) else {
            return first.or(second);
        };
        if priority(a) >= priority(b) {
            self.nodes[a as usize].right = self.merge(self.nodes[a as usize].right, second);
            self.refresh(a);
            first
        } else {
            self.nodes[b as usize].left = self.merge(first, self.nodes[b as usize].left);
            self.refresh(b);
            second
        }
    }

    /// The tree without the node at `place`, which must be in it.
    fn remove_below(&mut self, tree: Option<Slot>, place: Place) -> Option<Slot> {
        let slot = tree?;
        let at = slot as usize;
        match place.order(&self.place(slot)) {
            Ordering::Equal => return self.merge(self.nodes[at].left, self.nodes[at].right),
            Ordering::Less => {
                self.nodes[at].left = self.remove_below(self.nodes[at].left, place);
            }
            Ordering::Greater => {
                self.nodes[at].right = self.remove_below(self.nodes[at].right, place);
            }
        }
        self.refresh(slot);
        tree
    }

    /// Recomputes what a node says about its subtree.
    fn refresh(&mut self, slot: Slot) {
        let node = &self.nodes[slot as usize];
        let of = |child: Option<Slot>| {
            child.map_or(f64::NEG_INFINITY, |child| self.nodes[child as usize].best)
        };
        let best = node.point.accuracy.max(of(node.left)).max(of(node.right));
        self.nodes[slot as usize].best = best;
    }
}

fn owner_of(slot: Slot) -> u32 {
    slot / 2
}

/// A fixed pseudo-random number per slot (the mixer of splitmix64): a treap is balanced when
/// priorities have nothing to do with the order of its keys.
fn priority(slot: Slot) -> u64 {
    let mut bits = u64::from(slot).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
