//! What is known of the parts of a plan that a way to grow looks at, kept from one decision to the
//! next: only what has changed is looked at again.

use std::cmp::Ordering;

/// What is known of each part.
#[derive(Clone, Debug)]
pub(super) struct Sight<K> {
    /// Which part looks at which task: places of tasks in rising order, each with a part's number.
    watched: Vec<(u32, u32)>,
    known: Vec<K>,
}

impl<K> Sight<K> {
    /// Looks at all parts, each of which looks at the tasks at these places.
    pub(super) fn over<P>(
        parts: impl IntoIterator<Item = P>,
        mut look: impl FnMut(u32) -> K,
    ) -> Self
    where
        P: IntoIterator<Item = u32>,
    {
        let mut watched = Vec::new();
        let mut known = Vec::new();
        for (part, places) in (0..).zip(parts) {
            watched.extend(places.into_iter().map(|place| (place, part)));
            known.push(look(part));
        }
        watched.sort_unstable();
        Self { watched, known }
    }

    /// What is known, by number of the part.
    pub(super) fn known(&self) -> &[K] {
        &self.known
    }

    /// Looks again at the parts of which one of these tasks has changed. Returns them in rising order.
    pub(super) fn renew(&mut self, changed: &[u32], mut look: impl FnMut(u32) -> K) -> Vec<u32> {
        let mut parts: Vec<u32> = Vec::new();
        for &place in changed {
            let first = self.watched.partition_point(|it| it.0 < place);
            let here = self.watched[first..].iter();
            parts.extend(here.take_while(|it| it.0 == place).map(|it| it.1));
        }
        parts.sort_unstable();
        parts.dedup();
        for &part in &parts {
            self.known[part as usize] = look(part);
        }
        parts
    }
}

/// Parts in an order by what is known of them; equals in the order of their numbers.
#[derive(Clone, Debug)]
pub(super) struct Sorted<T> {
    order: fn(&T, &T) -> Ordering,
    placed: Vec<(T, u32)>,
    /// By part, what it is placed by.
    by: Vec<Option<T>>,
}

impl<T: Copy + PartialEq> Sorted<T> {
    /// Of so many parts, none of which has a place yet.
    pub(super) fn of(parts: usize, order: fn(&T, &T) -> Ordering) -> Self {
        Self {
            order,
            placed: Vec::new(),
            by: vec![None; parts],
        }
    }

    /// The parts that have a place, each with what it has it by.
    pub(super) fn placed(&self) -> &[(T, u32)] {
        &self.placed
    }

    /// Gives these parts, in rising order, their places anew, or none. Says whether that changed any.
    pub(super) fn renew(&mut self, parts: &[u32], of: impl Fn(u32) -> Option<T>) -> bool {
        let mut moved: Vec<u32> = Vec::new();
        let mut had_places = false;
        for &part in parts {
            let by = of(part);
            let before = std::mem::replace(&mut self.by[part as usize], by);
            if by != before {
                moved.push(part);
                had_places |= before.is_some();
            }
        }
        if moved.is_empty() {
            return false;
        }
        if had_places {
            (self.placed).retain(|(_, part)| moved.binary_search(part).is_err());
        }
        let by = &self.by;
        let places = moved
            .iter()
            .filter_map(|&part| Some((by[part as usize]?, part)));
        self.placed.extend(places);
        // Takes little where little has moved: a stable sort finds what is in order.
        let order = self.order;
        (self.placed).sort_by(|one, other| order(&one.0, &other.0).then(one.1.cmp(&other.1)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_looked_at_again_when_one_of_its_tasks_has_changed() {
        let mut sight = Sight::over([vec![7, 1], vec![3], vec![1, 5]], |part| (part, 0));
        assert_eq!(sight.renew(&[3, 4], |part| (part, 1)), [1]);
        assert_eq!(sight.renew(&[1, 7], |part| (part, 2)), [0, 2]);
        assert_eq!(sight.known(), [(0, 2), (1, 1), (2, 2)]);
    }

    #[test]
    fn renewed_parts_stand_as_if_all_had_been_sorted_at_once() {
        let values = |round: u32| -> Vec<Option<u32>> {
            let value = |part: u32| (part * 7919 + round * (part % 3)) % 11;
            (0..50)
                .map(|part| Some(value(part)).filter(|it| *it != 4))
                .collect()
        };
        let all: Vec<u32> = (0..50).collect();
        let mut sorted = Sorted::of(50, u32::cmp);
        let mut known = values(0);
        sorted.renew(&all, |part| known[part as usize]);
        for round in 1..9 {
            let next = values(round);
            let changed = |part: &u32| next[*part as usize] != known[*part as usize];
            let changed: Vec<u32> = all.iter().copied().filter(changed).collect();
            let moved = sorted.renew(&all, |part| next[part as usize]);
            assert_eq!(moved, !changed.is_empty());
            assert!(!sorted.renew(&changed, |part| next[part as usize]));
            known = next;
            let mut expected: Vec<(u32, u32)> = (known.iter().zip(0..))
                .filter_map(|(it, part)| it.map(|it| (it, part)))
                .collect();
            expected.sort_unstable();
            assert_eq!(sorted.placed(), expected);
        }
    }
}
