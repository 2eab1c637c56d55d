//! The four kinds of tasks: what each starts from, what sets its training apart, what it makes.

pub mod baseline;
mod check;
pub mod evaluate;
pub mod finetune;
mod from_file;
pub mod in_memory;
mod inputs;
pub mod replace;

use std::path::PathBuf;
use std::time::Instant;

use autorep_core::data::{Check, DataRoot, DataSpec};
use autorep_core::net::NetSpec;
use autorep_core::recipe::{Distillation, Schedule};
use autorep_core::task::{OutputRef, TaskSpec, Work};
use tch::Device;

use crate::data::{DataPlace, Skips, Stream, Subset, load_training};
use crate::error::TrainError;
use crate::nets::Net;
use crate::ranks::Ranks;
use crate::training::{Lesson, Training};

pub use check::check_spec;

/// All that a task starts from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The task.
    pub spec: TaskSpec,
    /// Folders of its inputs, in the order of [`TaskSpec::inputs`].
    pub input_folders: Vec<PathBuf>,
    /// Where the data set lies.
    pub data: DataPlace,
    /// Where the files of weights lie that baselines start from and teachers have; `None` where
    /// nobody has said.
    pub weights: Option<DataRoot>,
    /// What the data set's files are held against.
    pub check: Check,
    /// Where to compute.
    pub device: Device,
    /// Threads that decode pictures. No result depends on their number.
    pub threads: usize,
    /// Those that work on the task together.
    pub ranks: Ranks,
    /// When the work began: reading data and calibrating are part of its cost.
    pub begun: Instant,
}

/// Whether a stage starts anew or from a checkpoint that overwrites its state: then work that
/// would be overwritten is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// From the inputs.
    Anew,
    /// From a resume checkpoint.
    Resumed,
}

impl Setup {
    /// Sets up the training stage of a `baseline`, `replace` or `finetune` task; `None` for
    /// `evaluate`, which does not train.
    pub fn training(&self, start: Start) -> Result<Option<Training>, TrainError> {
        match &self.spec.work {
            Work::Baseline { recipe } => baseline::training(self, recipe, start).map(Some),
            Work::Replace {
                baseline,
                start: from,
                budgets,
                recipe,
            } => {
                let from = from.as_ref();
                replace::training(self, baseline, from, budgets, recipe, start).map(Some)
            }
            Work::Finetune {
                start: from,
                baseline,
                budget,
                recipe,
            } => finetune::training(self, from, baseline, *budget, recipe).map(Some),
            Work::Evaluate { .. } => Ok(None),
        }
    }

    /// The training stream and the validation images.
    fn images(&self, schedule: &Schedule) -> Result<(Stream, Subset), TrainError> {
        let data: &DataSpec = &self.spec.data;
        let (images, validation) = load_training(data, &self.data, self.check)?;
        let stream = Stream {
            inputs: data.inputs(),
            images,
            seed: self.spec.seed,
            batch: schedule.batch as usize,
            share: self.ranks.share(),
            augment: data.augment,
            max_corrupt: data.max_corrupt,
            threads: self.threads,
        };
        Ok((stream, validation))
    }

    /// What the task may skip.
    const fn skips(&self) -> Skips {
        Skips::new(self.spec.data.max_corrupt)
    }

    /// The task's net with weights of zero.
    fn blank_net(&self) -> Net {
        self.blank(&self.spec.net)
    }

    /// A net for the task's images with weights of zero.
    fn blank(&self, net: &NetSpec) -> Net {
        let set = self.spec.data.name;
        self.spread(Net::blank(net, set.input(), set.classes(), self.device))
    }

    /// A net as this rank has it.
    fn spread(&self, net: Net) -> Net {
        let schedule = self.spec.work.schedule();
        net.spread(&self.ranks, schedule.is_none_or(|it| it.sync_bn))
    }

    /// What distils, with the teacher if the recipe asks for one. The input at `at` is the
    /// baseline, which teaches unless the recipe names another.
    fn lesson(
        &self,
        recipe: &Distillation,
        at: usize,
        baseline: &OutputRef,
    ) -> Result<Lesson, TrainError> {
        let teacher = match &recipe.teacher {
            _ if recipe.kd_weight == 0.0 => None,
            Some(teacher) => Some(self.net_from_file(&teacher.net, &teacher.weights)?),
            None => {
                let input = inputs::read(self, at, baseline)?;
                let teacher = self.blank_net();
                input.restore_net(&teacher)?;
                Some(teacher)
            }
        };
        Ok(Lesson::new(recipe, teacher.as_ref()))
    }
}
