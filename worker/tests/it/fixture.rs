//! One worker with everything around it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use autorep_core::checkpoint::{
    CheckpointManifest, CheckpointRef, CheckpointRole, MANIFEST_OBJECT, Part, STATE_PART,
    TENSORS_PART,
};
use autorep_core::data::{DataSet, DataSpec, Preparation};
use autorep_core::digest::Digest;
use autorep_core::id::{Generation, TaskId};
use autorep_core::lease::LeaseClaim;
use autorep_core::net::NetSpec;
use autorep_core::recipe::{BaselineRecipe, OptimizerKind, Schedule};
use autorep_core::task::{OutputRef, RESULT_VERSION, TaskSpec, Work};
use autorep_proto::v1;
use autorep_worker::{Config, RunError, Summary};
use object_store::memory::InMemory;
use object_store::{GetResult, ObjectStore, ObjectStoreExt as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{Recorder, Server, State};

/// The generation of every lease here.
pub(crate) const GENERATION: Generation = Generation(5);

/// A coordinator, a store, and folders for a worker.
pub(crate) struct Lab {
    pub(crate) recorder: Recorder,
    pub(crate) server: Option<Server>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) shutdown: CancellationToken,
}

impl Lab {
    /// Everything ready, and a trainer that will do what `script` says.
    pub(crate) fn new(script: &str) -> Self {
        Self::with_store(script, Arc::new(InMemory::new()))
    }

    pub(crate) fn with_store(script: &str, objects: Arc<dyn ObjectStore>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data/fashion-mnist");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("script"), script).unwrap();

        let recorder = Recorder::new(Arc::clone(&objects));
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(&recorder, any_port);
        let mut config = Config::new(
            format!("http://{}", server.address).parse().unwrap(),
            env!("CARGO_BIN_EXE_autorep-trainer-double"),
            folder.path().join("data"),
            folder.path().join("scratch"),
        );
        config.exit_when_idle = true;
        Self {
            recorder,
            server: Some(server),
            objects,
            folder,
            config,
            shutdown: CancellationToken::new(),
        }
    }

    /// Offers a task that starts from nothing.
    pub(crate) fn offer_baseline(&self) -> TaskId {
        self.offer(&spec(Work::Baseline { recipe: recipe() }), vec![], None)
    }

    /// Offers a task with these checkpoints.
    pub(crate) fn offer(
        &self,
        spec: &TaskSpec,
        inputs: Vec<CheckpointRef>,
        resume: Option<CheckpointRef>,
    ) -> TaskId {
        let claim = LeaseClaim {
            task: spec.id(),
            generation: GENERATION,
        };
        let assignment = v1::Assignment {
            claim: Some(claim.into()),
            spec: spec.canonical_json().into_bytes(),
            inputs: inputs.into_iter().map(Into::into).collect(),
            resume: resume.map(Into::into),
            attempt: 1,
            sweep: "test".to_owned(),
            checkpoint_every_s: 60,
            checkpoint_every_steps: 0,
            stop_after: None,
            nodes: 1,
            ranks: 0,
            traceparent: String::new(),
        };
        self.recorder.change(|it| it.offers.push_back(assignment));
        claim.task
    }

    /// Puts a checkpoint into the store, as an earlier lease would have.
    pub(crate) async fn stored(
        &self,
        task: TaskId,
        role: CheckpointRole,
        step: u64,
    ) -> CheckpointRef {
        let name = match &role {
            CheckpointRole::Resume => "resume",
            CheckpointRole::Output(name) => name,
        };
        let state = format!("{name} {step}");
        let mut checkpoint = CheckpointRef {
            task,
            generation: Generation(1),
            role: role.clone(),
            step,
            manifest: Digest::of(b""),
        };
        let contents = [(STATE_PART, state.as_bytes()), (TENSORS_PART, b"tensors")];
        let mut parts = Vec::new();
        for (name, content) in contents {
            self.put(&format!("{}/{name}", checkpoint.folder()), content)
                .await;
            parts.push(Part {
                name: name.to_owned(),
                bytes: content.len() as u64,
                sha256: Digest::of(content),
            });
        }
        let manifest = serde_json::to_vec(&CheckpointManifest {
            task,
            generation: checkpoint.generation,
            role,
            step,
            parts,
        })
        .unwrap();
        let key = format!("{}/{MANIFEST_OBJECT}", checkpoint.folder());
        self.put(&key, &manifest).await;
        checkpoint.manifest = Digest::of(&manifest);
        checkpoint
    }

    pub(crate) async fn put(&self, key: &str, content: &[u8]) {
        let content = content.to_vec().into();
        self.objects.put(&key.into(), content).await.unwrap();
    }

    /// Starts the worker.
    pub(crate) fn start(&self) -> JoinHandle<Result<Summary, RunError>> {
        tokio::spawn(autorep_worker::run(
            self.config.clone(),
            Arc::clone(&self.objects),
            self.shutdown.clone(),
        ))
    }

    /// Lets the worker do what was offered, until it ends by itself.
    pub(crate) async fn run(&self) -> Summary {
        self.recorder.change(|it| it.idle = true);
        ended(self.start()).await.unwrap()
    }

    /// What the trainer of `task` printed, as people will find it.
    pub(crate) async fn log(&self, task: TaskId) -> String {
        let key = format!("tasks/{task}/g{GENERATION}/trainer.log");
        let object = self.objects.get(&key.into()).await.unwrap();
        String::from_utf8(object.bytes().await.unwrap().to_vec()).unwrap()
    }

    /// Waits until the stored log of `task` is `text`.
    pub(crate) async fn until_log(&self, task: TaskId, text: &str) {
        let key = format!("tasks/{task}/g{GENERATION}/trainer.log").into();
        let wait = async {
            loop {
                let stored = self.objects.get(&key).await.map(GetResult::bytes);
                if let Ok(bytes) = stored
                    && bytes.await.unwrap() == text
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let patience = Duration::from_secs(30);
        let is_in_time = tokio::time::timeout(patience, wait).await.is_ok();
        assert!(is_in_time, "not {text:?}: {:?}", self.log(task).await);
    }

    /// Files of the worker or its attempts that are still in the scratch folder.
    pub(crate) fn left_in_scratch(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.config.scratch).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|it| it.unwrap().path()).collect();
        paths.retain(|path| !path.ends_with(".gate"));
        paths
    }

    /// Waits until the trainer has written its id with the step `pid` and lives, or has ended. The
    /// worker renews meanwhile, which is when it is looked at.
    pub(crate) async fn until_trainer(&self, lives: bool) {
        let path = self.folder.path().join("data/fashion-mnist/pid");
        let is_so = |_: &State| {
            let id = std::fs::read_to_string(&path).unwrap_or_default();
            !id.is_empty() && PathBuf::from(format!("/proc/{id}")).exists() == lives
        };
        self.recorder.until("the trainer", is_so).await;
    }

    /// Whether the trainer that wrote its id with the step `pid` lives.
    pub(crate) fn trainer_lives(&self) -> bool {
        let path = self.folder.path().join("data/fashion-mnist/pid");
        let id = std::fs::read_to_string(path).unwrap();
        PathBuf::from(format!("/proc/{id}")).exists()
    }
}

/// What a worker returned that had to end by now.
pub(crate) async fn ended(
    worker: JoinHandle<Result<Summary, RunError>>,
) -> Result<Summary, RunError> {
    tokio::time::timeout(Duration::from_secs(30), worker)
        .await
        .expect("the worker ends in time")
        .unwrap()
}

fn recipe() -> BaselineRecipe {
    BaselineRecipe {
        schedule: Schedule {
            epochs: 1,
            batch: 128,
            optimizer: OptimizerKind::Sgd,
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 0.0,
            warmup_epochs: 0.0,
            ..Schedule::default()
        },
        weights: None,
    }
}

/// A spec with this work.
pub(crate) fn spec(work: Work) -> TaskSpec {
    TaskSpec {
        version: RESULT_VERSION,
        net: NetSpec::resnet9(8),
        data: DataSpec {
            name: DataSet::FashionMnist,
            train: 1000,
            validation: 1000,
            augment: false,
            max_corrupt: 0,
            preparation: Preparation::default(),
        },
        seed: 0,
        work,
    }
}

/// A spec that reads the output `b1500` of another task.
pub(crate) fn evaluate(subject: TaskId) -> TaskSpec {
    spec(Work::Evaluate {
        subject: OutputRef {
            task: subject,
            output: "b1500".to_owned(),
        },
        budget: 1500,
    })
}

/// Some other task.
pub(crate) fn other_task() -> TaskId {
    TaskId(Digest::of(b"another task"))
}
