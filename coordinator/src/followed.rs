//! Whose logs people follow: the workers that train those tasks are told, and store what there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autorep_core::id::TaskId;

/// The tasks whose logs are followed, by how many. Only this coordinator knows: after its restart the
/// followers come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followed {
    tasks: Arc<Mutex<BTreeMap<TaskId, usize>>>,
}

impl Followed {
    /// Counts one more that follows `task`, until what is returned is dropped.
    pub(crate) fn follow(&self, task: TaskId) -> Following {
        *self.lock().entry(task).or_default() += 1;
        Following {
            followed: self.clone(),
            task,
        }
    }

    /// Whether anybody follows the log of `task`.
    pub(crate) fn contains(&self, task: TaskId) -> bool {
        self.lock().contains_key(&task)
    }

    /// No holder can leave the counts half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TaskId, usize>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody follows a log.
#[derive(Debug)]
pub(crate) struct Following {
    followed: Followed,
    task: TaskId,
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut tasks = self.followed.lock();
        if let Some(count) = tasks.get_mut(&self.task) {
            *count -= 1;
            if *count == 0 {
                tasks.remove(&self.task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autorep_core::digest::Digest;

    #[test]
    fn a_log_is_followed_as_long_as_one_of_its_followers_is_there() {
        let followed = Followed::default();
        let task = TaskId(Digest::of(b"task"));
        let first = followed.follow(task);
        let second = followed.clone().follow(task);
        drop(first);
        assert!(followed.contains(task));
        drop(second);
        assert!(!followed.contains(task));
    }
}
