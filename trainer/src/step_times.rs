//! Measures what an optimizer step of a search costs beside one of the plain net: time and memory.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use autorep_core::data::{Check, DataSet, DataSpec, Preparation};
use autorep_core::digest::Digest;
use autorep_core::id::TaskId;
use autorep_core::net::NetSpec;
use autorep_core::recipe::{Distillation, Precision, ReplaceRecipe};
use autorep_core::task::{NET_OUTPUT, OutputRef, RESULT_VERSION, TaskSpec, Work};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::data::{Batch, DataPlace};
use crate::device;
use crate::methods::Setup;
use crate::methods::in_memory::{Form, STEPS, stage};
use crate::ranks::Ranks;
use crate::training::Training;

/// How it is called.
pub const USAGE: &str = "\
usage: autorep-trainer step-times NET DATA [OPTIONS]

Steps on random images of DATA's size through NET, both as in a manifest: the plain net and a search
in turn, each with a teacher. Prints JSON: milliseconds of each step, and peak memory.

  --batch N         images per step (32)
  --steps N         steps of each after two that are not counted (10)
  --only plain|replace   one of the two; its peak memory is its own then
  --precision fp32|bf16|fp16
  --device cpu|cuda:N
  --threads N       CPU threads; 0 leaves libtorch's choice (0)
";

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    net: NetSpec,
    data: DataSet,
    batch: u32,
    steps: usize,
    forms: Vec<Form>,
    precision: Precision,
    device: String,
    threads: i32,
}

/// Reads the command line after `step-times`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<Options> {
    let text = |argument: OsString| argument.into_string().ok().context("expected UTF-8");
    let mut arguments = arguments.into_iter();
    let mut named = |what: &str| {
        let argument = arguments
            .next()
            .with_context(|| format!("expected {what}\n{USAGE}"))?;
        text(argument)
    };
    let (net, data) = (named("a net")?, named("a data set")?);
    let mut options = Options {
        net: net_of(&net)?,
        data: serde_json::from_value(json!(data))
            .with_context(|| format!("expected the name of a data set, found {data}"))?,
        batch: 32,
        steps: 10,
        forms: vec![Form::Plain, Form::Replace],
        precision: Precision::Fp32,
        device: "cpu".to_owned(),
        threads: 0,
    };
    while let Some(name) = arguments.next() {
        let name = text(name)?;
        let value = arguments
            .next()
            .with_context(|| format!("expected a value after {name}"))?;
        let value = text(value)?;
        let wrong = || format!("expected a number after {name}, found {value}");
        match name.as_str() {
            "--batch" => options.batch = value.parse().with_context(wrong)?,
            "--steps" => options.steps = value.parse().with_context(wrong)?,
            "--threads" => options.threads = value.parse().with_context(wrong)?,
            "--device" => options.device = value,
            "--precision" => {
                options.precision = serde_json::from_value(json!(value))
                    .with_context(|| format!("expected fp32, bf16 or fp16, found {value}"))?;
            }
            "--only" => {
                options.forms = match value.as_str() {
                    "plain" => vec![Form::Plain],
                    "replace" => vec![Form::Replace],
                    _ => bail!("expected plain or replace after --only, found {value}"),
                }
            }
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
    }
    ensure!(options.batch > 1, "expected at least two images per step");
    let most = STEPS as usize - 3;
    let steps = options.steps;
    ensure!(
        (1..=most).contains(&steps),
        "expected 1 to {most} steps, found {steps}"
    );
    Ok(options)
}

/// A net by its name in manifests, with the settings that it has there by default.
fn net_of(name: &str) -> anyhow::Result<NetSpec> {
    let family: autorep_core::net::Family = serde_json::from_value(json!(name))
        .with_context(|| format!("expected the name of a net, found {name}"))?;
    Ok(family.default_settings().spec())
}

/// Measures, and returns what is printed.
pub fn run(options: &Options) -> anyhow::Result<serde_json::Value> {
    let device = device::open(&options.device)?;
    if options.threads > 0 {
        tch::set_num_threads(options.threads);
    }
    let setup = setup(options, device);
    let batch = batch(options, device);
    let before = memory("VmRSS")?;
    let mut stages = Vec::new();
    for form in &options.forms {
        stages.push(stage(&setup, *form)?.context("expected a search")?);
    }
    let mut times = vec![Vec::new(); stages.len()];
    for step in 0..options.steps + 2 {
        for (training, times) in stages.iter_mut().zip(&mut times) {
            let took = timed(training, &batch, device)?;
            if step >= 2 {
                times.push(took);
            }
        }
    }
    let named = |form: &Form| match form {
        Form::Plain => "plain_ms",
        Form::Replace => "replace_ms",
    };
    let mut all = json!({
        "net": options.net,
        "batch": options.batch,
        "threads": tch::get_num_threads(),
        "relus": stages.last().map(|training| training.masked.sites.total()),
        // Of a GPU it would be the host's, which says nothing.
        "peak_mib": if device == Device::Cpu {
            Some((memory("VmHWM")? - before) / 1024.0)
        } else {
            None
        },
    });
    for (form, times) in options.forms.iter().zip(times) {
        all[named(form)] = json!(times);
    }
    Ok(all)
}

/// Milliseconds of a step, until the device is done.
fn timed(training: &mut Training, batch: &Batch, device: Device) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let loss = training.advance(batch)?;
    if let Device::Cuda(_) = device {
        let _waited = loss.double_value(&[]);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn setup(options: &Options, device: Device) -> Setup {
    let total = options.net.relu_total(options.data.input());
    let mut recipe = ReplaceRecipe::default();
    recipe.schedule.batch = options.batch;
    recipe.schedule.epochs = 1;
    recipe.schedule.precision = options.precision;
    recipe.distillation = Distillation {
        kd_weight: 1.0,
        ce_weight: 1.0,
        ..recipe.distillation
    };
    let baseline = OutputRef {
        task: TaskId(Digest::of(b"none")),
        output: NET_OUTPUT.to_owned(),
    };
    let spec = TaskSpec {
        version: RESULT_VERSION,
        net: options.net.clone(),
        data: DataSpec {
            name: options.data,
            train: 1,
            validation: 1,
            augment: false,
            max_corrupt: 0,
            preparation: Preparation::default(),
        },
        seed: 0,
        work: Work::Replace {
            baseline,
            start: None,
            budgets: vec![total / 10],
            recipe: recipe.canonical(),
        },
    };
    Setup {
        spec,
        input_folders: Vec::new(),
        data: DataPlace::from(Path::new("")),
        weights: None,
        check: Check::Format,
        device,
        threads: 1,
        ranks: Ranks::alone(),
        begun: Instant::now(),
    }
}

fn batch(options: &Options, device: Device) -> Batch {
    let input = options.data.input();
    let [channels, height, width] = [input.channels, input.height, input.width].map(i64::from);
    let images = i64::from(options.batch);
    tch::manual_seed(0);
    Batch {
        images: Tensor::randn([images, channels, height, width], (Kind::Float, device)),
        labels: Tensor::randint(
            i64::from(options.data.classes()),
            [images],
            (Kind::Int64, device),
        ),
        positions: Tensor::arange(images, (Kind::Int64, device)),
        skipped: Vec::new(),
    }
}

/// KiB that `/proc/self/status` says under this name.
fn memory(name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let number = number.with_context(|| format!("expected {name} in /proc/self/status"))?;
    Ok(number.parse()?)
}
