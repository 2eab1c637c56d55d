//! Rules for what becomes durable.

use autorep_core::failure::FailureClass;
use autorep_core::growth::ALL_EPOCHS;
use autorep_core::id::{TaskId, WorkerId};
use autorep_core::ledger::{Head, RecordedState, TaskRecord};

use super::Observer;
use super::knowledge::{Knowledge, Live, LivePart, SweepRow, is_done, is_readable, result};
use crate::person::BACKOFF_MS;
use crate::world::World;

impl Observer {
    /// A coordinator is about to read the state: every lease in it lives for a whole time from now.
    pub(crate) fn starting(&self, world: &World) {
        let mut know = self.know();
        know.starts += 1;
        // Times are not written down: a failed task is tried again at once.
        know.waiting_until.clear();
        let now_ms = world.now_ms();
        let until_ms = now_ms + world.profile.lease_ttl_ms();
        for part in know.live.values_mut().flat_map(|live| &mut live.parts) {
            part.until_ms = part.until_ms.max(until_ms);
            part.heard_ms = now_ms;
        }
    }

    /// Rows become durable that were decided at `began_ms`.
    pub(crate) fn written(&self, world: &World, began_ms: u64, rows: &[(Vec<u8>, Vec<u8>)]) {
        let mut know = self.know();
        know.writes += 1;
        // Sweeps first: whether a task may change depends on who wants it.
        for (key, value) in rows {
            let key = String::from_utf8_lossy(key);
            if let Some(name) = key.strip_prefix("sweep/") {
                match serde_json::from_slice(value) {
                    Ok(row) => know.sweep_written(world, name, row),
                    Err(error) => world.violate("records can be read", error),
                }
            }
        }
        for (key, value) in rows {
            let key = String::from_utf8_lossy(key);
            if let Some(name) = key.strip_prefix("task/") {
                match (name.parse(), serde_json::from_slice(value)) {
                    (Ok(task), Ok(record)) => know.task_written(world, began_ms, task, record),
                    (_, Err(error)) => world.violate("records can be read", error),
                    (Err(_), Ok(_)) => world.violate("records can be read", name),
                }
            }
        }
    }
}

impl Knowledge {
    /// What a sweep has decided it does not decide again: it grows by more steps, unless it has
    /// another plan.
    fn sweep_written(&mut self, world: &World, name: &str, new: SweepRow) {
        if let Some(old) = self.sweeps.get(name)
            && old.plan == new.plan
            && !new.grown.starts_with(&old.grown)
        {
            let text = format!("{name}: {:?} -> {:?}", old.grown, new.grown);
            world.violate("what a sweep has decided stays", text);
        }
        if let Some(plan) = self.plan(name, &new).cloned() {
            let held_back = plan.growth.allowances(&new.grown);
            for (place, task) in (0..).zip(&plan.tasks) {
                let epochs = held_back.get(&place).copied().unwrap_or(ALL_EPOCHS);
                let known = self.allowed.entry(task.id).or_default();
                *known = epochs.max(*known);
            }
        }
        self.sweeps.insert(name.to_owned(), new);
    }

    fn task_written(&mut self, world: &World, began_ms: u64, task: TaskId, new: TaskRecord) {
        let old = self.durable.get(&task).cloned().unwrap_or_default();
        let line = |what: &str| format!("{} g{}: {what}", task.short(), new.generation);
        let state = match &new.state {
            RecordedState::Open => "open",
            RecordedState::Leased { worker, members } => {
                &format!("leased to {worker} and {} others", members.len())
            }
            RecordedState::Done { .. } => "done",
            RecordedState::GaveUp => "gave up",
        };
        world.note(format_args!("store: {}", line(state)));
        if new.generation < old.generation {
            world.violate(
                "a generation never falls",
                line(&format!("was g{}", old.generation)),
            );
        }
        let (spent, spent_before) = (new.spent.attempts(), old.spent.attempts());
        // A submission starts what gave up anew, maybe by the same write.
        let submitted = spent == 0 && self.open_orders > 0;
        let starts_anew = is_done(&new)
            || is_done(&old)
            || old.state == RecordedState::GaveUp
            || submitted
            || self.was_undone(task, old.generation.0);
        if spent < spent_before && !starts_anew {
            let text = line(&format!("{spent_before} were counted, now {spent}"));
            world.violate("attempts are counted", text);
        }
        for frozen in self.frozen.values() {
            // Outputs that nobody needs may go.
            let only_drops = is_done(&old) && result(&old) == result(&new);
            if frozen.get(&task).is_some_and(|frozen| *frozen != new) && !only_drops {
                world.violate("nothing of a cancelled sweep changes", line(state));
            }
        }
        self.check_result(world, task, &old, &new);
        self.check_heads(world, task, &old, &new);
        self.check_lease(world, began_ms, task, &old, &new);
        self.check_wait(world, began_ms, task, &old, &new);
        self.durable.insert(task, new);
    }

    fn check_result(&mut self, world: &World, task: TaskId, old: &TaskRecord, new: &TaskRecord) {
        let id = task.short();
        if let (Some(before), after) = (result(old), result(new)) {
            let dropped = is_done(old) && !is_readable(old);
            let bad =
                (old.outputs.iter()).any(|(_, head)| self.reported_bad.contains(&head.manifest));
            if after.is_some_and(|after| after != before) {
                world.violate(
                    "a result never changes",
                    format!("{id}: {old:?} -> {new:?}"),
                );
            } else if after.is_none() && !bad && !dropped {
                world.violate("done stays done", format!("{id}: {old:?} -> {new:?}"));
            } else if after.is_none() {
                *self.reopened.entry(task).or_default() += 1;
                // Its readers wait for it now, for as long as that takes.
                self.waiting_until.clear();
            }
        } else if let Some(after) = result(new) {
            if self.allowed.get(&task) != Some(&ALL_EPOCHS) {
                world.violate(
                    "no task trains for longer than its sweeps let it",
                    id.clone(),
                );
            }
            // The seconds tell under which lease it was measured.
            let generation = new.generation.0;
            if (after.seconds - generation as f64).abs() > 0.1 {
                world.violate(
                    "only the holder of the latest lease finishes",
                    format!(
                        "{id}: g{generation}, found the result of g{}",
                        after.seconds
                    ),
                );
            }
            let proposed = self.results.get(&(task, generation)).copied();
            if proposed.unwrap_or_default().is_void() {
                world.violate(
                    "a refused result changes nothing",
                    format!("{id} g{generation}"),
                );
            }
            self.finished.entry(task).or_default().insert(generation);
        }
    }

    fn check_heads(&mut self, world: &World, task: TaskId, old: &TaskRecord, new: &TaskRecord) {
        let mut roles: Vec<(&str, Option<&Head>, Option<&Head>)> = Vec::new();
        roles.push(("resume", old.resume.as_ref(), new.resume.as_ref()));
        for (name, _) in old.outputs.iter().chain(new.outputs.iter()) {
            roles.push((name, old.outputs.get(name), new.outputs.get(name)));
        }
        let reopened = is_done(old) && !is_done(new);
        let undone = self.was_undone(task, old.generation.0);
        let dropped = is_done(old) && !is_readable(old);
        for (role, before, after) in roles {
            let what = || format!("{} {role}: {before:?} -> {after:?}", task.short());
            if let Some(before) = before {
                let excused = self.reported_bad.contains(&before.manifest)
                    || (role == "resume" && (is_done(new) || reopened || undone))
                    || (dropped && reopened);
                let falls = after.is_none_or(|after| after.order() < before.order());
                if falls && !excused {
                    world.violate("what was committed stays", what());
                }
            }
            if let Some(after) = after
                && before != Some(after)
            {
                let proposed = self.commits.get(&after.manifest).copied();
                if proposed.unwrap_or_default().is_void() {
                    world.violate("a refused checkpoint changes nothing", what());
                }
                self.committed.insert(after.manifest);
            }
        }
    }

    /// After a failure that its worker reported, a task waits before its next attempt.
    fn check_wait(
        &mut self,
        world: &World,
        began_ms: u64,
        task: TaskId,
        old: &TaskRecord,
        new: &TaskRecord,
    ) {
        if new.generation > old.generation {
            let until_ms = self.waiting_until.remove(&task).unwrap_or(0);
            if began_ms < until_ms {
                let text = format!("{} g{}: until {until_ms} ms", task.short(), new.generation);
                world.violate("a failed task waits", text);
            }
        }
        let last = new.failures.last();
        let failed = last.filter(|failure| {
            old.failures.last() != Some(failure)
                && failure.generation == new.generation
                && failure.class != FailureClass::WorkerLost
                // It waits for the task that made the checkpoint, if for anything.
                && failure.class != FailureClass::BadCheckpoint
        });
        if let Some(failed) = failed
            && new.state == RecordedState::Open
        {
            let wait_ms = if failed.class.is_of_surroundings() {
                BACKOFF_MS.max(1000)
            } else {
                BACKOFF_MS
            };
            self.waiting_until.insert(task, began_ms + wait_ms);
        }
    }

    /// A lease ends by its holder's word, by a person's, or by its time.
    fn check_lease(
        &mut self,
        world: &World,
        began_ms: u64,
        task: TaskId,
        old: &TaskRecord,
        new: &TaskRecord,
    ) {
        if let RecordedState::Leased { .. } = &old.state
            && (old.generation != new.generation
                || !matches!(new.state, RecordedState::Leased { .. }))
            && let Some(live) = self.live.remove(&task)
        {
            let mut nodes = (0..).take(live.parts.len());
            let heard_of = nodes.all(|node| {
                let key = (task, live.generation, node);
                self.told.contains_key(&key)
            });
            // Who makes a net that is found bad has to make it again.
            let made_bad = old.outputs.iter().any(|(name, head)| {
                self.reported_bad.contains(&head.manifest) && new.outputs.get(name) != Some(head)
            });
            if let Some(part) = live.first_over()
                && heard_of
                && !live.excused
                && !made_bad
                && began_ms < part.until_ms
            {
                let (task, worker) = (task.short(), &part.worker);
                let what = format!("{task} of {worker}: until {} ms", part.until_ms);
                world.violate("a lease lives until its time is over", what);
            }
        }
        if let RecordedState::Leased { worker, members } = &new.state
            && (old.generation != new.generation
                || !matches!(old.state, RecordedState::Leased { .. }))
        {
            let now_ms = world.now_ms();
            let part = |worker: &WorkerId| LivePart {
                worker: worker.0.clone(),
                until_ms: began_ms + world.profile.lease_ttl_ms(),
                heard_ms: now_ms,
            };
            let asks_again = |part: &LivePart| {
                (self.open_acquires.get(&part.worker)).is_some_and(|open| *open > 1)
            };
            let parts: Vec<LivePart> = (std::iter::once(worker).chain(members)).map(part).collect();
            let live = Live {
                generation: new.generation.0,
                // Another request of one of the workers, or a person's, may be waiting already.
                excused: self.open_orders > 0 || parts.iter().any(asks_again),
                parts,
            };
            self.live.insert(task, live);
        }
    }
}
