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
        "7378369b834bda227f8f1762feafa8a99e9bf67d7f61dc46819a666062c70b6f",
        "f7a6fbf7a77eb8e61dd570741ca6346a9d9664ca692b869330f299418b5e66b3",
        "b2748e0be310a3fb61b5817f83aa8b9c79aee4c4186f03ed3afdf7d2f325b778",
        "5d7c2dd7a60078f129264c089e9d13481785fda2e539924afb622f144def415c",
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
            "d36b4c2ca81d06add3dec0295b710c3bd5ce3189683a33a3545cc1ca523ea6af",
            "8ad8176e9ddff52ab0c473439728dbe663914455336e3294b0faf2a3b049e21f",
        ]
    );
}
