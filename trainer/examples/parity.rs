//! Holds nets against what other programs computed with the same weights: `parity FIXTURES
//! REFERENCE`, the folders that `scripts/parity.sh` fills. One line per check.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use autorep_core::data::{DataSet, Inputs, Preparation};
use autorep_core::net::{Family, FullActivation, InputShape, NetSettings};
use autorep_trainer::data::source::{Change, Preparer};
use autorep_trainer::nets::{Net, Phase};
use autorep_trainer::weights::StateDict;
use tch::{Device, Tensor};

const INPUT: InputShape = InputShape {
    channels: 3,
    height: 224,
    width: 224,
};
const CLASSES: u32 = 1_000;

/// The largest difference of a logit, relative to the largest logit.
const TOLERANCE: f64 = 1e-4;

/// Photographs that there are, and how many the net must name.
const PHOTOGRAPHS: usize = 20;
const RIGHT: usize = 18;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [fixtures, reference] = arguments.as_slice() else {
        bail!("usage: parity FIXTURES REFERENCE");
    };
    let nets = [
        ("resnet18", Family::ImagenetResnet18),
        ("resnet50", Family::ImagenetResnet50),
        ("efficientnet_b2", Family::EfficientnetB2),
    ];
    for (name, family) in nets {
        torchvision(Path::new(fixtures), name, family)?;
    }
    lite0(Path::new(reference))
}

/// The full net with the activation that it was published with.
fn blank(family: Family) -> Net {
    let settings = NetSettings {
        activation: Some(FullActivation::Published),
        ..family.default_settings()
    };
    Net::blank(&settings.spec(), INPUT, CLASSES, Device::Cpu)
}

/// The same logits as torchvision's net of this name, from weights that `torch.save` wrote and
/// from the safetensors that they are converted to.
fn torchvision(fixtures: &Path, name: &str, family: Family) -> anyhow::Result<()> {
    let saved = StateDict::read(&fixtures.join(format!("{name}.pth")))?;
    let example = StateDict::read(&fixtures.join(format!("{name}.safetensors")))?;
    let tensor = |key: &str| {
        let tensor = example.tensors().get(key);
        tensor.with_context(|| format!("expected {key} in the fixture of {name}, found none"))
    };
    let (input, wanted) = (tensor("input")?, tensor("output")?);
    let converted = std::env::temp_dir().join(format!("parity-{}", std::process::id()));
    saved.write(&converted)?;
    let read = StateDict::read(&converted);
    drop(std::fs::remove_file(&converted));
    let converted = read?;
    for (form, state) in [("pth", &saved), ("safetensors", &converted)] {
        let net = blank(family);
        state.assign(&net)?;
        let logits = tch::no_grad(|| net.full(input, Phase::Eval));
        let difference = relative(&logits, wanted);
        let line = format!("{name} from {form}: logits differ by {difference:.1e}");
        ensure!(
            difference <= TOLERANCE,
            "{line}, expected at most {TOLERANCE:.0e}"
        );
        say(&format!("{line} of torchvision's"))?;
    }
    Ok(())
}

/// EfficientNet-Lite0 with its published weights names what the published photographs show.
fn lite0(reference: &Path) -> anyhow::Result<()> {
    let net = blank(Family::EfficientnetLite0);
    StateDict::read(&reference.join("lite0.pth"))?.assign(&net)?;
    let folder = reference.join("images");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    ensure!(
        names.len() == PHOTOGRAPHS,
        "expected {PHOTOGRAPHS} photographs in {}, found {}",
        folder.display(),
        names.len()
    );
    let mut right = 0;
    for name in &names {
        // imagenet_NN_LABEL.jpg
        let label = name.trim_end_matches(".jpg").rsplit('_').next();
        let label: i64 = label.unwrap_or_default().parse()?;
        let bytes = std::fs::read(folder.join(name))?;
        let logits = tch::no_grad(|| {
            let image = prepared(&bytes).with_context(|| format!("in {name}"))?;
            anyhow::Ok(net.full(&image, Phase::Eval))
        })?;
        let named = logits.argmax(1, false).int64_value(&[0]);
        if named == label {
            right += 1;
        } else {
            say(&format!("{name} is taken for class {named}"))?;
        }
    }
    let line = format!("efficientnet-lite0: {right} of {PHOTOGRAPHS} photographs named rightly");
    ensure!(right >= RIGHT, "{line}, expected at least {RIGHT}");
    say(&line)
}

/// The net's input of a JPEG file, as the loader prepares it for the family's published weights.
fn prepared(bytes: &[u8]) -> anyhow::Result<Tensor> {
    let mut preparer = Preparer::new(Inputs {
        set: DataSet::Imagenet,
        preparation: Preparation::published(Family::EfficientnetLite0),
    });
    let mut pixels = Vec::new();
    preparer
        .append_picture(bytes, 0, Change::None, &mut pixels)
        .map_err(anyhow::Error::msg)?;
    Ok(Tensor::from_slice(&pixels).view([1, 3, 224, 224]))
}

fn relative(found: &Tensor, wanted: &Tensor) -> f64 {
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    largest(&(found - wanted)) / largest(wanted)
}

fn say(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout(), "parity: {text}")?)
}
