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
        "1c40adebbb4ad83fe283af90fc7f39bde4385137e14620cdc482b2423337937d",
        "21d3030c365551ca8027f1a0573a4c4e52c661053cd571f98c30b872b68d903e",
        "032989c73b164471c3d5315ed9b896a1b9a17d3ccd2751a3a30d0478c4774e36",
        "392f318c8e91f2f371ea998b3c5dfcf7c8daf0f73b79b965b26cbac92c8e8291",
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
            "eabc53e0f2c0f1a00995e949d7dabdc9b105bf5851b2cb04aff9835208de019d",
            "1ab49ca3ab551217628f0b193bfd14a7123ba1c0f98b477d1c73302f04394346",
        ]
    );
}
