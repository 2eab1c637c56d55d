//! `autorep-trainer weights`: looks into files of weights and converts them.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use autorep_core::net::{Family, InputShape};
use tch::Device;

use super::StateDict;
use crate::nets::Net;

/// How `autorep-trainer weights` is used.
pub const USAGE: &str = "\
usage: autorep-trainer weights inspect FILE
       autorep-trainer weights check FILE --net NAME [--set KEY=VALUE]... [--classes N]
                                     [--channels N]
       autorep-trainer weights convert FILE OUT.safetensors

FILE is safetensors or a PyTorch state dict (.pth), which is read without executing anything.
`inspect` prints the file's sha256, then each tensor's name, type and shape. `check` says whether it
fits a net, with every tensor that is missing, surplus or of another shape. `convert` writes
safetensors in f32; from a checkpoint's tensors.safetensors it takes the net's weights, under the
names that torchvision gives them.
";

/// Does what the arguments after `weights` say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|argument| {
            let text = argument.into_string();
            text.map_err(|other| anyhow::anyhow!("expected UTF-8, found {}", other.display()))
        })
        .collect::<Result<_, _>>()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["inspect", file] => inspect(file),
        ["convert", file, out] => convert(file, out),
        ["check", file, options @ ..] => check(file, options),
        [] | ["--help", ..] => print(USAGE.trim_end()),
        _ => bail!("expected inspect, check or convert with its files\n{USAGE}"),
    }
}

fn inspect(file: &str) -> anyhow::Result<()> {
    let state = StateDict::read(&PathBuf::from(file))?;
    let mut lines = vec![format!("sha256 {}", state.digest())];
    for (name, tensor) in state.tensors() {
        lines.push(format!("{name} {:?} {:?}", tensor.kind(), tensor.size()));
    }
    print(&lines.join("\n"))
}

fn convert(file: &str, out: &str) -> anyhow::Result<()> {
    let state = StateDict::read(&PathBuf::from(file))?;
    let out = PathBuf::from(out);
    state.write(&out)?;
    let written = StateDict::read(&out)?;
    let count = written.tensors().len();
    print(&format!(
        "{} with {count} tensors, sha256 {}",
        out.display(),
        written.digest()
    ))
}

fn check(file: &str, options: &[&str]) -> anyhow::Result<()> {
    let mut settings = None;
    let (mut classes, mut channels) = (1_000_u32, 3_u32);
    for pair in options.chunks(2) {
        let [name, value] = pair else {
            bail!("expected a value after {}\n{USAGE}", pair[0]);
        };
        let number = || {
            value
                .parse()
                .with_context(|| format!("expected a number after {name}"))
        };
        match *name {
            "--net" => {
                let family = Family::ALL
                    .into_iter()
                    .find(|family| family.name() == *value);
                let family =
                    family.with_context(|| format!("found no net {value}: see autorep nets"))?;
                settings = Some(family.default_settings());
            }
            "--set" => {
                let given = settings.take().context("expected --net before --set")?;
                let (key, value) = value
                    .split_once('=')
                    .context("expected KEY=VALUE after --set")?;
                settings = Some(given.with(key, value).map_err(anyhow::Error::msg)?);
            }
            "--classes" => classes = number()?,
            "--channels" => channels = number()?,
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
    }
    let spec = settings.context("expected --net NAME")?.spec();
    if let Some(problem) = spec.problem() {
        bail!(problem);
    }
    // Tensors do not depend on the size of the images.
    let input = InputShape {
        channels,
        height: 32,
        width: 32,
    };
    let net = Net::blank(&spec, input, classes, Device::Cpu);
    StateDict::read(&PathBuf::from(file))?.assign(&net)?;
    print(&format!("{file} fits {spec} with {classes} classes"))
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
