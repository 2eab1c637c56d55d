//! Random commands in random order, with invariants after each event.

use proptest::prelude::*;

use super::*;
use crate::id::WorkerId;
use crate::lease::LeasePart;
use crate::ledger::fixture::{halved_plan, interim, whole_plan};
use crate::manifest::Keep;
use crate::offer::Offer;

/// A command with small numbers that pick among what there is.
#[derive(Clone, Debug)]
enum Command {
    Submit {
        sweep: u8,
        budgets: u8,
        limit: u8,
        nodes: u8,
    },
    /// The others of the three wait, too, where their bit is set.
    Acquire {
        worker: u8,
        others: u8,
        patient: bool,
    },
    Renew {
        claim: u8,
        node: u8,
    },
    Commit {
        claim: u8,
        output: u8,
        step: u8,
    },
    Finish {
        claim: u8,
    },
    Complete {
        claim: u8,
    },
    Fail {
        claim: u8,
        node: u8,
        class: u8,
        bad: u8,
    },
    Release {
        claim: u8,
        node: u8,
    },
    Stop {
        claim: u8,
    },
    Wait {
        ms: u16,
    },
    Pause {
        sweep: u8,
        paused: bool,
    },
    Cancel {
        sweep: u8,
    },
    Pin {
        claim: u8,
        pinned: bool,
    },
    Drop {
        claim: u8,
    },
    Restart,
}

fn command() -> impl Strategy<Value = Command> {
    use Command as C;
    prop_oneof![
        1 => (0..2_u8, 0..5_u8, 0..8_u8, 1..4_u8)
            .prop_map(|(sweep, budgets, limit, nodes)| C::Submit { sweep, budgets, limit, nodes }),
        6 => (0..3_u8, 0..8_u8, any::<bool>())
            .prop_map(|(worker, others, patient)| C::Acquire { worker, others, patient }),
        3 => (any::<u8>(), 0..3_u8).prop_map(|(claim, node)| C::Renew { claim, node }),
        3 => (any::<u8>(), 0..4_u8, 0..4_u8)
            .prop_map(|(claim, output, step)| C::Commit { claim, output, step }),
        1 => any::<u8>().prop_map(|claim| C::Finish { claim }),
        6 => any::<u8>().prop_map(|claim| C::Complete { claim }),
        3 => (any::<u8>(), 0..3_u8, 0..3_u8, any::<u8>())
            .prop_map(|(claim, node, class, bad)| C::Fail { claim, node, class, bad }),
        1 => (any::<u8>(), 0..3_u8).prop_map(|(claim, node)| C::Release { claim, node }),
        4 => any::<u8>().prop_map(|claim| C::Stop { claim }),
        2 => (0..1500_u16).prop_map(|ms| C::Wait { ms }),
        1 => (0..2_u8, any::<bool>()).prop_map(|(sweep, paused)| C::Pause { sweep, paused }),
        1 => (0..2_u8).prop_map(|sweep| C::Cancel { sweep }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(claim, pinned)| C::Pin { claim, pinned }),
        1 => any::<u8>().prop_map(|claim| C::Drop { claim }),
        1 => Just(C::Restart),
    ]
}

fn some_plan(number: u8) -> Plan {
    match number {
        0 => tiny_plan(&[0], &[100, 50]),
        1 => tiny_plan(&[0], &[100]),
        2 => tiny_plan(&[0], &[50]),
        3 => halved_plan(),
        _ => whole_plan(),
    }
}

/// A sweep in these numbers: one of two names, with some plan and limit, the second for so many
/// workers.
fn some_submission(sweep: u8, budgets: u8, limit: u8, nodes: u8) -> crate::ledger::Submission {
    let name = ["s", "t"][usize::from(sweep)];
    let mut submission = submission(name, some_plan(budgets), 2);
    submission.terms.keep = Keep::Front;
    submission.terms.bounds.gpu_ms = match limit {
        0..4 => None,
        seconds => Some(u64::from(seconds - 4) * 1000),
    };
    if name == "t" {
        // The two share their first tasks, which go to whoever is asked by either.
        submission.terms.owner = "bob".parse().unwrap();
        submission.terms.priority = 1;
        submission.terms.needs.gpus = nodes.into();
        submission.terms.needs.nodes = nodes.into();
    }
    submission
}

/// What a worker says of an attempt that failed.
fn failure(class: u8, bad: Option<CheckpointRef>) -> FailureReport {
    let classes = [
        FailureClass::BadCheckpoint,
        FailureClass::StoreUnavailable,
        FailureClass::Diverged,
    ];
    FailureReport {
        bad_checkpoint: bad,
        ..report(classes[usize::from(class)])
    }
}

struct World {
    checked: Checked,
    now_ms: u64,
    /// Every claim ever granted, with its inputs: workers may say anything under any of them.
    grants: Vec<Grant>,
}

impl World {
    fn grant(&self, number: u8) -> Option<Grant> {
        // The latest grants are the likeliest to be alive.
        let back = usize::from(number) % self.grants.len().clamp(1, 6);
        self.grants.iter().rev().nth(back).cloned()
    }

    fn is_live(&self, claim: LeaseClaim) -> bool {
        // Looked up by hand: the ledger's own check is what is tested.
        let task = self.checked.ledger.task(claim.task).unwrap();
        let leased = matches!(task.state(), TaskState::Leased(_));
        leased && task.generation() == claim.generation
    }

    fn run(&mut self, command: &Command) {
        let name = |number: &u8| ["s", "t"][usize::from(*number)].parse().unwrap();
        match command {
            Command::Submit {
                sweep,
                budgets,
                limit,
                nodes,
            } => {
                self.checked
                    .submit(some_submission(*sweep, *budgets, *limit, *nodes));
            }
            Command::Acquire {
                worker,
                others,
                patient,
            } => self.acquire(*worker, *others, *patient),
            Command::Wait { ms } => {
                self.now_ms += u64::from(*ms);
                let expired = self.checked.ledger.expire(self.now_ms);
                self.checked.apply(expired);
            }
            Command::Pause { sweep, paused } => {
                if let Ok(decision) = self.checked.ledger.pause(&name(sweep), *paused) {
                    self.checked.apply(decision);
                }
            }
            Command::Cancel { sweep } => {
                if let Ok(decision) = self.checked.ledger.cancel(&name(sweep)) {
                    self.checked.apply(decision);
                }
            }
            Command::Pin { claim, pinned } => {
                let task = self.grant(*claim).map(|grant| grant.claim.task);
                if let Some(Ok(decision)) = task.map(|it| self.checked.ledger.pin(it, *pinned)) {
                    self.checked.apply(decision);
                }
            }
            Command::Drop { claim } => {
                // As if the task of the claim were on the front.
                let nets = self.grant(*claim).map(|grant| grant.claim.task);
                let nets = nets.into_iter().collect();
                let decision = self.checked.ledger.drop_unneeded(&nets, 2);
                self.checked.apply(decision);
            }
            Command::Restart => self.restart(),
            Command::Renew { claim, .. }
            | Command::Commit { claim, .. }
            | Command::Finish { claim }
            | Command::Complete { claim }
            | Command::Fail { claim, .. }
            | Command::Release { claim, .. }
            | Command::Stop { claim } => {
                if let Some(grant) = self.grant(*claim) {
                    self.speak(command, &grant);
                }
            }
        }
    }

    /// A worker asks while others wait: two of the three have a GPU.
    fn acquire(&mut self, worker: u8, others: u8, patient: bool) {
        let offers = [0, 1, 2].map(|number| Offer {
            gpus: u32::from(number < 2),
            ..Offer::default()
        });
        let names = [0, 1, 2].map(|number| WorkerId(format!("w{number}")));
        let asker = |number: u8| Asker {
            worker: &names[usize::from(number)],
            offer: &offers[usize::from(number)],
            patient,
        };
        let waiting: Vec<Asker<'_>> = (0..3_u8)
            .filter(|number| others & (1 << number) != 0)
            .map(asker)
            .collect();
        let there: Vec<&Offer> = offers.iter().collect();
        let company = Company {
            waiting: &waiting,
            there: &there,
        };
        let asker = asker(worker);
        while let Some(decision) = self.checked.ledger.grow_among(asker, company, self.now_ms) {
            self.checked.apply(decision);
        }
        let decision = self
            .checked
            .ledger
            .acquire_among(asker, company, self.now_ms);
        if let Acquired::Granted(grant) = self.checked.apply(decision) {
            self.grants.push(*grant);
        }
    }

    /// Says something under a claim; a claim without a lease must change nothing.
    fn speak(&mut self, command: &Command, grant: &Grant) {
        let claim = grant.claim;
        let live = self.is_live(claim);
        let before = (!live).then(|| self.checked.ledger.clone());
        let Checked { ledger, .. } = &self.checked;
        let part = |node: &u8| LeasePart {
            claim,
            node: (*node).into(),
        };
        match command {
            Command::Renew { node, .. } => {
                if let Ok(decision) = ledger.renew(part(node), self.now_ms) {
                    self.checked.apply(decision);
                }
            }
            Command::Commit { output, step, .. } => {
                let role = match output {
                    0 => CheckpointRole::Resume,
                    1 => CheckpointRole::Output("net".to_owned()),
                    2 => CheckpointRole::Output("b100".to_owned()),
                    _ => CheckpointRole::Output("b50".to_owned()),
                };
                let made = checkpoint(claim, role, u64::from(*step), "");
                if let Ok(decision) = ledger.commit(claim, made) {
                    self.checked.apply(decision);
                }
            }
            Command::Complete { .. } if live => self.checked.commit_outputs(claim),
            Command::Fail {
                node, class, bad, ..
            } => self.fail(part(node), grant, *class, *bad),
            Command::Stop { .. } => {
                let interim = interim(claim.task, grant.stop_after.unwrap_or(1));
                if let Ok(decision) = ledger.stop(claim, interim) {
                    self.checked.apply(decision);
                }
            }
            Command::Release { node, .. } => {
                if let Ok(decision) = ledger.release(part(node)) {
                    self.checked.apply(decision);
                }
            }
            Command::Complete { .. }
            | Command::Finish { .. }
            | Command::Submit { .. }
            | Command::Acquire { .. }
            | Command::Wait { .. }
            | Command::Pause { .. }
            | Command::Cancel { .. }
            | Command::Pin { .. }
            | Command::Drop { .. }
            | Command::Restart => {}
        }
        if let Command::Finish { .. } | Command::Complete { .. } = command {
            let measured = observation(&self.checked.spec(claim));
            if let Ok(decision) = self.checked.ledger.finish(claim, measured) {
                self.checked.apply(decision);
            }
        }
        if let Some(before) = before {
            assert_eq!(
                self.checked.ledger, before,
                "a claim without a lease changed something"
            );
        }
    }

    fn fail(&mut self, part: LeasePart, grant: &Grant, class: u8, bad: u8) {
        let inputs = grant.inputs.iter().chain(&grant.resume);
        let bad = (inputs.clone()).nth(usize::from(bad) % inputs.count().max(1));
        let report = failure(class, bad.cloned());
        if let Ok(decision) = self.checked.ledger.fail(part, report, self.now_ms) {
            self.checked.apply(decision);
        }
    }

    /// Makes the ledger anew from what is in the store. Only times may differ, and whether a
    /// worker has spoken since.
    fn restart(&mut self) {
        let Checked {
            ledger, records, ..
        } = &self.checked;
        let restored = restored(ledger, records, self.now_ms);
        invariants::check(&restored).unwrap();
        for task in &ledger.tasks {
            let id = task.id();
            let Some(new) = restored.task(id) else {
                assert!(task.sweeps.is_empty(), "a task was forgotten");
                let stray = restored.strays.get(&id).cloned();
                assert_eq!(stray.unwrap_or_default(), task.record());
                continue;
            };
            assert_eq!(new.record(), task.record());
            assert_eq!(new.state().name(), task.state().name());
        }
        for sweep in ledger.sweeps() {
            let new = restored.sweep(sweep.name()).unwrap();
            assert_eq!(new.counts(), sweep.counts());
            assert_eq!(new.state(), sweep.state());
            assert_eq!(new.grown(), sweep.grown());
        }
        self.grants
            .retain(|grant| restored.task(grant.claim.task).is_some());
        self.checked = Checked {
            ledger: restored,
            events: Vec::new(),
            records: records.clone(),
        };
    }
}

pub(super) fn restored(
    ledger: &Ledger,
    records: &BTreeMap<TaskId, TaskRecord>,
    now_ms: u64,
) -> Ledger {
    let sweeps = (ledger.sweeps())
        .map(|sweep| RestoredSweep {
            name: sweep.name().clone(),
            plan: Arc::clone(sweep.plan()),
            terms: sweep.terms().clone(),
            paused: sweep.is_paused(),
            cancelled: sweep.is_cancelled(),
            grown: sweep.grown().to_vec(),
            at_limit: sweep.is_at_limit(),
            before_ms: sweep.before_ms(),
        })
        .collect();
    Ledger::restore(TTL_MS, sweeps, records.clone(), now_ms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Invariants and steps are checked by `Checked::apply`, what stale claims may do by
    /// `World::speak`, and what records keep by `World::restart`.
    #[test]
    fn no_sequence_of_commands_breaks_an_invariant(
        commands in prop::collection::vec(command(), 1..120)
    ) {
        let mut world = World { checked: Checked::tiny(2), now_ms: 0, grants: Vec::new() };
        for command in &commands {
            world.run(command);
        }
    }

    #[test]
    fn the_events_replayed_give_the_same_ledger(
        commands in prop::collection::vec(command(), 1..120)
    ) {
        let mut world = World { checked: Checked::tiny(2), now_ms: 0, grants: Vec::new() };
        for command in &commands {
            if !matches!(command, Command::Restart) {
                world.run(command);
            }
        }
        let mut replayed = Ledger::new(TTL_MS);
        for event in &world.checked.events {
            replayed.apply(event);
        }
        prop_assert_eq!(replayed, world.checked.ledger);
    }

    /// Whatever has happened, a sweep that is submitted again and has one patient worker ends.
    #[test]
    fn every_sweep_can_be_brought_to_its_end(
        commands in prop::collection::vec(command(), 1..60),
        halved in any::<bool>(),
    ) {
        let mut world = World { checked: Checked::tiny(2), now_ms: 0, grants: Vec::new() };
        for command in &commands {
            world.run(command);
        }
        let mut checked = world.checked;
        let mut now_ms = world.now_ms + 10 * TTL_MS;
        let expired = checked.ledger.expire(now_ms);
        checked.apply(expired);
        let plan = if halved { halved_plan() } else { tiny_plan(&[0], &[100, 50]) };
        checked.submit(submission("s", plan, 2));
        let done = |checked: &Checked| sweep_state(checked, "s") == SweepState::Done;
        for _ in 0..60 {
            if done(&checked) {
                break;
            }
            now_ms += 10_000;
            if let Acquired::Granted(grant) = checked.try_acquire("patient", now_ms) {
                match grant.stop_after {
                    Some(epochs) => {
                        let interim = interim(grant.claim.task, epochs);
                        let decision = checked.ledger.stop(grant.claim, interim).unwrap();
                        checked.apply(decision);
                    }
                    None => checked.complete(grant.claim),
                }
            }
        }
        prop_assert!(done(&checked));
        prop_assert!(!checked.ledger.holders.contains_key(&worker("patient")));
    }
}
