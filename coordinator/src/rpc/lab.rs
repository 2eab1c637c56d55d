//! The service for people.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use autorep_core::front::FrontReport;
use autorep_core::id::{Generation, OwnerName, SweepName};
use autorep_core::manifest::{self, Manifest, Rehearsal};
use autorep_core::plan::{Plan, PlanSummary};
use autorep_proto::convert::BadMessage;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::lab_server::Lab;
use autorep_transport::trace;
use futures::{Stream, StreamExt as _, stream};
use object_store::ObjectStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::who::Who;
use super::{beginning_of, guard, logs};
use crate::ask::{Ask, Desk, NewSweep, gone, overloaded};
use crate::config::Config;
use crate::garbage::Collection;
use crate::measure::Limit;

/// Plans that are expanded at the same time: each may take a gigabyte.
const EXPANSIONS: usize = 1;

/// Manifests that wait for that: each may be a megabyte.
const MANIFESTS: usize = 64;

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone, Debug)]
pub(crate) struct LabService {
    desk: Desk,
    config: Config,
    store: Arc<dyn ObjectStore>,
    shutdown: CancellationToken,
    expansions: Arc<Semaphore>,
    manifests: Arc<Semaphore>,
    collections: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl LabService {
    pub(crate) fn new(
        desk: Desk,
        config: Config,
        store: Arc<dyn ObjectStore>,
        shutdown: CancellationToken,
    ) -> Self {
        let streams = config.max_streams.min(Semaphore::MAX_PERMITS);
        Self {
            desk,
            config,
            store,
            shutdown,
            expansions: Arc::new(Semaphore::new(EXPANSIONS)),
            manifests: Arc::new(Semaphore::new(MANIFESTS)),
            collections: Arc::new(Semaphore::new(1)),
            streams: Arc::new(Semaphore::new(streams)),
        }
    }

    /// Reads and expands a manifest where it holds nobody up, and makes of it what is wanted.
    async fn expand<T: Send + 'static>(
        &self,
        text: String,
        rehearsal: Option<v1::Rehearsal>,
        finish: impl FnOnce(Manifest, Plan) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        check_length(&text, self.config.max_manifest_bytes)?;
        let waiting = Arc::clone(&self.manifests).try_acquire_owned();
        let _waiting = waiting.map_err(|_full| overloaded(Limit::Manifests))?;
        let task_limit = self.config.max_plan_tasks;
        let turn = Arc::clone(&self.expansions).acquire_owned().await;
        let turn = turn.map_err(|_closed| gone())?;
        let expanded = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let (manifest, plan) = expanded(&text, rehearsal, task_limit)?;
            finish(manifest, plan)
        });
        expanded
            .await
            .unwrap_or_else(|error| Err(Refusal::Internal(format!("expand the manifest: {error}"))))
    }
}

impl LabService {
    /// Counts one more stream, for as long as what is returned lives.
    fn stream(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let streams = Arc::clone(&self.streams);
        (streams.try_acquire_owned()).map_err(|_full| overloaded(Limit::Streams))
    }

    /// The way to the sweeps that a call may reach.
    fn desk_of<T>(&self, request: &Request<T>) -> Desk {
        self.desk.for_owner(guard::owner_of(request))
    }

    /// As `submit`, but for the thread that expands: no simulation can tell when that one is done.
    #[cfg(feature = "simulation")]
    pub(crate) async fn submit_here(
        &self,
        request: v1::SubmitRequest,
    ) -> Result<v1::SubmitResponse, Refusal> {
        let v1::SubmitRequest {
            manifest,
            dry_run,
            rehearsal,
        } = request;
        check_length(&manifest, self.config.max_manifest_bytes)?;
        let (manifest, plan) = expanded(&manifest, rehearsal, self.config.max_plan_tasks)?;
        submit_expanded(
            &self.desk,
            new_sweep(manifest, plan, String::new()),
            dry_run,
        )
        .await
    }
}

async fn pause(
    desk: &Desk,
    who: &Who,
    method: &'static str,
    sweep: SweepName,
    paused: bool,
) -> Result<(), Refusal> {
    let name = sweep.clone();
    let pausing = desk.ask(|reply| Ask::Pause {
        sweep,
        paused,
        reply,
    });
    who.change(method, name, pausing).await
}

async fn submit_expanded(
    desk: &Desk,
    sweep: Box<NewSweep>,
    dry_run: bool,
) -> Result<v1::SubmitResponse, Refusal> {
    let name = sweep.manifest.name.to_string();
    let submitted = desk.ask(|reply| Ask::Submit {
        sweep,
        dry_run,
        reply,
    });
    let submitted = submitted.await?;
    Ok(v1::SubmitResponse {
        sweep: name,
        tasks: submitted.answer.tasks,
        done: submitted.answer.done,
        notes: submitted.notes,
    })
}

/// What a manifest says that names no owner, from somebody who submits for one.
fn owned_by(mut manifest: Manifest, owner: Option<OwnerName>) -> Manifest {
    if let Some(owner) = owner
        && manifest.owner == OwnerName::default()
    {
        manifest.owner = owner;
    }
    manifest
}

fn check_length(text: &str, limit: usize) -> Result<(), Refusal> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(Refusal::BadRequest(format!(
        "expected a manifest of at most {limit} bytes, found {}",
        text.len()
    )))
}

fn expanded(
    text: &str,
    rehearsal: Option<v1::Rehearsal>,
    task_limit: u64,
) -> Result<(Manifest, Plan), Refusal> {
    let rehearsal = rehearsal.map(Rehearsal::try_from).transpose()?;
    let manifest = manifest::parse_within(text, task_limit).map_err(|problems| {
        Refusal::ManifestProblems(manifest::render(&problems, "manifest", text))
    })?;
    let manifest = match rehearsal {
        Some(rehearsal) => rehearsal.of(manifest),
        None => manifest,
    };
    let plan = Plan::expand(&manifest);
    Ok((manifest, plan))
}

fn new_sweep(manifest: Manifest, plan: Plan, trace: String) -> Box<NewSweep> {
    let digest = plan.digest();
    Box::new(NewSweep {
        manifest,
        plan: Arc::new(plan),
        digest,
        trace,
    })
}

#[tonic::async_trait]
impl Lab for LabService {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let (desk, who) = (self.desk_of(&request), Who::of(&request));
        let v1::SubmitRequest {
            manifest,
            dry_run,
            rehearsal,
        } = request.into_inner();
        let owner = desk.owner().cloned();
        let trace = trace::current();
        let sweep = self
            .expand(manifest, rehearsal, |manifest, plan| {
                Ok(new_sweep(owned_by(manifest, owner), plan, trace))
            })
            .await?;
        let name = sweep.manifest.name.clone();
        let submitting = submit_expanded(&desk, sweep, dry_run);
        Ok(Response::new(if dry_run {
            submitting.await?
        } else {
            who.change("Submit", name, submitting).await?
        }))
    }

    async fn plan(
        &self,
        request: Request<v1::PlanRequest>,
    ) -> Result<Response<v1::PlanResponse>, Status> {
        let v1::PlanRequest {
            manifest,
            rehearsal,
        } = request.into_inner();
        let plan_json = self
            .expand(manifest, rehearsal, |manifest, plan| {
                let summary = PlanSummary::new(&manifest, &plan);
                let text = serde_json::to_string_pretty(&summary);
                text.map(|text| text + "\n")
                    .map_err(|error| Refusal::Internal(format!("write the plan as JSON: {error}")))
            })
            .await?;
        Ok(Response::new(v1::PlanResponse { plan_json }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let desk = self.desk_of(&request);
        let sweeps = desk.ask(|reply| Ask::List { reply }).await?;
        Ok(Response::new(v1::ListResponse { sweeps }))
    }

    async fn show(
        &self,
        request: Request<v1::ShowRequest>,
    ) -> Result<Response<v1::ShowResponse>, Status> {
        let desk = self.desk_of(&request);
        let sweep = sweep_name("ShowRequest.sweep", &request.into_inner().sweep)?;
        let shown = desk.ask(|reply| Ask::Show { sweep, reply }).await?;
        Ok(Response::new(shown))
    }

    type WatchFrontStream = Answers<v1::Front>;

    async fn watch_front(
        &self,
        request: Request<v1::WatchFrontRequest>,
    ) -> Result<Response<Self::WatchFrontStream>, Status> {
        let desk = self.desk_of(&request);
        let v1::WatchFrontRequest { sweep, follow } = request.into_inner();
        let sweep = sweep_name("WatchFrontRequest.sweep", &sweep)?;
        let counted = self.stream()?;
        let reports = desk.ask(|reply| Ask::Watch { sweep, reply }).await?;
        let front = |report: Arc<FrontReport>| Ok(v1::Front::from((*report).clone()));
        Ok(Response::new(if follow {
            let stop = self.shutdown.clone().cancelled_owned();
            let fronts = WatchStream::new(reports).map(move |report| {
                let _counted = &counted;
                front(report)
            });
            Box::pin(fronts.take_until(stop))
        } else {
            let now = Arc::clone(&reports.borrow());
            Box::pin(stream::iter([front(now)]))
        }))
    }

    type LogsStream = Answers<v1::LogChunk>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let desk = self.desk_of(&request);
        let v1::LogsRequest {
            task,
            follow,
            generation,
            offset,
        } = request.into_inner();
        let wanted = logs::Request {
            prefix: task_prefix("LogsRequest.task", task)?,
            follow,
            begin: (generation > 0).then_some(logs::Position {
                generation: Generation(generation),
                offset,
            }),
        };
        let store = Arc::clone(&self.store);
        let counted = self.stream()?;
        let logs = logs::open(desk, store, wanted, self.shutdown.clone()).await?;
        Ok(Response::new(Box::pin(logs.inspect(move |_| {
            let _counted = &counted;
        }))))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseRequest>,
    ) -> Result<Response<v1::PauseResponse>, Status> {
        let (desk, who) = (self.desk_of(&request), Who::of(&request));
        let sweep = sweep_name("PauseRequest.sweep", &request.into_inner().sweep)?;
        pause(&desk, &who, "Pause", sweep, true).await?;
        Ok(Response::new(v1::PauseResponse {}))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        let (desk, who) = (self.desk_of(&request), Who::of(&request));
        let sweep = sweep_name("ResumeRequest.sweep", &request.into_inner().sweep)?;
        pause(&desk, &who, "Resume", sweep, false).await?;
        Ok(Response::new(v1::ResumeResponse {}))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let (desk, who) = (self.desk_of(&request), Who::of(&request));
        let sweep = sweep_name("CancelRequest.sweep", &request.into_inner().sweep)?;
        let name = sweep.clone();
        let cancelling = desk.ask(|reply| Ask::Cancel { sweep, reply });
        who.change("Cancel", name, cancelling).await?;
        Ok(Response::new(v1::CancelResponse {}))
    }

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        let (desk, who) = (self.desk_of(&request), Who::of(&request));
        let sweep = sweep_name("CheckpointRequest.sweep", &request.into_inner().sweep)?;
        let name = sweep.clone();
        let asking = desk.ask(|reply| Ask::Checkpoint { sweep, reply });
        let tasks = who.change("Checkpoint", name, asking).await?;
        Ok(Response::new(v1::CheckpointResponse { tasks }))
    }

    async fn pin(
        &self,
        request: Request<v1::PinRequest>,
    ) -> Result<Response<v1::PinResponse>, Status> {
        let (desk, who) = (self.desk_of(&request), Who::of(&request));
        let v1::PinRequest { task, pinned } = request.into_inner();
        let prefix = task_prefix("PinRequest.task", task)?;
        let method = if pinned { "Pin" } else { "Pin (no more)" };
        let about = prefix.clone();
        let pinning = desk.ask(|reply| Ask::Pin {
            prefix,
            pinned,
            reply,
        });
        let task = who.change(method, about, pinning).await?;
        Ok(Response::new(v1::PinResponse {
            task: task.to_string(),
        }))
    }

    type CollectGarbageStream = Answers<v1::CollectGarbageResponse>;

    async fn collect_garbage(
        &self,
        request: Request<v1::CollectGarbageRequest>,
    ) -> Result<Response<Self::CollectGarbageStream>, Status> {
        let who = Who::of(&request);
        let v1::CollectGarbageRequest {
            dry_run,
            min_age_ms,
        } = request.into_inner();
        let min_age = min_age_ms.map_or(self.config.gc_min_age, Duration::from_millis);
        let collection = Collection {
            desk: self.desk.clone(),
            store: Arc::clone(&self.store),
            min_age,
            dry_run,
        };
        let begun = async {
            let turn = (self.collections.clone().try_acquire_owned())
                .map_err(|_busy| Refusal::NotReady("checkpoints are being collected already; wait for that to end, it deletes the same".into()))?;
            Ok((turn, collection.start().await?))
        };
        let (turn, dead) = if dry_run {
            begun.await?
        } else {
            let about = format!("checkpoints older than {} s", min_age.as_secs());
            who.change("CollectGarbage", about, begun).await?
        };
        let stop = self.shutdown.clone().cancelled_owned();
        let told = dead.map(move |dead| {
            let _turn = &turn;
            let dead = dead.map_err(|error| {
                Status::from(Refusal::Unavailable(format!(
                    "collect checkpoints: {error}"
                )))
            })?;
            Ok(v1::CollectGarbageResponse {
                folder: dead.place.folder(),
                objects: dead.objects,
                bytes: dead.bytes,
                reason: dead.reason.to_owned(),
            })
        });
        Ok(Response::new(Box::pin(told.take_until(stop))))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let desk = self.desk_of(&request);
        let workers = desk.ask(|reply| Ask::Workers { reply }).await?;
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }
}

/// A beginning of a task's id.
fn task_prefix(field: &'static str, task: String) -> Result<String, BadMessage> {
    let fits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if (1..=64).contains(&task.len()) && task.bytes().all(fits) {
        return Ok(task);
    }
    let found = format!("{:?}", beginning_of(&task, 64));
    Err(BadMessage::new(field, "1 to 64 hexadecimal digits", found))
}

fn sweep_name(field: &'static str, text: &str) -> Result<SweepName, BadMessage> {
    text.parse().map_err(|_not_a_name| {
        let found = format!("{:?}", beginning_of(text, 64));
        BadMessage::new(field, "a sweep's name", found)
    })
}
