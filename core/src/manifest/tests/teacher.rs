//! Sweeps that are distilled from another teacher than the baseline.

use super::{SMALLEST, good};
use crate::cost::task_cost;
use crate::id::TaskId;
use crate::net::{Family, FullActivation, NetSpec};
use crate::plan::Plan;
use crate::task::{TaskKind, TaskSpec, Work};

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The smallest manifest with a teacher of this net, and what more its spec says.
fn taught(net: &str, more: &str) -> String {
    format!("{SMALLEST}  teacher: {{{net}, weights: big.pth, weights_sha256: {DIGEST}}}\n{more}")
}

fn task(text: &str, kind: TaskKind) -> TaskSpec {
    let plan = Plan::expand(&good(text));
    let mut specs = plan.tasks.into_iter().map(|task| task.spec);
    specs.find(|spec| spec.kind() == kind).unwrap()
}

#[test]
fn a_teacher_is_part_of_what_is_distilled_from_it_and_of_nothing_else() {
    let text = taught("name: resnet18, width: 16", "");
    let same = |kind| task(&text, kind).id() == task(SMALLEST, kind).id();
    assert!(same(TaskKind::Baseline));
    assert!(!same(TaskKind::Replace) && !same(TaskKind::Finetune));
    let search = task(&text, TaskKind::Replace);
    let Work::Replace { recipe, .. } = &search.work else {
        panic!("{search:?}");
    };
    let teacher = recipe.distillation.teacher.as_ref().unwrap();
    assert_eq!(teacher.net, NetSpec::resnet18(16));
    assert_eq!(teacher.weights.file.as_str(), "big.pth");
    assert_eq!(teacher.weights.sha256.to_string(), DIGEST);
    let json = search.canonical_json();
    assert_eq!(serde_json::from_str::<TaskSpec>(&json).unwrap(), search);
    let manifest = good(&text);
    let needed = [(teacher.net.clone(), &teacher.weights)];
    assert_eq!(manifest.weights(), needed, "one file, once");
}

#[test]
fn a_teacher_that_is_not_asked_changes_nothing() {
    let silent = |text: &str| {
        text.replace("epochs: 3", "epochs: 3, kd_weight: 0")
            .replace("epochs: 4", "epochs: 4, kd_weight: 0")
    };
    let ids = |text: &str| -> Vec<TaskId> {
        let plan = Plan::expand(&good(&silent(text)));
        plan.tasks.iter().map(|task| task.id).collect()
    };
    let text = taught("name: resnet18", "");
    assert_eq!(ids(&text), ids(SMALLEST));
    assert!(good(&silent(&text)).weights().is_empty(), "nobody reads it");
}

#[test]
fn every_arm_has_the_teacher() {
    let arms = "  arms: [{name: a}, {name: b, method: snl}]\n";
    let manifest = good(&taught("name: resnet18", arms));
    assert_eq!(manifest.arms.len(), 2);
    for arm in &manifest.arms {
        assert!(arm.replace.distillation.teacher.is_some(), "{:?}", arm.name);
        assert!(
            arm.finetune.distillation.teacher.is_some(),
            "{:?}",
            arm.name
        );
    }
}

#[test]
fn a_teacher_computes_what_its_family_was_published_with_unless_told_otherwise() {
    let activation = |net: &str| {
        let text = taught(net, "")
            .replace("resnet9", "efficientnet-b0")
            .replace("fashion-mnist", "imagenet");
        let search = task(&text, TaskKind::Replace);
        let Work::Replace { recipe, .. } = search.work else {
            panic!("{search:?}");
        };
        assert_eq!(search.net.family(), Family::EfficientnetB0);
        let NetSpec::EfficientnetB2(net) = recipe.distillation.teacher.unwrap().net else {
            panic!("expected another net");
        };
        net.activation
    };
    let published = activation("name: efficientnet-b2");
    assert_eq!(published, FullActivation::Published);
    let relu = activation("name: efficientnet-b2, activation: relu");
    assert_eq!(relu, FullActivation::Relu);
}

#[test]
fn a_teachers_pass_costs_what_its_own_net_costs() {
    let (own, big) = (SMALLEST.to_owned(), taught("name: resnet18", ""));
    let [own, big] = [own, big].map(|text| task_cost(&task(&text, TaskKind::Finetune)).macs);
    let set = crate::data::DataSet::FashionMnist;
    let macs = |net: NetSpec| net.macs(set.input(), set.classes());
    let images = 4 * (55_000 / 128 * 128);
    assert_eq!(
        big - own,
        images * (macs(NetSpec::resnet18(64)) - macs(NetSpec::resnet9(64)))
    );
}
