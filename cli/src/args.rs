//! The command line, as clap reads it. The help texts are part of the product.

#![expect(
    clippy::doc_markdown,
    reason = "clap shows these texts as they are, backticks included"
)]

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use autorep_core::data::DataRoot;
use autorep_core::id::OwnerName;
use autorep_core::ledger::Quota;
use autorep_core::manifest::Rehearsal;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::lab::address::{self, Address, CredentialArgs};
use crate::lab::upkeep;
use crate::logging::LogArgs;
use crate::telemetry::MetricsArgs;
use crate::{context, data, doctor, figure, nets, store, token, values};

const EXIT_CODES: &str = "\
Exit codes: 0 done (or whoever read the output has gone), 1 failed, 2 wrong usage or manifest, \
3 some tasks gave up (the front is partial) or the sweep was cancelled, 130 interrupted (what was \
done is kept; run again to go on).

Machine output goes to stdout, and so do the lines of watch; other progress, logs and errors go to \
stderr. AUTOREP_LOG sets what is logged, as in AUTOREP_LOG=info or \
AUTOREP_LOG=autorep_worker=debug. OTEL_EXPORTER_OTLP_ENDPOINT says where traces go, as in \
http://collector:4317; TRACEPARENT is continued.";

/// Builds accuracy-versus-ReLU-count fronts of convolutional networks for private inference.
///
/// One YAML manifest names a network, a data set, ReLU budgets, hyperparameters and seeds;
/// autorep plans the training tasks, runs them on this machine or on a cluster, and keeps the
/// front up to date while results arrive.
#[derive(Debug, Parser)]
#[command(name = "autorep", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a sweep on this machine, from its manifest to its front.
    Run(RunArgs),
    /// Show what a manifest would run: tasks, shared work, ReLU totals, cost. Starts nothing.
    Plan(PlanArgs),
    /// Print a sweep's front or draw it.
    Front(FrontArgs),
    /// Send a manifest to a coordinator.
    Submit(SubmitArgs),
    /// List a coordinator's sweeps.
    List(ListArgs),
    /// Show one sweep: task counts, running tasks, failures.
    Show(SweepArgs),
    /// Follow a sweep until it ends: bars on a terminal, lines on stdout otherwise.
    Watch(SweepArgs),
    /// Grant no more leases for a sweep; running tasks go on.
    Pause(SweepArgs),
    /// Take a pause back.
    Resume(SweepArgs),
    /// End a sweep: waiting tasks are dropped, running ones are told to stop.
    Cancel(SweepArgs),
    /// Print the log of a task's latest attempt.
    Logs(LogsArgs),
    /// List the workers that a coordinator knows: what they have and do.
    Workers(ListArgs),
    /// Ask the trainers of a sweep's running tasks for a checkpoint now.
    Checkpoint(SweepArgs),
    /// Keep the checkpoints of a task whatever becomes of it.
    Pin(upkeep::PinArgs),
    /// Delete checkpoints that nothing can reach any more.
    Gc(upkeep::GcArgs),
    /// Serve sweeps to workers: the daemon that plans, leases and keeps the front.
    Coordinator(CoordinatorArgs),
    /// Work for a coordinator: the daemon that holds leases and runs trainers.
    Worker(Box<WorkerArgs>),
    /// Keep several coordinators by name, with what it takes to talk to them.
    Context(context::ContextArgs),
    /// Make tokens by which a coordinator knows who calls.
    Token(token::TokenArgs),
    /// List the networks with their ReLU totals, per site if asked.
    Nets(nets::NetsArgs),
    /// Get and check data sets.
    Data(data::DataArgs),
    /// Say what this machine has, what is missing, and which command mends it.
    Doctor(doctor::DoctorArgs),
    /// Print the JSON Schema of the manifest, for editors.
    Schema,
}

/// Where to train.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum DeviceKind {
    /// The processor's cores.
    Cpu,
    /// CUDA devices, one worker for each.
    Cuda,
}

/// Arguments of `autorep run`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep run manifests/quickstart.yaml
  autorep run sweep.yaml --store /data/sweeps --device cuda
  autorep run sweep.yaml > front.txt        # progress stays on the terminal

A second run of the same manifest on the same store trains nothing and prints the same front. \
After Ctrl-C, a crash or a power cut, the same command goes on from the last checkpoints.

The store gets sweeps/NAME/front.csv, front.svg, front.png and front.json.")]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub manifest: ManifestArgs,
    /// Folder that keeps results, checkpoints and the coordinator's state.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./autorep-store",
        env = "AUTOREP_STORE",
        value_parser = store::local_folder
    )]
    pub store: PathBuf,
    /// Workers to start. Default: one per core, at most 8; one per device with --device cuda; with
    /// --ranks one for each so many cores or devices.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Where to train.
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: DeviceKind,
    /// Ranks that train each task together here, whatever spec.resources.gpus says: GPUs, or
    /// processes with --device cpu. Default: as many GPUs as spec.resources.gpus asks for, 1 on the
    /// CPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub ranks: Option<u16>,
    /// What is true of this machine, for a sweep whose resources ask for it, as in zone=a. May be
    /// given several times.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// CPU threads of each trainer. Default: this machine's cores over the workers and their ranks.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataArg,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub cache: CacheArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub trainer: TrainerPath,
}

/// Which sweep, and whether it is only rehearsed.
#[derive(Debug, Clone, Args)]
pub struct ManifestArgs {
    /// The sweep's manifest (YAML).
    #[arg(value_name = "SWEEP.yaml")]
    pub path: PathBuf,
    /// See the sweep through to its end in a few optimizer steps of every stage (2 if none are said; at
    /// least so many where batches differ), as the sweep NAME-rehearsal: the same kinds of tasks, nets,
    /// data and resources, seeds of its own, a checkpoint after each step, accuracies that mean nothing.
    #[arg(
        long,
        value_name = "STEPS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = at_least_one
    )]
    pub rehearse: Option<NonZeroU32>,
    /// At most so many images in a step of the rehearsal, for a machine that holds fewer than the
    /// manifest's batches.
    #[arg(
        long,
        value_name = "IMAGES",
        requires = "rehearse",
        value_parser = at_least_one
    )]
    pub rehearse_batch: Option<NonZeroU32>,
}

fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_not_one| "expected a whole number from 1 to 4294967295".to_owned())
}

impl ManifestArgs {
    /// The rehearsal, if it is one: each time it is asked for, another one.
    pub fn rehearsal(&self) -> Option<Rehearsal> {
        self.rehearse.map(|steps| Rehearsal {
            steps,
            batch: self.rehearse_batch,
            first_seed: std::time::UNIX_EPOCH.elapsed().map_or(0, |it| it.as_secs()),
        })
    }
}

/// Where data sets lie.
#[derive(Debug, Clone, Args)]
pub struct DataArg {
    /// Folder with one folder per data set, or a place in a bucket with one prefix per data set
    /// in tar shards: s3://BUCKET/PREFIX, gs://…, az://… or file:///FOLDER. Default: autorep/data
    /// in the user's cache folder ($XDG_CACHE_HOME or ~/.cache).
    #[arg(
        long = "data",
        value_name = "DIR|URL",
        env = "AUTOREP_DATA",
        value_parser = OsStringValueParser::new().try_map(DataRoot::parse)
    )]
    pub data: Option<DataRoot>,
}

/// Where and how far shards of data sets in a bucket are kept on this machine.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    /// How much of data sets in a bucket is kept on this machine's disk: the first shards that fit
    /// are kept whole, the others read image by image. A number with MiB, GiB or TiB, or 0.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "32GiB",
        env = "AUTOREP_DATA_CACHE",
        value_parser = values::size
    )]
    pub data_cache: u64,
    /// The folder for them, which workers share. Default: autorep/shards in the user's cache
    /// folder.
    #[arg(long, value_name = "DIR", env = "AUTOREP_DATA_CACHE_FOLDER")]
    pub data_cache_folder: Option<PathBuf>,
}

/// Which trainer to start.
#[derive(Debug, Clone, Args)]
pub struct TrainerPath {
    /// The autorep-trainer binary. Default: the one beside autorep itself.
    #[arg(long, value_name = "PATH", env = "AUTOREP_TRAINER")]
    pub trainer: Option<PathBuf>,
    /// Folder with a CUDA build of libtorch, as in the torch/lib of a PyTorch installation: the
    /// trainer takes its libraries from there. Needed for CUDA devices, unless the loader finds
    /// them by itself.
    #[arg(long, value_name = "DIR", env = "AUTOREP_TORCH_LIB")]
    pub torch_lib: Option<PathBuf>,
}

/// How a plan is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Arguments of `autorep plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub manifest: ManifestArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    pub format: PlanFormat,
    /// Say what of it this store has already: a folder, or s3://BUCKET/PREFIX. Nothing is changed, and
    /// a coordinator may be running on it. Without it nothing is looked up.
    #[arg(long, value_name = "DIR|URL")]
    pub store: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataArg,
}

/// Arguments of `autorep front`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep front fashion-quickstart
  autorep front fashion-quickstart --format csv | column -t -s,
  autorep front fashion-quickstart -o front.svg
  autorep front imagenet --coordinator http://127.0.0.1:7070")]
pub struct FrontArgs {
    /// The sweep's name (metadata.name of its manifest).
    #[arg(value_name = "SWEEP")]
    pub sweep: String,
    /// Read from this store: a folder, or s3://BUCKET/PREFIX. No coordinator is needed.
    /// Default: unless a coordinator or context is named, $AUTOREP_STORE or ./autorep-store; if that
    /// is not there, the current context's coordinator is asked.
    #[arg(long, value_name = "DIR|URL")]
    pub store: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub address: Address,
    /// How to print or draw it. Default: as the ending of the file of --output says, in front.svg for
    /// one, else table.
    #[arg(long, value_enum)]
    pub format: Option<figure::Format>,
    /// Put published fronts of the same data set and network beside it (table, svg, png).
    #[arg(long, value_enum)]
    pub overlay: Option<figure::Overlay>,
    /// Write to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `autorep submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub manifest: ManifestArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub address: Address,
}

/// Arguments of `autorep list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub address: Address,
}

/// Arguments of the commands about one sweep of a coordinator.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// The sweep's name (metadata.name of its manifest).
    #[arg(value_name = "SWEEP")]
    pub sweep: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub address: Address,
}

/// Arguments of `autorep logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The task's id, or a unique beginning of it, as `autorep show` prints.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Go on with what a running attempt prints, and with later attempts, until the task is done.
    #[arg(short, long)]
    pub follow: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub address: Address,
}

/// Arguments of `autorep coordinator`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep coordinator --store ./autorep-store
  autorep coordinator --store s3://sweeps/team --listen 0.0.0.0:7070 \\
    --tls-cert tls.crt --tls-key tls.key --tokens tokens.yaml

For s3:// stores the usual variables are read: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
AWS_REGION, AWS_ENDPOINT (for other S3-compatible services), AWS_ALLOW_HTTP.")]
pub struct CoordinatorArgs {
    /// Where results, checkpoints and state are kept: a folder, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "DIR|URL", env = "AUTOREP_STORE")]
    pub store: String,
    /// Address to serve on.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:7070",
        env = "AUTOREP_LISTEN",
        value_parser = values::socket_address
    )]
    pub listen: std::net::SocketAddr,
    /// Serve on an address that other machines can reach although nothing is encrypted or nobody
    /// is asked who they are: for networks where only your own machines can reach the port.
    #[arg(long, env = "AUTOREP_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub door: DoorArgs,
    /// Wait while another coordinator serves from the store, and take over when it stops or has
    /// given no sign of life for ten seconds.
    #[arg(long)]
    pub standby: bool,
    /// How long a lease lives without a renewal, as in 30s; workers renew six times as often.
    #[arg(long, value_name = "TIME", default_value = "30s", env = "AUTOREP_LEASE_TTL", value_parser = lease_time)]
    pub lease_ttl: Duration,
    /// The longest that a worker is kept idle for a task that needs several, while there is other work
    /// for it; then it is let go for as long. About the time of a short task; 0s keeps nobody.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::time)]
    pub gather: Duration,
    /// What an owner of sweeps may have, as in alice:cap=4,weight=2: at most so many tasks at a
    /// time (one for several workers counts as so many), and so large a share of the workers. May be
    /// given several times.
    #[arg(long = "owner", value_name = "NAME:cap=N,weight=N", value_parser = quota)]
    pub owners: Vec<(OwnerName, Quota)>,
    /// The most tasks at a time of an owner that no --owner names. Default: any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub owner_cap: Option<u32>,
    /// How often checkpoints that nothing can reach any more are deleted; 0s for never.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::time)]
    pub gc_every: Duration,
    /// Checkpoints younger than this are left alone.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::time)]
    pub gc_min_age: Duration,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub logs: LogArgs,
}

/// How a coordinator's connections are encrypted, and who may call. Files are read again when they
/// change.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Security")]
pub struct DoorArgs {
    /// Serve under TLS with this certificate, followed by those between it and its authority (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "AUTOREP_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "AUTOREP_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Ask callers for a certificate that one of these authorities (PEM) has signed.
    #[arg(
        long,
        value_name = "FILE",
        env = "AUTOREP_TLS_CLIENT_CA",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
    /// Let in only who has one of these tokens, with its rights: a YAML list of entries that
    /// `autorep token new` makes.
    #[arg(long, value_name = "FILE", env = "AUTOREP_TOKENS")]
    pub tokens: Option<PathBuf>,
}

/// A lease's time to live.
fn lease_time(text: &str) -> Result<Duration, String> {
    let time = values::time(text)?;
    if (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&time) {
        return Ok(time);
    }
    Err(format!("expected a time from 1s to 24h, found {text:?}"))
}

/// An owner's quota, as in `alice:cap=4,weight=2`.
fn quota(text: &str) -> Result<(OwnerName, Quota), String> {
    let bad = || {
        format!(
            "expected an owner as in alice:cap=4,weight=2 with numbers above zero, found {text:?}"
        )
    };
    let (name, settings) = text.split_once(':').ok_or_else(bad)?;
    let owner = name.parse().map_err(|error| format!("{error}"))?;
    let mut quota = Quota::default();
    for setting in settings.split(',') {
        let (key, value) = setting.split_once('=').ok_or_else(bad)?;
        let number: u32 = value.parse().map_err(|_not_a_number| bad())?;
        match key {
            "cap" if number > 0 => quota.cap = Some(number),
            "weight" if number > 0 => quota.weight = number,
            _ => return Err(bad()),
        }
    }
    Ok((owner, quota))
}

/// Arguments of `autorep worker`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  autorep worker --coordinator http://127.0.0.1:7070 --store ./autorep-store
  autorep worker --coordinator http://127.0.0.1:7070 --store s3://sweeps/team --device cuda:1

On SIGTERM the trainer finishes its step and writes a checkpoint; the worker stores it, gives its \
lease back and exits with 0. Another worker goes on from there.")]
pub struct WorkerArgs {
    /// The coordinator's address, https://HOST:PORT or without TLS http://HOST:PORT.
    #[arg(long, value_name = "URL", env = "AUTOREP_COORDINATOR", value_parser = address::url)]
    pub coordinator: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub credentials: CredentialArgs,
    /// The coordinator's store: a folder, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "DIR|URL", env = "AUTOREP_STORE")]
    pub store: String,
    /// Where to train: cpu or cuda:N.
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "cpu",
        env = "AUTOREP_DEVICE"
    )]
    pub device: String,
    /// Ranks that train one task together, each in a trainer of its own: with cuda:K the GPUs from
    /// the Kth on, with cpu as many processes. A sweep whose resources ask for fewer gets fewer.
    /// Default: 1.
    #[arg(
        long,
        value_name = "N",
        env = "AUTOREP_RANKS",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub ranks: Option<u16>,
    /// Says that this worker has so many GPUs, whatever it has: `autorep run --ranks` trains here
    /// what was written for a larger machine.
    #[arg(long, value_name = "N", hide = true)]
    pub offer_gpus: Option<u32>,
    /// CPU threads of each trainer; 0 leaves the choice to libtorch, or shares the cores out to the
    /// ranks.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: u16,
    /// This worker's name, unique among living workers: of two with one name on one machine the one
    /// that started later works, and the other waits. Default: host name and process id.
    #[arg(long, value_name = "NAME", env = "AUTOREP_WORKER")]
    pub name: Option<String>,
    /// The machine's name, as on a cluster's node: attempts that keep failing on one machine keep
    /// all its workers from getting tasks for a while. Default: the host's name.
    #[arg(long, value_name = "NAME", env = "AUTOREP_MACHINE")]
    pub machine: Option<String>,
    /// The name or number under which other workers reach this one, for tasks that are spread over
    /// several (resources.nodes); connections between them are not encrypted. Default: the host's
    /// name, or 127.0.0.1 where the coordinator is on it.
    #[arg(long, value_name = "HOST", env = "AUTOREP_ADVERTISE")]
    pub advertise: Option<String>,
    /// What is true of this worker, for sweeps whose resources ask for it, as in zone=a. May be
    /// given several times.
    #[arg(
        long = "label",
        value_name = "KEY=VALUE",
        env = "AUTOREP_LABELS",
        value_delimiter = ','
    )]
    pub labels: Vec<String>,
    /// The GPU's name, instead of what nvidia-smi says.
    #[arg(long, value_name = "NAME", env = "AUTOREP_GPU_TYPE")]
    pub gpu_type: Option<String>,
    /// Folder for inputs and checkpoints in flight. Default: a folder of its own in the system's
    /// temporary folder.
    #[arg(long, value_name = "DIR", env = "AUTOREP_SCRATCH")]
    pub scratch: Option<PathBuf>,
    /// How long a trainer may take to finish its step and write a checkpoint when this worker is told
    /// to stop; then it is killed. Shorter than what stops workers waits before it kills them.
    #[arg(long, value_name = "TIME", default_value = "25s", env = "AUTOREP_GRACE", value_parser = values::time)]
    pub grace: Duration,
    /// Stop when standard input ends, as it does when the process that started this one dies.
    #[arg(long)]
    pub exit_with_parent: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub logs: LogArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataArg,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub cache: CacheArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub trainer: TrainerPath,
}
