//! The start of an attempt's trainers, and what they are told at it.

use std::path::PathBuf;

use autorep_core::observation::Interim;
use autorep_failpoint::{Point, reached};
use autorep_proto::v1;
use autorep_transport::trace::{self, TRACE_ONLY};
use tokio::time::Instant;
use tracing::info_span;

use super::Attempt;
use super::ending::{Verdict, failure};
use crate::causes::chain;
use crate::inputs::Inputs;
use crate::trainer_process::{Launch, SpawnError};
use crate::trainers::Trainers;

impl Attempt<'_> {
    /// Starts the trainers.
    pub(super) fn start(&mut self, inputs: &Inputs) {
        let config = &self.around.config;
        let training = info_span!(target: TRACE_ONLY, "train", device = config.device);
        let launch = Launch {
            traceparent: trace::of(&training),
            binary: config.trainer.clone(),
            library_path: config.library_path.clone(),
            folder: self.folder.checkpoints(),
            log: self.folder.log(),
        };
        match Trainers::spawn(&launch, self.start_tasks(inputs)) {
            Ok(trainer) => {
                self.trainer = Some(trainer);
                self.training = training;
                reached(Point::WorkerAfterStart);
                self.clock.training(Instant::now());
            }
            Err(error @ SpawnError::Folder { .. }) => {
                let class = v1::FailureClass::NoScratch;
                self.conclude(Verdict::Failed(failure(class, chain(&error))));
            }
            Err(error @ (SpawnError::Socket(_) | SpawnError::Process { .. })) => {
                // The task is not to blame: another worker can run it.
                self.unusable = Some(error);
                self.conclude(Verdict::Stopped(Interim::default()));
            }
        }
    }

    /// What each rank is told; one that is alone is told of no group.
    pub(super) fn start_tasks(&self, inputs: &Inputs) -> Vec<v1::StartTask> {
        let config = &self.around.config;
        let here = config.ranks_for(self.task.ranks);
        let (first, ranks) = self.group.ranks(here);
        let (host, port) = self.group.meets_at(&config.advertise);
        let of = |own: u32| v1::StartTask {
            device: config.device_of(own),
            threads: config.threads_each(here),
            group: (ranks > 1).then(|| v1::RankGroup {
                rank: first + own,
                ranks,
                host: host.clone(),
                port,
                deadline_s: u32::try_from(config.rank_deadline.as_secs()).unwrap_or(u32::MAX),
            }),
            ..self.start_task(inputs)
        };
        (0..here).map(of).collect()
    }

    fn start_task(&self, inputs: &Inputs) -> v1::StartTask {
        let config = &self.around.config;
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        v1::StartTask {
            spec: self.task.spec_json.clone(),
            input_folders: inputs.folders.iter().map(text).collect(),
            resume_folder: inputs.resume.as_ref().map(text).unwrap_or_default(),
            data_folder: config.data_root.of(self.task.spec.data.name).to_string(),
            data_cache_folder: config
                .data_cache_folder
                .as_ref()
                .map(text)
                .unwrap_or_default(),
            data_cache_bytes: config.data_cache_bytes,
            scratch_folder: text(&self.folder.checkpoints()),
            device: config.device.clone(),
            threads: config.threads,
            checkpoint_every_s: self.task.checkpoint_every_s,
            checkpoint_every_steps: self.task.checkpoint_every_steps,
            stop_after: self.task.stop_after,
            weights_place: config.data_root.weights().to_string(),
            group: None,
        }
    }
}
