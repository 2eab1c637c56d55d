//! Works on one task from its message to its outcome.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use autorep_core::data::{Check, DataRoot, UNVERIFIED_ENV};
use autorep_core::task::{TaskSpec, Work};
use autorep_data::CacheSettings;
use autorep_proto::v1;
use autorep_proto::v1::trainer_event::Event;

use crate::data::{DataPlace, Share};
use crate::device;
use crate::error::TrainError;
use crate::host::{Host, Outcome};
use crate::methods::{Setup, Start, check_spec, evaluate::evaluate};
use crate::ranks::{Meeting, Place, Ranks};
use crate::train_loop::{self, Checkpoints};

/// Works on the task, reporting to `host`.
///
/// Tensor operations panic when libtorch refuses them, which after the checks here means that
/// memory ran out or that there is a bug; see [`crate::error::is_out_of_memory`].
pub fn work(start: &v1::StartTask, host: &mut dyn Host) -> Result<Outcome, TrainError> {
    let begun = Instant::now();
    let spec: TaskSpec = serde_json::from_slice(&start.spec)
        .map_err(|error| TrainError::Spec(format!("expected a task's spec as JSON: {error}")))?;
    check_spec(&spec)?;
    // Before anything else that concerns libtorch, see `crate::cuda`.
    let device = device::open(&start.device)?;
    device::check_precision(&spec.work, device)?;
    if let Ok(threads @ 1..) = i32::try_from(start.threads) {
        tch::set_num_threads(threads);
    }
    let ranks = match &start.group {
        None => Ranks::alone(),
        Some(group) => come_together(group, &spec, device, host)?,
    };
    let setup = Setup {
        ranks,
        spec,
        input_folders: start.input_folders.iter().map(PathBuf::from).collect(),
        data: data_place(start)?,
        weights: weights_place(start)?,
        check: data_check(),
        device,
        threads: decoding_threads(start.threads),
        begun,
    };
    if let Work::Evaluate { subject, budget } = &setup.spec.work {
        return evaluate(&setup, subject, *budget).map(Outcome::Done);
    }
    let (how, resume) = match start.resume_folder.as_str() {
        "" => (Start::Anew, None),
        folder => (Start::Resumed, Some(PathBuf::from(folder))),
    };
    let Some(mut training) = setup.training(how)? else {
        return Err(TrainError::Spec("expected a task that trains".to_owned()));
    };
    if let Some(folder) = resume {
        training
            .resume(&folder)
            .map_err(TrainError::BadCheckpoint)?;
    }
    let every = u64::from(start.checkpoint_every_s);
    let checkpoints = Checkpoints {
        scratch: PathBuf::from(&start.scratch_folder),
        every: (every > 0).then(|| Duration::from_secs(every)),
        every_steps: std::num::NonZeroU64::new(start.checkpoint_every_steps.into()),
        stop_after: start.stop_after,
    };
    train_loop::run(&mut training, &checkpoints, host)
}

/// Waits until all ranks of the group are there.
fn come_together(
    group: &v1::RankGroup,
    spec: &TaskSpec,
    device: tch::Device,
    host: &mut dyn Host,
) -> Result<Ranks, TrainError> {
    let told = |error: String| TrainError::Spec(format!("the group of ranks: {error}"));
    let share = Share::new(group.rank, group.ranks).map_err(|error| told(error.to_string()))?;
    if let Some(schedule) = spec.work.schedule()
        && schedule.batch < share.ranks()
        && schedule.epochs > 0
    {
        return Err(told(format!(
            "expected at least one image of every batch for each rank, found batches of {} images for {} ranks; use fewer ranks (--ranks), or larger batches",
            schedule.batch,
            share.ranks()
        )));
    }
    let port = u16::try_from(group.port);
    let port = port.map_err(|_too_large| told(format!("no port is {}", group.port)))?;
    let meeting = Meeting::start(Place {
        share,
        host: group.host.clone(),
        port,
        deadline: Duration::from_secs(group.deadline_s.into()),
    })?;
    if share.rank() == 0 {
        let port = meeting.port().into();
        host.report(Event::Meeting(v1::Meeting { port }))?;
    }
    Ok(meeting.complete(device)?)
}

fn weights_place(start: &v1::StartTask) -> Result<Option<DataRoot>, TrainError> {
    if start.weights_place.is_empty() {
        return Ok(None);
    }
    place(&start.weights_place).map(Some)
}

fn place(text: &str) -> Result<DataRoot, TrainError> {
    DataRoot::parse(text).map_err(|error| TrainError::Spec(error.to_string()))
}

fn data_place(start: &v1::StartTask) -> Result<DataPlace, TrainError> {
    let root = place(&start.data_folder)?;
    let cache = (!start.data_cache_folder.is_empty()).then(|| CacheSettings {
        folder: PathBuf::from(&start.data_cache_folder),
        bytes: start.data_cache_bytes,
    });
    Ok(DataPlace { root, cache })
}

/// Threads that decode pictures: as many as the task may use, by default all of the machine, but
/// not so many that the batches in their hands take much memory.
fn decoding_threads(asked: u32) -> usize {
    const MOST: usize = 16;
    let asked = usize::try_from(asked).unwrap_or(MOST);
    let threads = match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    };
    threads.min(MOST)
}

/// What the environment asks the data to be held against; anything but the published data is said
/// on stderr.
fn data_check() -> Check {
    let asked = std::env::var(UNVERIFIED_ENV).ok();
    let check = Check::from_env_value(asked.as_deref());
    if check != Check::Published {
        let warning = "the data set is not verified: results are not results on the published one";
        let _unheard = writeln!(std::io::stderr(), "{UNVERIFIED_ENV} is set: {warning}");
    }
    check
}
