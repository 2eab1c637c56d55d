//! Measures what training over several ranks costs: processes of this machine's CPU, one thread each,
//! train ResNet-18 on made-up images of 28 x 28 pixels, each rank with as many images per step.
//!
//! `OMP_WAIT_POLICY=passive cargo run --release -p autorep-trainer --example ranks -- [IMAGES [STEPS]]`
//! (32 images per rank and 12 steps by default) prints a line of JSON for each number of ranks, with
//! and without synchronised batch normalisation.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use autorep_core::data::{Check, DataSet, DataSpec, Preparation};
use autorep_core::net::Family;
use autorep_core::recipe::{BaselineRecipe, OptimizerKind, Schedule};
use autorep_core::task::{RESULT_VERSION, TaskSpec, Work};
use autorep_trainer::data::{Batches, Share};
use autorep_trainer::methods::{Setup, Start};
use autorep_trainer::ranks::{Meeting, Place, Ranks};
use tch::Device;

/// Steps before the measured ones.
const WARM_UP: u64 = 2;

/// Images of the made-up data set beside those that are validated.
const IMAGES: u32 = 2_000;

/// Validated at the end of an epoch, which is not reached.
const VALIDATION: u32 = 10;

fn write_data(folder: &Path) -> std::io::Result<()> {
    for (part, count) in [("train", IMAGES + VALIDATION), ("t10k", VALIDATION)] {
        let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
            let words = std::iter::once(&magic).chain(sizes);
            words.flat_map(|word| word.to_be_bytes()).collect()
        };
        let mut images = header(0x803, &[count, 28, 28]);
        images.extend((0..count * 784).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]));
        let mut labels = header(0x801, &[count]);
        labels.extend((0..count).map(|at| (at % 10).to_be_bytes()[3]));
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images)?;
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels)?;
    }
    Ok(())
}

fn spec(batch: u32, sync_bn: bool) -> TaskSpec {
    let schedule = Schedule {
        epochs: 100,
        batch,
        optimizer: OptimizerKind::Sgd,
        lr: 0.01,
        sync_bn,
        ..Schedule::default()
    };
    TaskSpec {
        version: RESULT_VERSION,
        net: Family::Resnet18.default_settings().spec(),
        data: DataSpec {
            name: DataSet::FashionMnist,
            train: IMAGES,
            validation: VALIDATION,
            augment: true,
            max_corrupt: 0,
            preparation: Preparation::default(),
        },
        seed: 0,
        work: Work::Baseline {
            recipe: BaselineRecipe {
                schedule,
                weights: None,
            },
        },
    }
}

/// What a rank is told, in the words of its command line.
struct Told {
    rank: u32,
    ranks: u32,
    port: u16,
    images: u32,
    steps: u64,
    sync_bn: bool,
    folder: String,
}

impl Told {
    fn arguments(&self) -> [String; 8] {
        [
            "rank".to_owned(),
            self.rank.to_string(),
            self.ranks.to_string(),
            self.port.to_string(),
            self.images.to_string(),
            self.steps.to_string(),
            self.sync_bn.to_string(),
            self.folder.clone(),
        ]
    }

    fn read(words: &[String]) -> anyhow::Result<Self> {
        let [_, rank, ranks, port, images, steps, sync_bn, folder] = words else {
            anyhow::bail!("expected a rank's seven words, found {words:?}");
        };
        Ok(Self {
            rank: rank.parse()?,
            ranks: ranks.parse()?,
            port: port.parse()?,
            images: images.parse()?,
            steps: steps.parse()?,
            sync_bn: sync_bn.parse()?,
            folder: folder.clone(),
        })
    }
}

fn come_together(told: &Told) -> anyhow::Result<Ranks> {
    if told.ranks == 1 {
        return Ok(Ranks::alone());
    }
    let meeting = Meeting::start(Place {
        share: Share::new(told.rank, told.ranks)?,
        host: "127.0.0.1".to_owned(),
        port: told.port,
        deadline: Duration::from_mins(2),
    })?;
    if told.rank == 0 {
        say(&meeting.port().to_string());
    }
    Ok(meeting.complete(Device::Cpu)?)
}

/// Trains as one rank; rank 0 prints what was measured.
fn train(told: &Told) -> anyhow::Result<()> {
    autorep_trainer::allocator::keep_freed_memory();
    tch::set_num_threads(1);
    let ranks = come_together(told)?;
    let setup = Setup {
        spec: spec(told.images * told.ranks, told.sync_bn),
        input_folders: Vec::new(),
        data: Path::new(&told.folder).into(),
        weights: None,
        check: Check::Format,
        device: Device::Cpu,
        threads: 1,
        ranks: ranks.clone(),
        begun: Instant::now(),
    };
    let mut training = setup.training(Start::Anew)?.context("a task that trains")?;
    let epoch = training.steps_per_epoch();
    ensure!(
        WARM_UP + told.steps < epoch,
        "expected fewer steps than the {epoch} of an epoch"
    );
    let mut batches = Batches::start(training.stream.clone(), 0, Device::Cpu)?;
    for _ in 0..WARM_UP {
        let _loss = training.advance(&batches.take()?)?;
    }
    ranks.agree([0])?;
    let (before, begun) = (training.traffic(), Instant::now());
    for _ in 0..told.steps {
        let _loss = training.advance(&batches.take()?)?;
    }
    ranks.agree([0])?;
    let step_s = begun.elapsed().as_secs_f64() / told.steps as f64;
    let after = training.traffic();
    if told.rank == 0 {
        let steps = told.steps as f64;
        let [busy, exposed] = [
            after.busy_s - before.busy_s,
            after.exposed_s - before.exposed_s,
        ];
        let hidden = if busy > 0.0 {
            1.0 - exposed / busy
        } else {
            1.0
        };
        say(&serde_json::to_string(&serde_json::json!({
            "ranks": told.ranks,
            "sync_bn": told.sync_bn,
            "images": told.images,
            "step_s": step_s,
            "bytes": (after.bytes - before.bytes) / steps,
            "busy_s": busy / steps,
            "hidden": hidden,
        }))?);
    }
    Ok(())
}

/// Lets so many ranks train; what rank 0 prints at the end.
fn measure(told: &Told) -> anyhow::Result<String> {
    let start = |told: &Told| {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(told.arguments())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut first = start(told)?;
    let mut lines = BufReader::new(first.stdout.take().context("a pipe")?).lines();
    let mut line = || {
        lines
            .next()
            .context("expected a line of rank 0, found its end")
    };
    let mut others = Vec::new();
    if told.ranks > 1 {
        let port: u16 = line()??.parse()?;
        for rank in 1..told.ranks {
            let folder = told.folder.clone();
            others.push(start(&Told {
                rank,
                port,
                folder,
                ..*told
            })?);
        }
    }
    let measured = line()??;
    for mut child in std::iter::once(first).chain(others) {
        ensure!(child.wait()?.success(), "a rank failed");
    }
    Ok(measured)
}

#[expect(clippy::print_stdout, reason = "prints its measurements")]
fn say(line: &str) {
    println!("{line}");
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "rank") {
        return train(&Told::read(&words)?);
    }
    let number = |at: usize, otherwise: u32| {
        let word = words.get(at).map(|word| word.parse::<u32>());
        word.transpose().map(|number| number.unwrap_or(otherwise))
    };
    let (images, steps) = (number(0, 32)?, number(1, 12)?);
    let folder = std::env::temp_dir().join(format!("autorep-ranks-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    write_data(&folder)?;
    for (ranks, sync_bn) in [(1, true), (2, true), (2, false)] {
        let told = Told {
            rank: 0,
            ranks,
            port: 0,
            images,
            steps: steps.into(),
            sync_bn,
            folder: folder
                .to_str()
                .context("a folder with a plain name")?
                .to_owned(),
        };
        say(&measure(&told)?);
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}
