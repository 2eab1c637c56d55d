//! What training needs of this machine: the data set, the trainer, devices and cores.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use autorep_core::data::{DataRoot, DataSet};
use autorep_core::manifest::Manifest;
use autorep_core::offer::{Offer, Requirements};
use autorep_data::Bucket;
use autorep_data::shards::Index;
use autorep_worker::machine;

use super::workers::Slot;
use crate::args::{DeviceKind, RunArgs};
use crate::data::check::missing_file;
use crate::weights;

/// What training needs of this machine.
#[derive(Debug)]
pub struct Equipment {
    /// Where the data sets lie.
    pub data: DataRoot,
    /// The trainer's binary.
    pub trainer: PathBuf,
    /// The workers to start; at least one.
    pub slots: Vec<Slot>,
    /// Ranks that train each task together.
    pub ranks: u32,
    /// GPUs that each worker says that it has: what the sweep asks for, where a person said that as
    /// many ranks as there are here are to do.
    pub offer_gpus: u32,
    /// CPU threads of each trainer.
    pub threads: usize,
}

impl Equipment {
    /// Looks for the data set, the trainer and the devices.
    pub fn find(args: &RunArgs, manifest: &Manifest) -> Result<Self> {
        require_device(args, &manifest.resources)?;
        let data = args.data.resolve()?;
        require_data(manifest.data.name, &data)?;
        for (_, weights) in manifest.weights() {
            weights::require(weights, &data)?;
        }
        let trainer = args.trainer.resolve()?;
        for (net, weights) in manifest.weights() {
            weights::require_fit(weights, &net, manifest.data.name, &data, &args.trainer)?;
        }
        let ranks = ranks(args, &manifest.resources);
        let devices = devices(args.device, ranks)?;
        let offer_gpus = offered(args, &manifest.resources, ranks);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = args.workers.map_or_else(
            || {
                let workers = default_workers(args.device, devices.len(), cores / ranks as usize);
                match args.device {
                    // As many as a task is spread over; they share the cores.
                    DeviceKind::Cpu => workers.max(manifest.resources.nodes as usize),
                    DeviceKind::Cuda => workers,
                }
            },
            usize::from,
        );
        let slots: Vec<Slot> = (0..workers)
            .map(|index| Slot {
                name: format!("worker-{index}"),
                device: devices[index % devices.len()].clone(),
            })
            .collect();
        require_offer(&manifest.resources, &slots, offer_gpus, &args.labels)?;
        let threads = args
            .threads
            .map_or_else(|| (cores / workers / ranks as usize).max(1), usize::from);
        Ok(Self {
            data: absolute(data)?,
            trainer,
            slots,
            ranks,
            offer_gpus,
            threads,
        })
    }
}

/// The most workers that are started on the CPU by default: each holds a network in memory.
const MOST_CPU_WORKERS: usize = 8;

/// One worker per GPU. On the CPU one per core: tasks side by side keep the cores busier than the
/// threads of one task do, which wait for each other at every layer of a small net (and spin
/// while they wait, so that a busy machine slows them down many times over).
fn default_workers(kind: DeviceKind, devices: usize, cores: usize) -> usize {
    match kind {
        DeviceKind::Cpu => cores.clamp(1, MOST_CPU_WORKERS),
        DeviceKind::Cuda => devices,
    }
}

/// Ranks that train a task together here: as many as a person says, else as many GPUs as the sweep
/// asks for of each worker.
fn ranks(args: &RunArgs, needs: &Requirements) -> u32 {
    match (args.ranks, args.device) {
        (Some(ranks), _) => ranks.into(),
        (None, DeviceKind::Cuda) => needs.gpus_per_node().max(1),
        (None, DeviceKind::Cpu) => 1,
    }
}

/// GPUs that each worker says that it has.
fn offered(args: &RunArgs, needs: &Requirements, ranks: u32) -> u32 {
    match (args.ranks, args.device) {
        (Some(_), _) => ranks.max(needs.gpus_per_node()),
        (None, DeviceKind::Cuda) => ranks,
        (None, DeviceKind::Cpu) => 0,
    }
}

/// The first device of each worker, when each takes as many as it has ranks; at least one.
fn devices(kind: DeviceKind, ranks: u32) -> Result<Vec<String>> {
    if kind == DeviceKind::Cpu {
        return Ok(vec!["cpu".to_owned()]);
    }
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let count = match &visible {
        Some(list) => list.split(',').filter(|id| !id.trim().is_empty()).count(),
        None => fs::read_dir("/dev").map_or(0, |entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter_map(|name| name.strip_prefix("nvidia")?.parse::<u32>().ok())
                .count()
        }),
    };
    if count == 0 {
        let why = visible.map_or_else(
            || "there is no /dev/nvidia0".to_owned(),
            |list| format!("CUDA_VISIBLE_DEVICES is {list:?}"),
        );
        bail!(
            "expected a CUDA device for --device cuda, found none: {why}; train with --device cpu"
        );
    }
    let ranks = ranks as usize;
    if count < ranks {
        bail!(
            "expected {ranks} GPUs for the ranks of one task, found {count}; train on those with \
             --ranks {count}"
        );
    }
    let first = (0..count / ranks).map(|worker| worker * ranks);
    Ok(first.map(|index| format!("cuda:{index}")).collect())
}

/// A sweep that asks for GPUs is not trained on a CPU without a word: it might take months.
fn require_device(args: &RunArgs, needs: &Requirements) -> Result<()> {
    let gpus = needs.gpus;
    if gpus > 0 && args.device == DeviceKind::Cpu && args.ranks.is_none() {
        bail!(
            "expected --device cuda, since spec.resources.gpus asks for {gpus} per task, found \
             --device cpu; to train on the CPU all the same, say on how many processes with --ranks"
        );
    }
    Ok(())
}

/// What no worker of this machine has would be waited for for ever.
fn require_offer(needs: &Requirements, slots: &[Slot], gpus: u32, labels: &[String]) -> Result<()> {
    let offers: Vec<Offer> = (slots.iter())
        .map(|slot| Offer {
            labels: labels.iter().cloned().collect(),
            gpus,
            ..machine::offer_of(&slot.device, None)
        })
        .collect();
    let unmet = needs.unmet_by(&offers.iter());
    if let (false, Some(offer)) = (unmet.is_empty(), offers.first()) {
        bail!(
            "expected a machine with what spec.resources asks for, found none of this on it: {}; each \
             of its {} workers has {offer}; change spec.resources, give labels with --label, or submit \
             the sweep to a coordinator with such workers",
            unmet.join("; "),
            slots.len()
        );
    }
    Ok(())
}

fn absolute(root: DataRoot) -> Result<DataRoot> {
    Ok(match root {
        DataRoot::Folder(folder) => std::path::absolute(folder)?.into(),
        DataRoot::Bucket(_) => root,
    })
}

/// Checks that every file of a data set, or the index of its shards, is there. What is in them,
/// the trainer checks.
fn require_data(set: DataSet, root: &DataRoot) -> Result<()> {
    let folder = match root.of(set) {
        DataRoot::Folder(folder) => folder,
        DataRoot::Bucket(url) => {
            Index::in_bucket(set, &Bucket::open(&url)?)?;
            return Ok(());
        }
    };
    if let Some(file) = missing_file(set, &folder) {
        bail!(
            "expected the data set {} in {}, found no {file}; get it with `autorep data fetch {}`, \
             or name another folder with --data or AUTOREP_DATA",
            set.name(),
            folder.display(),
            set.name()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use autorep_core::data::Part;

    use super::*;

    #[test]
    fn a_sweep_that_asks_for_gpus_is_not_trained_on_the_cpu() {
        let asked = |arguments: &[&str], gpus| {
            let needs = Requirements {
                gpus,
                ..Requirements::default()
            };
            let args = args(arguments);
            let (ranks, found) = (ranks(&args, &needs), require_device(&args, &needs));
            found.map(|()| (ranks, offered(&args, &needs, ranks)))
        };
        let error = asked(&[], 8).unwrap_err().to_string();
        assert!(error.contains("--device cuda"), "{error}");
        assert!(error.contains("--ranks"), "{error}");
        assert_eq!(asked(&[], 0).unwrap(), (1, 0));
        assert_eq!(asked(&["--device", "cuda"], 8).unwrap(), (8, 8));
        assert_eq!(asked(&["--device", "cuda"], 0).unwrap(), (1, 1));
        // A person has said that two are to do the work of eight.
        assert_eq!(asked(&["--ranks", "2"], 8).unwrap(), (2, 8));
        assert_eq!(asked(&["--ranks", "2"], 0).unwrap(), (2, 2));
    }

    fn args(arguments: &[&str]) -> RunArgs {
        use clap::Parser as _;
        let line = ["autorep", "run", "sweep.yaml"].iter().chain(arguments);
        let cli = crate::args::Cli::parse_from(line);
        let crate::args::Command::Run(args) = cli.command else {
            panic!("expected run");
        };
        args
    }

    #[test]
    fn missing_data_is_refused_with_the_command_that_gets_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("fashion-mnist");
        fs::create_dir(&folder).unwrap();
        let files: Vec<_> = Part::ALL
            .iter()
            .flat_map(|part| DataSet::FashionMnist.files(*part))
            .collect();
        for file in &files {
            let error = require_data(DataSet::FashionMnist, &root.path().into()).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("`autorep data fetch fashion-mnist`"),
                "{error}"
            );
            assert!(error.contains(file.name), "{error}");
            fs::write(folder.join(format!("{}.gz", file.name)), "").unwrap();
        }
        require_data(DataSet::FashionMnist, &root.path().into()).unwrap();
    }
}
