//! Rules for answers that only tell: they tell what is durable, as long as nobody has taken over.

use autorep_core::front::SweepFront;
use autorep_core::ledger::{RecordedState, TaskRecord};
use autorep_core::plan::{Plan, PlannedTask};
use autorep_proto::v1;

use super::knowledge::{Knowledge, is_done, is_readable, result};
use crate::world::World;

impl Knowledge {
    /// A worker is told that nothing runs and nothing will before a person does something.
    pub(super) fn idle(&self, world: &World) {
        for (name, row) in self
            .sweeps
            .iter()
            .filter(|(_, row)| !row.cancelled && !row.at_limit)
        {
            let plan = self.plan(name, row);
            let held_back = plan.map(|plan| plan.growth.allowances(&row.grown));
            let held_back = held_back.unwrap_or_default();
            for (place, task) in (0..).zip(plan.iter().flat_map(|plan| &plan.tasks)) {
                let record = self.durable.get(&task.id);
                let state = record.map(|record| &record.state);
                let interim = record.and_then(|record| record.interim.as_ref());
                let reached = interim.map_or(0, |interim| interim.curve.reached());
                let may_go_on = held_back.get(&place).is_none_or(|&most| reached < most);
                let runs = matches!(state, Some(RecordedState::Leased { .. }));
                let will = matches!(state, None | Some(RecordedState::Open))
                    && !row.paused
                    && may_go_on
                    && plan.is_some_and(|plan| self.can_start(plan, task));
                if runs || will {
                    let text = format!("{} of {name}: {state:?}", task.id.short());
                    return world.violate("idle is only said when nothing will run", text);
                }
            }
        }
    }

    /// Whether everything that it reads is there: its parents are done, but of a search for several
    /// budgets the committed nets can be read before.
    fn can_start(&self, plan: &Plan, task: &PlannedTask) -> bool {
        let mut parents = task.spec.inputs().into_iter();
        parents.all(|input| {
            self.durable.get(&input.task).is_some_and(|record| {
                let parent = plan.tasks.iter().find(|it| it.id == input.task);
                let early = parent.is_some_and(|it| it.spec.hands_out_early()) && !is_done(record);
                is_readable(record) || (early && record.outputs.get(&input.output).is_some())
            })
        })
    }

    /// The sweeps are told with their counts.
    pub(super) fn listed(&self, world: &World, sweeps: &[v1::SweepSummary]) {
        if sweeps.len() != self.sweeps.len() {
            let text = format!("{} sweeps, {} are durable", sweeps.len(), self.sweeps.len());
            world.violate("a list tells what is durable", text);
        }
        for summary in sweeps {
            let Some(plan) = self.plan_of(&summary.sweep) else {
                return world.violate("a list tells what is durable", &summary.sweep);
            };
            let told = summary.counts.unwrap_or_default();
            let count = |is: fn(&TaskRecord) -> bool| {
                let records = plan
                    .tasks
                    .iter()
                    .filter_map(|task| self.durable.get(&task.id));
                records.filter(|record| is(record)).count() as u64
            };
            let leased = count(|record| matches!(record.state, RecordedState::Leased { .. }));
            let gave_up = count(|record| matches!(record.state, RecordedState::GaveUp));
            if (told.done, told.leased, told.gave_up) != (count(is_done), leased, gave_up) {
                let text = format!("{}: {told:?}, {leased} are leased", summary.sweep);
                world.violate("a list tells what is durable", text);
            }
        }
    }

    /// A front is told.
    pub(super) fn front_told(&self, world: &World, sweep: &str, told: &v1::Front) {
        let Some(plan) = self.plan_of(sweep) else {
            return world.violate("a front tells what is durable", sweep);
        };
        let name = sweep.parse().expect("a sweep that exists has a name");
        let mut front = SweepFront::of(&name, plan);
        for task in &plan.tasks {
            if let Some(observation) = self.durable.get(&task.id).and_then(result) {
                front.observe(task.id, observation);
            }
        }
        if v1::Front::from(front.report()) != *told {
            let text = format!("{sweep}: {told:?}, durable is {:?}", front.report());
            world.violate("a front tells what is durable", text);
        }
    }

    fn plan_of(&self, sweep: &str) -> Option<&Plan> {
        let row = self.sweeps.get(sweep)?;
        self.plan(sweep, row).map(AsRef::as_ref)
    }
}
