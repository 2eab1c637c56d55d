//! `autorep run`: a coordinator and workers on this machine, from a manifest to its front.
//!
//! The coordinator serves in this process, exactly as the daemon does; workers are child
//! processes that know it by its address. Nothing here decides anything about tasks.

pub mod equipment;
pub mod report;
pub mod workers;

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use autorep_coordinator::Door;
use autorep_core::front::FrontReport;
use autorep_proto::v1;
use autorep_transport::{Caller, Credentials, Role, Secret, TokenSource, Tokens};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::RunArgs;
use crate::exit::Exit;
use crate::lab::address::Target;
use crate::lab::{self, Lab};
use crate::lock::StoreLock;
use crate::logging::Logs;
use crate::manifest_file::{self, ManifestFile};
use crate::progress::{Look, Reporter};
use crate::signal::StopSignals;
use crate::store;
use crate::traces;
use equipment::Equipment;
use workers::{Fleet, WorkerCommand};

/// Between two looks at the sweep.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the coordinator may take to write what it has when everything ends.
const COORDINATOR_GRACE: Duration = Duration::from_secs(20);

/// Where workers keep files in flight, in the store's folder: whatever is there when a run
/// starts was left by a run that was killed.
const SCRATCH: &str = "scratch";

/// Runs a sweep to its front.
pub fn run(args: &RunArgs) -> Result<Exit> {
    let begun = Instant::now();
    let Some(file) = manifest_file::read(&args.manifest)? else {
        return Ok(Exit::Usage);
    };
    let reporter = Reporter::beside(file.manifest.name.as_str());
    Logs::for_a_person().init(reporter.log_writer());
    traces::traced("run", || run_file(args, file, begun, reporter))
}

/// Runs a sweep to its front, once its manifest is read and whoever watches can be told.
fn run_file(
    args: &RunArgs,
    file: ManifestFile,
    begun: Instant,
    mut reporter: Reporter,
) -> Result<Exit> {
    let equipment = Equipment::find(args, &file.manifest);
    if !args.store.exists() {
        // With an empty store there is work to do: do not even make the folder.
        equipment.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    }
    let _lock = StoreLock::take(&args.store)?;
    clear_scratch(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    let session = Session { args, file, begun };
    let exit = runtime.block_on(session.run(equipment, &mut reporter));
    reporter.close();
    runtime.shutdown_timeout(Duration::from_secs(2));
    clear_scratch(args)?;
    exit
}

fn clear_scratch(args: &RunArgs) -> Result<()> {
    let scratch = args.store.join(SCRATCH);
    match fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("clear {}", scratch.display()))
        }
        _ => Ok(()),
    }
}

/// One `autorep run`.
struct Session<'a> {
    args: &'a RunArgs,
    file: ManifestFile,
    begun: Instant,
}

/// How the watching ended.
enum End {
    /// Nothing is left to do.
    Over(Box<v1::ShowResponse>),
    /// A signal asked to stop.
    Interrupted,
}

impl Session<'_> {
    async fn run(&self, equipment: Result<Equipment>, reporter: &mut Reporter) -> Result<Exit> {
        let mut signals = StopSignals::listen().context("take over the stop signals")?;
        let mut coordinator = Coordinator::start(self.args).await?;
        let ended = self
            .with_coordinator(&mut coordinator, equipment, &mut signals, reporter)
            .await;
        // If the coordinator failed, that is why the rest did.
        coordinator.stop().await?;
        ended
    }

    async fn with_coordinator(
        &self,
        coordinator: &mut Coordinator,
        equipment: Result<Equipment>,
        signals: &mut StopSignals,
        reporter: &mut Reporter,
    ) -> Result<Exit> {
        let mut lab = lab::connect(&coordinator.target()).await?;
        if equipment.is_err() && !self.is_done(&mut lab).await? {
            // The sweep of this name keeps its plan: this one cannot be worked on here.
            equipment.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        }
        self.submit(&mut lab, false).await?;
        let before = self.look(&mut lab).await?;
        let mut workers = 0;
        let end = if is_over(&before) {
            End::Over(Box::new(before.clone()))
        } else {
            let equipment = equipment?;
            workers = equipment.slots.len();
            self.pause_other_sweeps(&mut lab, reporter).await?;
            let command = self.worker_command(coordinator, &equipment)?;
            let mut fleet = Fleet::start(&command, equipment.slots);
            let end = tokio::select! {
                end = self.watch(&mut lab, &mut fleet, reporter) => end,
                () = signals.next() => Ok(End::Interrupted),
                error = coordinator.failed() => Err(error),
            };
            match &end {
                Ok(End::Interrupted) => reporter.line(
                    "stopping: workers store their checkpoints (Ctrl-C again to stop at once)",
                ),
                Ok(End::Over(_)) => {}
                // Without a coordinator there is nobody to give leases back to.
                Err(_) => fleet.kill(),
            }
            wind_up(&mut fleet, signals, reporter).await;
            end?
        };
        let show = match end {
            End::Interrupted => {
                reporter.close();
                reporter.line(if self.file.is_rehearsal() {
                    "stopped; the same command begins another rehearsal"
                } else {
                    "stopped; what was done is kept, and the same command goes on from there"
                });
                return Ok(Exit::Interrupted);
            }
            End::Over(show) => show,
        };
        let front = lab::front(&mut lab, self.name()).await?;
        if workers > 0 {
            tidy_up(&mut lab).await;
        }
        reporter.close();
        let outcome = report::Outcome {
            show: &show,
            front: &front,
            wall: self.begun.elapsed(),
            trained_seconds: show.trained_seconds - before.trained_seconds,
            workers,
        };
        let exit = outcome.write(&self.args.store)?;
        if self.file.is_rehearsal() && exit == Exit::Done {
            reporter.line("rehearsal: every stage ran to its end; its accuracies mean nothing");
        }
        Ok(exit)
    }

    async fn submit(&self, lab: &mut Lab, dry_run: bool) -> Result<v1::SubmitResponse> {
        let answer = lab.submit(self.file.submission(dry_run)).await;
        Ok(answer.map_err(|status| lab::refused(&status))?.into_inner())
    }

    /// Whether every result of the plan is in the store.
    async fn is_done(&self, lab: &mut Lab) -> Result<bool> {
        let would_be = self.submit(lab, true).await?;
        Ok(would_be.done == would_be.tasks)
    }

    /// Leaves the store's other sweeps alone: their tasks would come first, unseen, and may need
    /// a data set that is not here.
    async fn pause_other_sweeps(&self, lab: &mut Lab, reporter: &mut Reporter) -> Result<()> {
        let answer = lab.list(v1::ListRequest {}).await;
        let listed = answer.map_err(|status| lab::refused(&status))?.into_inner();
        for summary in listed.sweeps {
            if summary.sweep == self.name() || summary.state() != v1::SweepState::Active {
                continue;
            }
            let sweep = summary.sweep.clone();
            let answer = lab.pause(v1::PauseRequest { sweep }).await;
            answer.map_err(|status| lab::refused(&status))?;
            reporter.line(&format!(
                "paused the unfinished sweep {} of this store; `autorep run` its manifest to go on",
                summary.sweep
            ));
        }
        Ok(())
    }

    fn name(&self) -> &str {
        self.file.manifest.name.as_str()
    }

    fn worker_command(
        &self,
        coordinator: &Coordinator,
        equipment: &Equipment,
    ) -> Result<WorkerCommand> {
        let store = std::path::absolute(&self.args.store)?;
        Ok(WorkerCommand {
            program: std::env::current_exe().context("find this program's own file")?,
            coordinator: coordinator.url.clone(),
            token: coordinator.workers.clone(),
            scratch: store.join(SCRATCH),
            store,
            data: equipment.data.clone(),
            data_cache_folder: std::path::absolute(self.args.cache.folder())?,
            data_cache_bytes: self.args.cache.data_cache,
            trainer: equipment.trainer.clone(),
            torch_lib: self.args.trainer.torch_lib.clone(),
            ranks: equipment.ranks,
            offer_gpus: equipment.offer_gpus,
            threads: equipment.threads,
            labels: self.args.labels.clone(),
        })
    }

    async fn look(&self, lab: &mut Lab) -> Result<v1::ShowResponse> {
        let request = v1::ShowRequest {
            sweep: self.name().to_owned(),
        };
        let answer = lab.show(request).await;
        Ok(answer.map_err(|status| lab::refused(&status))?.into_inner())
    }

    /// Shows the sweep until nothing is left to do.
    async fn watch(
        &self,
        lab: &mut Lab,
        fleet: &mut Fleet,
        reporter: &mut Reporter,
    ) -> Result<End> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut points = FrontPoints::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let show = self.look(lab).await?;
                    let front_points = points.count(lab, self.name(), &show).await?;
                    let over = is_over(&show);
                    let look = Look { show, front_points, elapsed: self.begun.elapsed() };
                    reporter.show(&look);
                    if over {
                        return Ok(End::Over(Box::new(look.show)));
                    }
                }
                event = fleet.event() => reporter.line(&event?),
            }
        }
    }
}

/// How many points the front has, asked anew only when a task is done.
#[derive(Default)]
struct FrontPoints {
    done: Option<u64>,
    points: usize,
}

impl FrontPoints {
    async fn count(
        &mut self,
        lab: &mut Lab,
        sweep: &str,
        show: &v1::ShowResponse,
    ) -> Result<usize> {
        let done = show
            .summary
            .as_ref()
            .and_then(|it| it.counts)
            .map(|it| it.done);
        if done != self.done {
            self.points = on_front(&lab::front(lab, sweep).await?);
            self.done = done;
        }
        Ok(self.points)
    }
}

fn on_front(front: &FrontReport) -> usize {
    front.rows.iter().filter(|row| row.on_front).count()
}

fn state(show: &v1::ShowResponse) -> v1::SweepState {
    let state = show.summary.as_ref().map(v1::SweepSummary::state);
    state.unwrap_or_default()
}

/// Whether nothing is left to run.
fn is_over(show: &v1::ShowResponse) -> bool {
    match state(show) {
        v1::SweepState::Done | v1::SweepState::Partial | v1::SweepState::Cancelled => true,
        v1::SweepState::Active | v1::SweepState::Paused | v1::SweepState::Unspecified => false,
    }
}

/// How long a run may take at its end for what nobody waits for.
const TIDY_WITHIN: Duration = Duration::from_secs(10);

/// Deletes the checkpoints that training went on from: the coordinator would only do so some time
/// later, and it ends now. The workers are gone, so nobody reads any.
async fn tidy_up(lab: &mut Lab) {
    let request = v1::CollectGarbageRequest {
        dry_run: false,
        min_age_ms: Some(0),
    };
    let collected = async {
        let mut told = lab.collect_garbage(request).await?.into_inner();
        while told.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    match tokio::time::timeout(TIDY_WITHIN, collected).await {
        Ok(Ok(())) => {}
        Ok(Err(status)) => {
            tracing::warn!(%status, "checkpoints that nothing needs any more are left in the store");
        }
        Err(_elapsed) => {
            tracing::warn!(
                "checkpoints that nothing needs any more are left in the store: listing it takes too long"
            );
        }
    }
}

/// Ends the workers: kindly, unless a signal comes while they take their time.
async fn wind_up(fleet: &mut Fleet, signals: &mut StopSignals, reporter: &mut Reporter) {
    fleet.stop();
    loop {
        tokio::select! {
            line = fleet.ended() => match line {
                Some(line) => reporter.line(&line),
                None => return,
            },
            () = signals.next() => fleet.kill(),
        }
    }
}

/// The coordinator in this process.
struct Coordinator {
    url: String,
    /// By which it knows its workers.
    workers: Secret,
    /// By which it knows this process.
    admin: Secret,
    shutdown: CancellationToken,
    /// Absent once its end is known.
    serving: Option<JoinHandle<Result<(), autorep_coordinator::RunError>>>,
}

impl Coordinator {
    async fn start(args: &RunArgs) -> Result<Self> {
        let store = store::open_folder(&args.store)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("open a port on 127.0.0.1 for the coordinator")?;
        let url = format!("http://{}", listener.local_addr()?);
        let shutdown = CancellationToken::new();
        // Loopback is every user's of this machine; the sweeps are not.
        let (workers, admin) = (Secret::generate()?, Secret::generate()?);
        let caller = |role: Role| Caller {
            name: role.name().to_owned(),
            role,
        };
        let tokens = Tokens::single(&workers, caller(Role::Worker))
            .and(Tokens::single(&admin, caller(Role::Admin)));
        let door = Door {
            listener,
            tls: None,
            tokens: Some(tokens.into()),
        };
        let serving = tokio::spawn(autorep_coordinator::run(
            autorep_coordinator::Config::one_machine(),
            store,
            door,
            shutdown.clone(),
        ));
        Ok(Self {
            url,
            workers,
            admin,
            shutdown,
            serving: Some(serving),
        })
    }

    /// How this process talks to it.
    fn target(&self) -> Target {
        Target {
            url: self.url.clone(),
            credentials: Credentials {
                token: Some(TokenSource::Given(self.admin.clone())),
                ..Credentials::default()
            },
        }
    }

    /// Waits for an end that nobody asked for. Cancel-safe.
    async fn failed(&mut self) -> anyhow::Error {
        let Some(serving) = &mut self.serving else {
            return std::future::pending().await;
        };
        let ended = serving.await;
        self.serving = None;
        match ended {
            Ok(Ok(())) => anyhow!("expected the coordinator to serve, found that it ended"),
            Ok(Err(error)) => anyhow::Error::new(error).context("serve the sweep"),
            Err(error) => anyhow::Error::new(error).context("serve the sweep"),
        }
    }

    /// Makes everything durable and ends. An error is the coordinator's own, unless it has been
    /// handed out already.
    async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        let Some(serving) = self.serving.take() else {
            return Ok(());
        };
        match tokio::time::timeout(COORDINATOR_GRACE, serving).await {
            Ok(ended) => ended.context("serve the sweep")?.context("serve the sweep"),
            Err(_) => bail!(
                "expected the coordinator to stop in {} s, found it still at work",
                COORDINATOR_GRACE.as_secs()
            ),
        }
    }
}
