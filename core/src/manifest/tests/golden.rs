//! Ids of tasks are a promise: what was computed under one is looked up under it for ever.

use super::{SMALLEST, good};
use crate::plan::Plan;

/// The ids of a plan's baseline, and the digest of the whole plan.
fn ids(text: &str) -> [String; 2] {
    let plan = Plan::expand(&good(text));
    let baseline = plan.tasks.iter().find(|task| task.spec.inputs().is_empty());
    let baseline = baseline.map(|task| task.spec.id().to_string());
    [baseline.unwrap_or_default(), plan.digest().to_string()]
}

/// A change of one of these ids is a change of `RESULT_VERSION`, or a mistake.
#[test]
fn a_key_that_is_new_leaves_the_ids_of_older_manifests_as_they_were() {
    let imagenet = SMALLEST
        .replace("fashion-mnist", "imagenet, max_corrupt: 3")
        .replace("resnet9", "efficientnet-lite0");
    let found = [ids(SMALLEST), ids(&imagenet)].concat();
    let promised = [
        "95e4648c9624151854c371bdebd1d788d0f85b376390289331b470f56c300b6f",
        "98fb25877de96b2febd6d83790b3195a26bd19ae48596c51bf2ba86cd2ce8b72",
        "ed71ed30289460b9ff3f0b4fe946b394f12712814610ad355cbacb83de5b702d",
        "7749b5baf92cbb8b8276769db3bd6c78b5b9c627654a9c53b1150c39cae6ffee",
    ];
    assert_eq!(found, promised);
}

/// The presets write out most keys, and so name most defaults that are left out of the JSON.
#[test]
fn presets_make_the_plans_that_they_made() {
    let plan = |preset: &str| {
        let text = SMALLEST.replace("spec:", &format!("spec:\n  preset: {preset}"));
        Plan::expand(&good(&text)).digest().to_string()
    };
    assert_eq!(
        ["paper-cifar", "ref-compat-cifar"].map(plan),
        [
            "a4095d46bbd69b1c1a65f73c0126fc5c43da068af11266b7622f74effacd61e4",
            "48fecd423ce35ccf09bd57f0ab91c45f9b8cd90160f2867ba4c7f6c080c45811",
        ]
    );
}
