//! Rules for what is said on the wire.

use std::sync::Arc;

use autorep_core::checkpoint::{CheckpointRef, CheckpointRole};
use autorep_core::id::TaskId;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::ledger::{Head, RecordedState, TaskRecord};
use autorep_core::task::TaskSpec;
use autorep_proto::status::Refusal;
use autorep_proto::v1;

use super::knowledge::{Knowledge, Live, LivePart, Told, is_done};
use super::{Observer, Sent};
use crate::coordinators::Coordinator;
use crate::wire::{Answer, Request};
use crate::world::World;

/// A request that has reached a coordinator.
#[derive(Debug)]
pub(crate) struct Delivery {
    at_ms: u64,
    newest_told: u64,
    /// Durable writes until then.
    writes: u64,
    during_cancel: Vec<String>,
    /// Who asks for work, for as long as the request waits.
    acquirer: Option<(Arc<World>, String)>,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some((world, worker)) = self.acquirer.take()
            && let Some(open) = world.observer.know().open_acquires.get_mut(&worker)
        {
            *open -= 1;
        }
    }
}

impl Observer {
    /// A request reaches a coordinator: from now on it may have an effect.
    pub(crate) fn delivered(&self, world: &Arc<World>, request: &Request, sent: &Sent) -> Delivery {
        let mut know = self.know();
        know.delivered(request);
        let acquirer = know.acquirer(request);
        if let Some(worker) = &acquirer {
            *know.open_acquires.entry(worker.clone()).or_default() += 1;
        }
        Delivery {
            at_ms: world.now_ms(),
            newest_told: sent.newest_told,
            writes: know.writes,
            during_cancel: (sent.during_cancel.iter())
                .filter(|sweep| know.frozen.contains_key(*sweep))
                .cloned()
                .collect(),
            acquirer: acquirer.map(|worker| (Arc::clone(world), worker)),
        }
    }

    /// A coordinator answers.
    pub(crate) fn answered(
        &self,
        world: &World,
        coordinator: &Coordinator,
        request: &Request,
        delivery: &Delivery,
        answer: &Result<Answer, Refusal>,
    ) {
        let mut know = self.know();
        // What a coordinator says that has been taken over promises nothing, unless it says that
        // something is durable: that is checked whoever says it.
        let newest = coordinator.epoch == world.disk.epoch();
        match answer {
            Ok(answer) => know.answered(world, newest, request, delivery, answer),
            Err(refusal) if !refusal.is_transient() => {
                know.refused(request);
                know.repeated(world, newest, request, refusal);
            }
            Err(_) => {}
        }
    }
}

impl Knowledge {
    fn delivered(&mut self, request: &Request) {
        self.requests += 1;
        match request {
            Request::Acquire(request) => {
                let held = self.live.values_mut();
                let is_its = |live: &&mut Live| {
                    let mut parts = live.parts.iter();
                    parts.any(|part| part.worker == request.worker)
                };
                for live in held.filter(is_its) {
                    live.excused = true;
                }
            }
            Request::Commit(request) => {
                if let Some(checkpoint) = checkpoint(request.checkpoint.as_ref()) {
                    self.commits
                        .entry(checkpoint.manifest)
                        .or_default()
                        .delivered += 1;
                }
            }
            Request::Fail(request) => {
                if let Some(checkpoint) = checkpoint(request.bad_checkpoint.as_ref()) {
                    self.reported_bad.insert(checkpoint.manifest);
                    self.bad_folders.insert(checkpoint.folder());
                    if let CheckpointRole::Output(_) = checkpoint.role {
                        (self.outputs_reported_bad).insert(checkpoint.task, self.requests);
                    }
                }
            }
            Request::Submit(request) => {
                self.learn_plan(&request.manifest);
                self.frozen.clear();
                self.paused.clear();
                self.excuse_all();
            }
            Request::Cancel(_) => self.excuse_all(),
            Request::Resume(request) => drop(self.paused.remove(&request.sweep)),
            Request::Finish(_)
            | Request::Release(_)
            | Request::Register(_)
            | Request::Renew(_)
            | Request::Pause(_)
            | Request::List(_)
            | Request::Front(_) => {}
        }
        if let Request::Finish(_) | Request::Fail(_) | Request::Release(_) = request
            && let Some(claim) = request.claim()
        {
            if let Request::Finish(_) = request {
                let key = (claim.task, claim.generation.0);
                let result = self.results.entry(key).or_default();
                result.delivered += 1;
                if result.delivered == 1 {
                    result.first = self.requests;
                }
            }
            if let Some(live) = self.live.get_mut(&claim.task)
                && live.generation == claim.generation.0
            {
                live.excused = true;
            }
        }
    }

    /// The worker that a request may bring a lease.
    fn acquirer(&self, request: &Request) -> Option<String> {
        if let Request::Acquire(acquire) = request {
            return Some(acquire.worker.clone());
        }
        let takes_next = matches!(request, Request::Finish(finish) if finish.take_next);
        let claim = request.claim().filter(|_| takes_next)?;
        Some(self.told_to(claim)?.to_owned())
    }

    /// The worker that was told of a lease, and leads those that were.
    fn told_to(&self, claim: LeaseClaim) -> Option<&str> {
        let told = self.told.get(&(claim.task, claim.generation.0, 0))?;
        Some(&told.worker)
    }

    /// A person has changed what is wanted: leases may end, and what waited may go on.
    fn excuse_all(&mut self) {
        self.waiting_until.clear();
        for live in self.live.values_mut() {
            live.excused = true;
        }
    }

    fn refused(&mut self, request: &Request) {
        match request {
            Request::Commit(request) => {
                if let Some(checkpoint) = checkpoint(request.checkpoint.as_ref()) {
                    self.commits.entry(checkpoint.manifest).or_default().refused += 1;
                }
            }
            Request::Finish(_) => {
                if let Some(claim) = request.claim() {
                    let key = (claim.task, claim.generation.0);
                    self.results.entry(key).or_default().refused += 1;
                }
            }
            Request::Register(_)
            | Request::Acquire(_)
            | Request::Renew(_)
            | Request::Fail(_)
            | Request::Release(_)
            | Request::Submit(_)
            | Request::Pause(_)
            | Request::Resume(_)
            | Request::Cancel(_)
            | Request::List(_)
            | Request::Front(_) => {}
        }
    }

    /// Who repeats a call gets the answer that it had, and nobody is told that a lease has ended
    /// while it lives: the worker would drop its work.
    fn repeated(&self, world: &World, newest: bool, request: &Request, refusal: &Refusal) {
        let is_gone = matches!(refusal, Refusal::Stale { .. } | Refusal::UnknownTask(_));
        let has_no_part = matches!(
            (refusal, request),
            (Refusal::BadRequest(_), Request::Renew(_))
        );
        let ends = is_gone || has_no_part;
        if let Some(claim) = request.claim().filter(|_| ends)
            && let Some(record) = self.durable.get(&claim.task)
            && record.generation == claim.generation
            && matches!(record.state, RecordedState::Leased { .. })
        {
            let text = format!("{}: {refusal}", request.line());
            world.violate("a lease that lives is not refused", text);
        }
        if let Request::Commit(commit) = request
            && newest
            && let Some(checkpoint) = checkpoint(commit.checkpoint.as_ref())
            && let Some(record) = self.durable.get(&checkpoint.task)
            && record.generation == checkpoint.generation
            && self.head(checkpoint.task, &checkpoint.role) == Some(Head::of(&checkpoint))
        {
            let text = format!("{}: {refusal}", request.line());
            world.violate("a repeated commit gets the same answer", text);
        }
        if let (Request::Finish(_), Some(claim)) = (request, request.claim())
            && newest
            && let Some(record) = self.durable.get(&claim.task)
            && is_done(record)
            && record.generation == claim.generation
        {
            let text = format!("{}: {refusal}", request.line());
            world.violate("a repeated result gets the same answer", text);
        }
    }

    fn answered(
        &mut self,
        world: &World,
        newest: bool,
        request: &Request,
        delivery: &Delivery,
        answer: &Answer,
    ) {
        if let Some(claim) = request.claim() {
            self.claim_taken(world, newest, request, claim, delivery, answer);
        }
        match (request, answer) {
            (Request::Acquire(request), Answer::Work(work)) => {
                if let Some(assignment) = &work.assignment {
                    self.granted(world, newest, &request.worker, assignment);
                } else if work.idle && newest {
                    self.idle(world);
                }
            }
            (Request::Finish(_), Answer::Finished(answer)) => {
                if let Some(assignment) = &answer.next {
                    self.granted_next(world, newest, request, assignment);
                }
            }
            (Request::Submit(request), _) => self.submitted(world, &request.manifest),
            (Request::Pause(request), _) => {
                self.ordered(world, &request.sweep, "paused", |row| row.paused);
                if self.open_orders == 1 {
                    self.paused.insert(request.sweep.clone());
                }
            }
            (Request::Resume(request), _) => {
                self.ordered(world, &request.sweep, "resumed", |row| !row.paused);
            }
            (Request::Cancel(request), _) => {
                self.ordered(world, &request.sweep, "cancelled", |row| row.cancelled);
                if self.open_orders == 1 {
                    let tasks = self.only_of(&request.sweep);
                    self.frozen.insert(request.sweep.clone(), tasks);
                }
            }
            // What was decided after it may have become durable with it.
            (_, Answer::Sweeps(sweeps)) if newest && delivery.writes == self.writes => {
                self.listed(world, sweeps);
            }
            (Request::Front(request), Answer::Front(front)) if newest => {
                self.front_told(world, &request.sweep, front);
            }
            _ => {}
        }
    }

    /// Something said under a claim was taken.
    fn claim_taken(
        &mut self,
        world: &World,
        newest: bool,
        request: &Request,
        claim: LeaseClaim,
        delivery: &Delivery,
        answer: &Answer,
    ) {
        let LeaseClaim { task, generation } = claim;
        let line = request.line();
        if newest && delivery.newest_told > generation.0 {
            world.violate(
                "what is said under an old lease is refused",
                format!("{line}: g{} had been told", delivery.newest_told),
            );
        }
        match (request, answer) {
            (Request::Renew(_), Answer::Directive(v1::Directive::Continue, _)) if newest => {
                self.not_while_cancelled(world, task, delivery, &line);
                self.renewed(world, request, delivery);
            }
            (Request::Commit(request), Answer::Adoption(adoption)) => {
                let Some(checkpoint) = checkpoint(request.checkpoint.as_ref()) else {
                    return;
                };
                let durable = self.committed.contains(&checkpoint.manifest);
                if !durable && *adoption != v1::Adoption::Older {
                    world.violate("a commit is durable when answered", &line);
                }
                if *adoption == v1::Adoption::Adopted {
                    self.not_while_cancelled(world, task, delivery, &line);
                }
            }
            (Request::Finish(_), _) => {
                let known = self.finished.get(&task);
                let done = self.durable.get(&task).is_some_and(is_done);
                let undone = !done && self.was_undone(task, generation.0);
                if !undone && !known.is_some_and(|known| known.contains(&generation.0)) {
                    world.violate("a result is durable when answered", &line);
                }
                let reopened = undone || self.reopened.contains_key(&task);
                if newest && !done && !reopened {
                    world.violate("a result stays", &line);
                }
            }
            (Request::Fail(request), Answer::WillRetry(true)) if newest => {
                if let Some(bad) = checkpoint(request.bad_checkpoint.as_ref())
                    && self
                        .head(bad.task, &bad.role)
                        .is_some_and(|head| head.manifest == bad.manifest)
                {
                    world.violate("a bad checkpoint is set aside for good", &line);
                }
            }
            _ => {}
        }
    }

    /// A part of a lease lives longer, if the others are heard of, too.
    fn renewed(&mut self, world: &World, request: &Request, delivery: &Delivery) {
        let Some(part) = request.part() else {
            return;
        };
        let ttl_ms = world.profile.lease_ttl_ms();
        let now_ms = world.now_ms();
        let Some(live) = (self.live.get_mut(&part.claim.task))
            .filter(|live| live.generation == part.claim.generation.0)
        else {
            return;
        };
        // A coordinator that writes, or did not run for a while, lets leases live a little longer.
        let is_lost = |other: &&LivePart| other.heard_ms + 3 * ttl_ms < now_ms;
        if let Some(lost) = live.parts.iter().find(is_lost) {
            let what = format!("{part}: {} was heard of at {}", lost.worker, lost.heard_ms);
            world.violate("a lease ends with any of its parts", what);
        }
        if let Some(own) = live.parts.get_mut(part.node as usize) {
            own.until_ms = own.until_ms.max(delivery.at_ms + ttl_ms);
            own.heard_ms = now_ms;
        }
    }

    fn not_while_cancelled(&self, world: &World, task: TaskId, delivery: &Delivery, line: &str) {
        for sweep in &delivery.during_cancel {
            if self
                .frozen
                .get(sweep)
                .is_some_and(|frozen| frozen.contains_key(&task))
            {
                world.violate("nothing is taken for a cancelled sweep", line);
            }
        }
    }

    fn head(&self, task: TaskId, role: &CheckpointRole) -> Option<Head> {
        let record = self.durable.get(&task)?;
        match role {
            CheckpointRole::Resume => record.resume,
            CheckpointRole::Output(name) => record.outputs.get(name).copied(),
        }
    }

    /// A lease that came with the answer to a result is the same worker's.
    fn granted_next(
        &mut self,
        world: &World,
        newest: bool,
        request: &Request,
        assignment: &v1::Assignment,
    ) {
        match self.acquirer(request) {
            Some(worker) => self.granted(world, newest, &worker, assignment),
            None => world.violate(
                "a next task is given to the holder who asked for it",
                request.line(),
            ),
        }
    }

    fn granted(&mut self, world: &World, newest: bool, worker: &str, assignment: &v1::Assignment) {
        let part = assignment
            .claim
            .clone()
            .and_then(|claim| LeasePart::try_from(claim).ok());
        let Some(LeasePart { claim, node }) = part else {
            return world.violate("an assignment has a claim", worker);
        };
        let LeaseClaim { task, generation } = claim;
        let nodes = assignment.nodes;
        let line = format!(
            "{} g{generation} to {worker}, {node} of {nodes}",
            task.short()
        );
        world.note(format_args!("told: {line}"));
        let told = Told {
            worker: worker.to_owned(),
        };
        if let Some(before) = self.told.insert((task, generation.0, node), told) {
            world.violate(
                "no lease is told twice",
                format!("{line}, before to {}", before.worker),
            );
        }
        let newest_told = self.newest_told.entry(task).or_default();
        *newest_told = (*newest_told).max(generation.0);
        let Some(record) = self.durable.get(&task) else {
            return world.violate("a lease is durable when told", format!("{line}: no record"));
        };
        let exact = record.generation == generation
            && matches!(&record.state, RecordedState::Leased { worker: leader, members }
                if members.len() + 1 == nodes as usize
                    && (std::iter::once(leader).chain(members).nth(node as usize))
                        .is_some_and(|it| it.0 == worker));
        if record.generation < generation || (newest && !exact) {
            return world.violate(
                "a lease is durable when told",
                format!("{line}: {record:?}"),
            );
        }
        if newest {
            self.check_grant(world, &line, task, record, assignment);
        }
    }

    /// What a lease says besides is what is durable.
    fn check_grant(
        &self,
        world: &World,
        line: &str,
        task: TaskId,
        record: &TaskRecord,
        assignment: &v1::Assignment,
    ) {
        let durable = record.spent.attempts();
        if assignment.attempt != durable + 1 {
            let text = format!(
                "{line}: attempt {}, {durable} are durable",
                assignment.attempt
            );
            world.violate("attempts are counted", text);
        }
        let resume = assignment
            .resume
            .as_ref()
            .map(|it| checkpoint(Some(it)).map(|it| Head::of(&it)));
        if resume.flatten() != record.resume {
            let text = format!(
                "{line}: {:?}, {:?} is durable",
                assignment.resume, record.resume
            );
            world.violate("an attempt goes on from the last checkpoint", text);
        }
        let spec: Option<TaskSpec> = serde_json::from_slice(&assignment.spec).ok();
        let needed = spec.iter().flat_map(TaskSpec::inputs);
        let heads: Vec<Option<Head>> = needed
            .map(|input| self.head(input.task, &CheckpointRole::Output(input.output.clone())))
            .collect();
        let given: Vec<Option<Head>> = (assignment.inputs.iter())
            .map(|it| checkpoint(Some(it)).map(|it| Head::of(&it)))
            .collect();
        if heads != given || heads.contains(&None) {
            let text = format!("{line}: {given:?}, {heads:?} are durable");
            world.violate("a reader gets what was committed", text);
        }
        if !self.is_wanted(task, "", true) {
            world.violate("nothing of a cancelled sweep is leased", line);
        }
        let granting = self.sweeps.iter().any(|(name, row)| {
            !row.cancelled && !self.paused.contains(name) && self.has_task(name, row, task)
        });
        if !granting {
            world.violate("nothing of a paused sweep is leased", line);
        }
    }

    fn submitted(&mut self, world: &World, manifest: &str) {
        let Some((name, plan)) = self.learn_plan(manifest) else {
            return;
        };
        if self.open_orders == 1 {
            let row = self.sweeps.get(&name);
            if !row.is_some_and(|row| row.plan == plan && !row.paused && !row.cancelled) {
                world.violate(
                    "a submission is durable when answered",
                    format!("{name}: {row:?}"),
                );
            }
        }
    }

    fn ordered(
        &self,
        world: &World,
        sweep: &str,
        what: &str,
        is: impl FnOnce(&super::knowledge::SweepRow) -> bool,
    ) {
        // While others of the person's orders are under way nobody can tell which was the last.
        if self.open_orders == 1 && !self.sweeps.get(sweep).is_some_and(is) {
            world.violate(
                "an order is durable when answered",
                format!("{sweep} is {what}"),
            );
        }
    }
}

fn checkpoint(reference: Option<&v1::CheckpointRef>) -> Option<CheckpointRef> {
    reference?.clone().try_into().ok()
}
