//! The end of a world: once nothing fails, everything is done, once, with the right front.

use std::sync::Arc;
use std::time::Duration;

use autorep_coordinator::simulation::{fronts, states};
use autorep_core::front::SweepFront;
use autorep_core::id::Generation;
use autorep_core::ledger::SweepState;
use autorep_core::manifest;
use autorep_core::plan::Plan;
use autorep_proto::v1;
use tokio::time::sleep;

use crate::observer::observation;
use crate::person::{SWEEPS, insist, last_manifest};
use crate::profile::Budgets;
use crate::wire::{Answer, Request};
use crate::world::World;

/// Lets everything come to its end and holds it against what must be.
pub(crate) async fn bring_about(world: &Arc<World>) {
    let cancelled = world.chance.permille(200).then_some("b");
    // What a person said long ago may still be under way, and must not have the last word.
    while world.observer.orders_are_open() {
        sleep(Duration::from_secs(1)).await;
    }
    for sweep in SWEEPS {
        submit(world, sweep).await;
    }
    if let Some(sweep) = cancelled {
        let sweep = sweep.to_owned();
        insist(world, Request::Cancel(v1::CancelRequest { sweep })).await;
    }
    loop {
        sleep(Duration::from_secs(5)).await;
        let all = sweeps(world).await;
        let mut over = true;
        for sweep in &all {
            match sweep.state() {
                v1::SweepState::Done => {}
                v1::SweepState::Cancelled if cancelled == Some(sweep.sweep.as_str()) => {}
                // What failed too often before may be tried again now.
                v1::SweepState::Partial => {
                    over = false;
                    submit(world, &sweep.sweep).await;
                }
                v1::SweepState::Active
                | v1::SweepState::Paused
                | v1::SweepState::Cancelled
                | v1::SweepState::Unspecified => over = false,
            }
        }
        if over && all.len() == SWEEPS.len() {
            break;
        }
    }
    world.note("everything is done");
    check(world, cancelled).await;
}

async fn submit(world: &Arc<World>, sweep: &str) {
    let manifest = last_manifest(world, sweep);
    let request = v1::SubmitRequest {
        manifest,
        dry_run: false,
        rehearsal: None,
    };
    insist(world, Request::Submit(request)).await;
}

async fn sweeps(world: &Arc<World>) -> Vec<v1::SweepSummary> {
    let answer = insist(world, Request::List(v1::ListRequest {})).await;
    let Answer::Sweeps(sweeps) = answer else {
        world.violate("an answer fits its request", format!("{answer:?}"));
        return Vec::new();
    };
    sweeps
}

async fn check(world: &Arc<World>, cancelled: Option<&str>) {
    let rows = world.disk.rows();
    let durable = match fronts(&rows) {
        Ok(durable) => durable,
        Err(error) => return world.violate("the durable state can be read", error),
    };
    match states(&rows) {
        Ok(states) => {
            let unfinished = (states.into_iter()).filter(|(name, state)| {
                cancelled != Some(name.as_str()) && *state != SweepState::Done
            });
            for (name, state) in unfinished {
                world.violate("what is over is durably over", format!("{name}: {state:?}"));
            }
        }
        Err(error) => return world.violate("the durable state can be read", error),
    }
    for sweep in SWEEPS {
        if cancelled == Some(sweep) {
            continue;
        }
        let expected = expected_front(world, sweep);
        let request = v1::WatchFrontRequest {
            sweep: sweep.to_owned(),
            follow: false,
        };
        let answer = insist(world, Request::Front(request)).await;
        if !matches!(&answer, Answer::Front(front) if *front == expected) {
            let what = format!("{sweep}: {answer:?}, expected {expected:?}");
            world.violate("the front is the plan's", what);
        }
        let read = durable.iter().find(|front| front.sweep.as_str() == sweep);
        if read.map(|front| v1::Front::from(front.clone())) != Some(expected) {
            world.violate("the durable front is the plan's", sweep);
        }
        let plan = plan(world, sweep);
        world.observer.check_done(world, sweep, &plan);
        world.observer.check_survivors(world, sweep, &plan);
    }
    world.observer.check_finishes(world);
}

fn plan(world: &World, sweep: &str) -> Plan {
    match manifest::parse_within(&last_manifest(world, sweep), 1000) {
        Ok(manifest) => Plan::expand(&manifest),
        Err(problems) => {
            world.violate("the person's manifests are right", format!("{problems:?}"));
            Plan::default()
        }
    }
}

/// The front as it is if every task is done once, computed from the plan alone.
fn expected_front(world: &World, sweep: &str) -> v1::Front {
    let plan = plan(world, sweep);
    let name = sweep.parse().expect("the names are right");
    let mut front = SweepFront::of(&name, &plan);
    // Backwards: the order must not matter.
    let sweeps = &world.profile.sweeps;
    let all_is_run = !sweeps.halving
        && !sweeps.adaptive
        && sweeps.budgets == Budgets::Listed
        && sweeps.limit_ms == 0;
    if all_is_run {
        for task in plan.tasks.iter().rev() {
            front.observe(task.id, &observation(&task.spec, Generation(1)));
        }
    } else {
        // Which searches went to the end, and what was added, hangs on who was idle when.
        for (task, observation) in world.observer.results(&plan).iter().rev() {
            front.observe(*task, observation);
        }
    }
    front.report().into()
}
