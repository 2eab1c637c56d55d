//! `autorep doctor`: says what this machine has, what is missing, and which command mends it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use autorep_coordinator::probe::probe as probe_store;
use autorep_core::data::{DataRoot, DataSet, Layout};
use autorep_core::text::redacted;
use autorep_data::shards::Index;
use autorep_data::{Bucket, OpenError};
use autorep_worker::machine::memory_limit_bytes;
use clap::{Args, ValueEnum};
use object_store::local::LocalFileSystem;
use serde::Serialize;

use crate::args::{DataArg, TrainerPath};
use crate::data::{missing_file, verified_by, verify, verify_listed};
use crate::exit::Exit;
use crate::output;
use crate::store::{self, Location};
use crate::trainer_probe::{LIMIT, Probe, probe};

/// Arguments of `autorep doctor`.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the help is plain text")]
#[command(after_long_help = "\
Ends with 1 if something is missing that a sweep on this machine needs.")]
pub struct DoctorArgs {
    /// The store to try: a folder, or s3://BUCKET/PREFIX. A folder that is not there is not made.
    #[arg(
        long,
        value_name = "DIR|URL",
        default_value = "./autorep-store",
        env = "AUTOREP_STORE"
    )]
    pub store: String,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub data: DataArg,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub trainer: TrainerPath,
}

/// How findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Whether a sweep on this machine can do with what was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// It is there.
    Ok,
    /// It is not there, and is not needed by every sweep.
    Absent,
    /// It is needed and not there, or does not work.
    Missing,
}

/// One thing that was looked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    subject: &'static str,
    status: Status,
    detail: String,
    /// What to do about it; only where something is not there.
    mend: Option<String>,
}

impl Finding {
    fn ok(subject: &'static str, detail: impl Into<String>) -> Self {
        Self {
            subject,
            status: Status::Ok,
            detail: detail.into(),
            mend: None,
        }
    }

    fn lacking(
        subject: &'static str,
        status: Status,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            subject,
            status,
            detail: detail.into(),
            mend: Some(mend.into()),
        }
    }
}

/// Does what the arguments say.
pub fn run(args: DoctorArgs) -> Result<Exit> {
    let DoctorArgs {
        store,
        format,
        data,
        trainer,
    } = args;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    let mut findings = vec![cores(), memory()];
    findings.extend(runtime.block_on(find_trainer(&trainer)));
    findings.extend(data_sets(&data.resolve()?));
    findings.push(runtime.block_on(find_store(&store)));
    let text = match format {
        Format::Table => table(&findings),
        Format::Json => serde_json::to_string_pretty(&findings)? + "\n",
    };
    output::stdout(text.as_bytes())?;
    let missing = findings
        .iter()
        .filter(|finding| finding.status == Status::Missing)
        .count();
    match missing {
        0 => Ok(Exit::Done),
        1 => bail!("one thing that is needed is missing"),
        count => bail!("{count} things that are needed are missing"),
    }
}

fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let status = match finding.status {
            Status::Ok => "ok",
            Status::Absent => "-",
            Status::Missing => "MISSING",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{status:<8}{:<9}{}", finding.subject, finding.detail);
        if let Some(mend) = &finding.mend {
            let _ = writeln!(text, "{:17}-> {mend}", "");
        }
    }
    text
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Finding::ok("cores", cores.to_string())
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = |kib: u64| format!("{:.1} GiB", kib as f64 / f64::from(1 << 20));
    let mut detail = match (
        meminfo_kib(&text, "MemTotal"),
        meminfo_kib(&text, "MemAvailable"),
    ) {
        (Some(total), Some(available)) => format!("{}, {} available", gib(total), gib(available)),
        _ => "unknown: no /proc/meminfo".to_owned(),
    };
    if let Some(bytes) = memory_limit_bytes() {
        detail = format!("{detail}; this process may use {}", gib(bytes / 1024));
    }
    Finding::ok("memory", detail)
}

/// One entry of `/proc/meminfo`, in KiB.
fn meminfo_kib(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        value.trim().strip_suffix("kB")?.trim().parse().ok()
    })
}

async fn find_trainer(trainer: &TrainerPath) -> Vec<Finding> {
    let path = match trainer.resolve() {
        Ok(path) => path,
        Err(error) => {
            return vec![Finding::lacking(
                "trainer",
                Status::Missing,
                "no autorep-trainer",
                error.to_string(),
            )];
        }
    };
    match probe(&path, trainer.torch_lib.as_deref(), LIMIT).await {
        Ok(probe) => trainer_findings(&path, &probe, Path::new("/dev/nvidiactl").exists()),
        Err(error) => vec![Finding::lacking(
            "trainer",
            Status::Missing,
            format!("{}: {error:#}", path.display()),
            "`make demo` gets libtorch and builds the trainer anew",
        )],
    }
}

fn trainer_findings(path: &Path, probe: &Probe, has_gpu: bool) -> Vec<Finding> {
    let trainer = Finding::ok("trainer", format!("{} {}", path.display(), probe.trainer));
    let libtorch = Finding::ok(
        "libtorch",
        format!("{}, {} CPU threads", probe.libtorch, probe.cpu_threads),
    );
    let cuda = match &probe.cuda_problem {
        None => Finding::ok("cuda", format!("{} devices", probe.cuda_devices)),
        Some(problem) => Finding {
            subject: "cuda",
            status: Status::Absent,
            detail: if has_gpu {
                problem.clone()
            } else {
                "no NVIDIA device on this machine".to_owned()
            },
            mend: None,
        },
    };
    vec![trainer, libtorch, cuda]
}

fn data_sets(root: &DataRoot) -> Vec<Finding> {
    let mut findings: Vec<_> = DataSet::ALL
        .into_iter()
        .filter_map(|set| match (root, set.layout()) {
            (DataRoot::Folder(folder), _) => Some(data_set(set, folder)),
            (DataRoot::Bucket(_), Layout::Pictures(_)) => Some(data_set_in_bucket(set, root)),
            // It is read from folders only.
            (DataRoot::Bucket(_), Layout::Packed) => None,
        })
        .collect();
    let none = findings
        .iter()
        .all(|finding| finding.status == Status::Absent);
    // Without any data set nothing can be trained; the first one can be fetched by anyone.
    if let (true, Some(first)) = (none, findings.first_mut()) {
        first.status = Status::Missing;
    }
    findings
}

fn data_set_in_bucket(set: DataSet, root: &DataRoot) -> Finding {
    let place = root.of(set);
    let found = Bucket::open(&place.to_string())
        .and_then(|bucket| Index::in_bucket(set, &bucket))
        .and_then(|_| verify_listed(set, &place));
    let (status, problem) = match found {
        Ok(()) => return Finding::ok("data", format!("{place}: {}", verified_by(set))),
        Err(error @ OpenError::NotInBucket { .. }) => (Status::Absent, error),
        Err(error) => (Status::Missing, error),
    };
    let mend = format!(
        "if a sweep needs it: `autorep data shard {} --from DIR --to {place}`",
        set.name()
    );
    Finding::lacking("data", status, problem.to_string(), mend)
}

fn data_set(set: DataSet, root: &Path) -> Finding {
    let folder = root.join(set.name());
    let mend = match set {
        DataSet::FashionMnist => format!("`autorep data fetch {}`", set.name()),
        DataSet::Cifar10 | DataSet::Cifar100 => format!(
            "if a sweep needs it: `autorep data fetch {name} --from {name}-binary.tar.gz`",
            name = set.name()
        ),
        DataSet::TinyImagenet | DataSet::Imagenet => format!(
            "if a sweep needs it: `autorep data check {name}` says what belongs in {folder}",
            name = set.name(),
            folder = folder.display()
        ),
    };
    if !folder.exists() {
        let detail = format!("no {} in {}", set.name(), root.display());
        return Finding::lacking("data", Status::Absent, detail, mend);
    }
    let name = format!("{} in {}", set.name(), folder.display());
    let problem = if let Some(file) = missing_file(set, &folder) {
        format!("{file} is not there")
    } else {
        let verified = match set.layout() {
            Layout::Packed => verify(set, &folder).map_err(|error| error.to_string()),
            Layout::Pictures(_) => {
                verify_listed(set, &folder.as_path().into()).map_err(|error| error.to_string())
            }
        };
        match verified {
            Ok(()) => return Finding::ok("data", format!("{name}: {}", verified_by(set))),
            Err(problem) => problem,
        }
    };
    Finding::lacking("data", Status::Missing, format!("{name}: {problem}"), mend)
}

async fn find_store(text: &str) -> Finding {
    match try_store(text).await {
        Ok(detail) => Finding::ok("store", detail),
        Err(error) => {
            // Folders have `@` in their names without meaning anything by it.
            let named = if text.contains("://") {
                redacted(text)
            } else {
                text.to_owned()
            };
            Finding::lacking(
                "store",
                Status::Missing,
                format!("{named}: {error:#}"),
                "name a store that can be written with --store, here and for `autorep run`",
            )
        }
    }
}

/// Tries the store as a coordinator does when it starts, since its promises rest on that. Returns
/// what was found.
async fn try_store(text: &str) -> Result<String> {
    let works = "can be written, and of several who create an object at once one does";
    match Location::parse(text)? {
        Location::Folder(folder) => {
            let existing = nearest_existing(&folder)?;
            let scratch = tempfile::Builder::new()
                .prefix(".autorep-doctor-")
                .tempdir_in(&existing)
                .with_context(|| format!("cannot write in {}", existing.display()))?;
            probe_store(&LocalFileSystem::new_with_prefix(scratch.path())?).await?;
            if existing == folder {
                Ok(format!("{text} {works}"))
            } else {
                Ok(format!("{text} is not there yet; its place {works}"))
            }
        }
        Location::Remote(_) => {
            probe_store(&*store::open_store(text)?).await?;
            Ok(format!("{text} {works}"))
        }
    }
}

fn nearest_existing(folder: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(folder)?;
    if absolute.is_dir() {
        return Ok(folder.to_path_buf());
    }
    absolute
        .ancestors()
        .find(|path| path.exists())
        .map(Path::to_path_buf)
        .with_context(|| format!("{} has no parent that exists", absolute.display()))
}

#[cfg(test)]
mod tests;
