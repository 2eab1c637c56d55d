//! Workers as `autorep-worker` behaves towards the coordinator and the store; their training is
//! made up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use autorep_proto::status::Refusal;
use autorep_proto::{PROTOCOL_VERSION, v1};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::attempt;
use crate::network::call;
use crate::profile::Groups;
use crate::wire::{Answer, Request};
use crate::world::{World, spawn};

/// How long one request for a task waits.
const ACQUIRE_WAIT_MS: u64 = 10_000;

/// How long an answer may take that waits for nothing but the store.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// An empty answer sooner than this slows the worker down.
const TOO_SOON_MS: u64 = 500;

/// The name of a machine.
pub(crate) fn machine(number: u64) -> String {
    format!("w{number}")
}

/// A worker's process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) world: Arc<World>,
    /// Where it runs: what the network knows.
    pub(crate) machine: String,
    /// What the coordinator knows.
    pub(crate) name: String,
    /// When it started, by its machine's clock.
    pub(crate) started_unix_ns: u64,
    /// Thousandths: how fast its clock runs.
    pub(crate) clock: u64,
    /// How many times as long as it should it believes in its lease.
    pub(crate) trust: u32,
    /// Milliseconds of the world until which nothing of it runs.
    frozen_until: AtomicU64,
    /// Told to stop in an orderly way.
    pub(crate) shutdown: CancellationToken,
    /// Killed.
    pub(crate) killed: CancellationToken,
    pub(crate) is_zombie: AtomicBool,
}

/// What a worker agrees to when it registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) lease_ttl: Duration,
    pub(crate) renew_every: Duration,
}

/// Worker processes of one machine, one after the other.
pub(crate) async fn live(world: Arc<World>, number: u64) {
    let machine = machine(number);
    let mut name = machine.clone();
    for process in 1_u64.. {
        let worker = Arc::new(Worker {
            world: Arc::clone(&world),
            machine: machine.clone(),
            name: name.clone(),
            started_unix_ns: (1 + world.now_ms()) * 1_000_000,
            clock: if world.fault(world.profile.skewed) {
                world.chance.within(333, 3000)
            } else {
                1000
            },
            trust: if world.fault(world.profile.trusting) {
                10
            } else {
                1
            },
            frozen_until: AtomicU64::new(0),
            shutdown: CancellationToken::new(),
            killed: CancellationToken::new(),
            is_zombie: AtomicBool::new(false),
        });
        world.note(format_args!("worker {name}: process {process} starts"));
        let loses_one = number == 0 && world.profile.groups != Groups::None && !world.is_calm();
        if !loses_one {
            one_life(&worker).await;
        } else if world
            .calmed
            .run_until_cancelled(one_life(&worker))
            .await
            .is_none()
        {
            // Once nothing fails any more, nobody hides that a worker of a group was lost: it does not
            // come back under its name, and the others go on.
            world.note(format_args!("worker {name}: is lost for good"));
            worker.killed.cancel();
            name = format!("{machine}-{process}");
        }
        if !world.is_calm() {
            sleep(world.chance.ms(10, 40_000)).await;
        }
        sleep(Duration::from_millis(10)).await;
        if world.fault(world.profile.renamed) {
            name = format!("{machine}-{process}");
        }
    }
}

async fn one_life(worker: &Arc<Worker>) {
    let world = &worker.world;
    let life = spawn(world, {
        let worker = Arc::clone(worker);
        async move {
            let killed = worker.killed.clone();
            Box::pin(killed.run_until_cancelled(worker.session())).await;
        }
    });
    let mean = world.profile.worker_life_ms;
    let dies = mean > 0 && !world.is_calm();
    let death = async {
        if dies {
            sleep(world.chance.ms(1, 2 * mean)).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        _ = life => world.note(format_args!("worker {}: ends", worker.name)),
        () = death => worker.die().await,
    }
}

impl Worker {
    async fn die(&self) {
        let world = &self.world;
        if world.fault(world.profile.zombie) {
            // The machine is written off and replaced, and lives: its attempt goes on, under a
            // lease that is not its own for long.
            world.note(format_args!(
                "worker {}: is written off, and goes on",
                self.name
            ));
            self.is_zombie.store(true, Ordering::Relaxed);
            let (killed, calmed) = (self.killed.clone(), world.calmed.clone());
            tokio::spawn(async move {
                calmed.cancelled().await;
                killed.cancel();
            });
        } else if world.chance.permille(300) {
            world.note(format_args!("worker {}: is told to stop", self.name));
            self.shutdown.cancel();
            sleep(Duration::from_secs(30)).await;
            self.killed.cancel();
        } else {
            world.note(format_args!("worker {}: is killed", self.name));
            self.killed.cancel();
        }
    }

    /// Waits for as long as this worker's clock needs for `time`, and longer if it is frozen.
    pub(crate) async fn wait(&self, time: Duration) {
        let clock = u32::try_from(self.clock).unwrap_or(1000);
        sleep(time * clock / 1000).await;
        self.thaw().await;
    }

    /// Waits while it is frozen.
    pub(crate) async fn thaw(&self) {
        let left = (self.frozen_until.load(Ordering::Relaxed)).saturating_sub(self.world.now_ms());
        if left > 0 {
            sleep(Duration::from_millis(left)).await;
        }
    }

    /// Stops everything of it for a time, as a suspended machine does.
    pub(crate) fn freeze(&self) {
        let longest = 4 * self.world.profile.lease_ttl_ms();
        let until = self.world.now_ms() + self.world.chance.within(1000, longest);
        self.world.note(format_args!(
            "worker {}: freezes until {until} ms",
            self.name
        ));
        self.frozen_until.store(until, Ordering::Relaxed);
    }

    async fn session(&self) {
        let mut backoff = Backoff::new();
        while !self.is_over() {
            match self.register().await {
                Ok(terms) => self.serve(terms, &mut backoff).await,
                Err(refusal) if refusal.is_transient() => backoff.wait(self).await,
                Err(refusal) => {
                    self.world
                        .violate("a worker that follows the protocol is served", refusal);
                    return;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.shutdown.is_cancelled() || self.is_zombie.load(Ordering::Relaxed)
    }

    pub(crate) async fn register(&self) -> Result<Terms, Refusal> {
        let request = Request::Register(v1::RegisterRequest {
            worker: self.name.clone(),
            protocol_version: PROTOCOL_VERSION,
            device: "cpu".to_owned(),
            machine: self.machine.clone(),
            started_unix_ns: self.started_unix_ns,
            gpus: 1,
            ..v1::RegisterRequest::default()
        });
        let answer = self.call(request, ANSWER_WITHIN).await?;
        let Answer::Terms(terms) = answer else {
            let text = format!("expected terms, found {answer:?}");
            return Err(Refusal::Internal(text));
        };
        Ok(Terms {
            lease_ttl: Duration::from_millis(terms.lease_ttl_ms),
            renew_every: Duration::from_millis(terms.renew_every_ms),
        })
    }

    /// Takes and does tasks until the coordinator is lost.
    async fn serve(&self, terms: Terms, backoff: &mut Backoff) {
        while !self.is_over() {
            let asked_ms = self.world.now_ms();
            let request = Request::Acquire(v1::AcquireRequest {
                worker: self.name.clone(),
                wait_ms: ACQUIRE_WAIT_MS,
                started_unix_ns: self.started_unix_ns,
            });
            let within = Duration::from_millis(ACQUIRE_WAIT_MS) + ANSWER_WITHIN;
            let asking = self.call(request, within);
            let Some(answer) = self.shutdown.run_until_cancelled(asking).await else {
                return;
            };
            match answer {
                Ok(Answer::Work(work)) => match work.assignment {
                    Some(assignment) => {
                        *backoff = Backoff::new();
                        let mut given = Some(assignment);
                        // What a zombie is given is nobody's until its lease expires.
                        while let Some(assignment) = given
                            && !self.is_zombie.load(Ordering::Relaxed)
                        {
                            given = attempt::run(self, assignment, terms).await;
                        }
                    }
                    None if self.world.now_ms() - asked_ms < TOO_SOON_MS => {
                        backoff.wait(self).await;
                    }
                    None => *backoff = Backoff::new(),
                },
                Ok(other) => self
                    .world
                    .violate("an answer fits its request", format!("{other:?}")),
                Err(refusal)
                    if refusal.is_transient() || matches!(refusal, Refusal::UnknownWorker(_)) =>
                {
                    backoff.wait(self).await;
                    return;
                }
                Err(refusal) => {
                    self.world
                        .violate("a worker that follows the protocol is served", refusal);
                    return;
                }
            }
        }
    }

    pub(crate) async fn call(&self, request: Request, within: Duration) -> Result<Answer, Refusal> {
        self.thaw().await;
        let answer = call(&self.world, &self.machine, request, within).await;
        self.thaw().await;
        answer
    }

    /// Repeats a call until it gets an answer that another try would not change.
    pub(crate) async fn insist(&self, request: Request) -> Result<Answer, Refusal> {
        let mut backoff = Backoff::new();
        loop {
            let refusal = match self.call(request.clone(), ANSWER_WITHIN).await {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            if let Refusal::UnknownWorker(_) = refusal {
                if let Err(refusal) = self.register().await
                    && !refusal.is_transient()
                {
                    return Err(refusal);
                }
            } else if !refusal.is_transient() {
                return Err(refusal);
            }
            backoff.wait(self).await;
        }
    }
}

/// Growing, jittered waits between tries.
pub(crate) struct Backoff {
    next_ms: u64,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next_ms: 100 }
    }

    pub(crate) async fn wait(&mut self, worker: &Worker) {
        let wait = worker.world.chance.ms(self.next_ms / 2, self.next_ms);
        self.next_ms = (2 * self.next_ms).min(5000);
        worker.wait(wait).await;
    }
}

/// The moment at which a lease that was renewed by a call sent at `sent` is over, by this worker's
/// own clock.
pub(crate) fn lease_over(worker: &Worker, terms: Terms, sent: Instant) -> Instant {
    let clock = u32::try_from(worker.clock).unwrap_or(1000);
    sent + terms.lease_ttl * clock / 1000 * worker.trust
}
