//! Sweeps that start from weights.

use super::{SMALLEST, good};
use crate::data::{Interpolation, Normalise, Preparation};
use crate::manifest::parse;
use crate::plan::{Plan, PlanSummary};
use crate::task::{TaskSpec, Work};

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The smallest manifest with weights, so many epochs, and what more its baseline says.
fn from_weights(epochs: u32, more: &str) -> String {
    let baseline =
        format!("{{epochs: {epochs}, weights: net.pth, weights_sha256: {DIGEST}{more}}}");
    SMALLEST.replace("{epochs: 2}", &baseline)
}

fn baseline(text: &str) -> TaskSpec {
    let plan = Plan::expand(&good(text));
    let mut specs = plan.tasks.into_iter().map(|task| task.spec);
    specs.find(|spec| spec.inputs().is_empty()).unwrap()
}

#[test]
fn weights_and_their_digest_are_part_of_the_baselines_identity() {
    let text = from_weights(0, "");
    let spec = baseline(&text);
    let Work::Baseline { recipe } = &spec.work else {
        panic!("{spec:?}");
    };
    let weights = recipe.weights.as_ref().unwrap();
    assert_eq!(
        (weights.file.as_str(), weights.sha256.to_string().as_str()),
        ("net.pth", DIGEST)
    );
    let other = text.replace("e3b0", "e3b1");
    assert_ne!(baseline(&other).id(), spec.id());
    let json = spec.canonical_json();
    assert_eq!(serde_json::from_str::<TaskSpec>(&json).unwrap(), spec);
}

#[test]
fn of_a_baseline_without_epochs_only_what_measures_it_tells_work_apart() {
    let id = |epochs, more| baseline(&from_weights(epochs, more)).id();
    let training = ", lr: 0.3, batch: 7, optimizer: adam, ema: 0.9, decay_all: true";
    assert_eq!(id(0, training), id(0, ""));
    assert_ne!(id(0, ", precision: bf16"), id(0, ""));
    assert_ne!(id(1, training), id(1, ""));
}

#[test]
fn a_baseline_without_epochs_costs_one_look_at_the_validation_images() {
    let manifest = good(&from_weights(0, ""));
    let plan = Plan::expand(&manifest);
    let summary = PlanSummary::new(&manifest, &plan);
    let trained = good(SMALLEST);
    let more = PlanSummary::new(&trained, &Plan::expand(&trained));
    assert_eq!(summary.tasks, more.tasks);
    let macs = |spec: &TaskSpec| crate::cost::task_cost(spec).macs;
    let (as_is, two) = (
        macs(&baseline(&from_weights(0, ""))),
        macs(&baseline(SMALLEST)),
    );
    // Two epochs: three passes over 429 batches of 128, one over 5,000.
    let passes = 2 * (3 * 429 * 128 + 5_000);
    assert_eq!(as_is / 5_000, two / passes);
}

#[test]
fn published_weights_see_the_inputs_that_they_were_published_with() {
    let prepared = |net: &str, data: &str| {
        let text = from_weights(0, "").replace("resnet9", net);
        baseline(&text.replace("fashion-mnist", data))
            .data
            .preparation
    };
    let chosen = |normalise, interpolation| Preparation {
        normalise,
        interpolation,
        resize: None,
    };
    assert_eq!(
        prepared("efficientnet-lite0", "imagenet"),
        chosen(Normalise::Centred, Interpolation::Bicubic)
    );
    assert_eq!(
        prepared("efficientnet-b2", "imagenet"),
        chosen(Normalise::Statistics, Interpolation::Bicubic)
    );
    assert_eq!(
        prepared("imagenet-resnet50", "imagenet"),
        Preparation::default()
    );
    let given = "imagenet, normalise: statistics, interpolation: bilinear, resize: 256";
    assert_eq!(
        prepared("efficientnet-lite0", given),
        Preparation::default(),
        "what is given counts more"
    );
    let resize = prepared("efficientnet-b2", "imagenet, resize: 288").resize;
    assert_eq!(resize, Some(288));
    // Random weights know nothing of how their net was published.
    let random = SMALLEST
        .replace("resnet9", "efficientnet-lite0")
        .replace("fashion-mnist", "imagenet");
    assert_eq!(baseline(&random).data.preparation, Preparation::default());
}

#[test]
fn an_axis_of_the_net_that_keeps_its_tensors_shapes_goes_with_weights() {
    let text = from_weights(0, "")
        .replace("resnet9", "efficientnet-b0")
        .replace("fashion-mnist", "imagenet");
    let with = |axis: &str| format!("{text}  grid: {{{axis}}}\n");
    parse(&with("net.activation: [relu, published]")).unwrap();
    let several = parse(&with("net.name: [efficientnet-b0, efficientnet-b2]")).unwrap_err();
    assert_eq!(several.len(), 1, "{several:?}");
    assert!(several[0].message.contains("one net"), "{several:?}");
}
