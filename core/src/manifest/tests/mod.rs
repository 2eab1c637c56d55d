//! Manifests in files: the bad ones in `testdata/bad` with their expected problems beside them,
//! the good ones in `testdata/good` and in the `manifests` folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::data::DataSet;
use crate::id::SweepName;
use crate::net::Family;
use crate::plan::{Plan, PlanSummary};
use crate::recipe::{
    BaselineRecipe, BudgetSchedule, CoefficientRates, Decay, Distillation, FinetuneRecipe,
    Granularity, LatentDecay, LatentInit, Method, OnUnreached, OptimizerKind, PenaltySchedule,
    PolynomialStart, Precision, ReplaceRecipe, Schedule, Sharing, Ties,
};

mod golden;
mod properties;
mod schema;
mod teacher;
mod weights;

/// Set to write the expected problems anew; read every change before committing it.
const REWRITE: &str = "AUTOREP_REWRITE_EXPECTED";

fn crate_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no manifests in {}", folder.display());
    files
}

fn good_files() -> Vec<PathBuf> {
    let mut files = yaml_files(&crate_root().join("testdata/good"));
    files.extend(yaml_files(&crate_root().join("../manifests")));
    files.extend(yaml_files(&crate_root().join("../manifests/paper")));
    files
}

fn good(text: &str) -> Manifest {
    parse(text).unwrap_or_else(|problems| panic!("{}", render(&problems, "good.yaml", text)))
}

/// The manifest with the fewest keys.
pub(super) const SMALLEST: &str = "\
apiVersion: autorep/v1
kind: Sweep
metadata: {name: smallest}
spec:
  data: {name: fashion-mnist}
  net: {name: resnet9}
  budgets: [10%]
  baseline: {epochs: 2}
  replace: {epochs: 3}
  finetune: {epochs: 4}
";

fn with_spec(line: &str) -> String {
    format!("{SMALLEST}  {line}\n")
}

#[test]
fn every_bad_manifest_has_exactly_its_expected_problems() {
    let folder = crate_root().join("testdata/bad");
    let files = yaml_files(&folder);
    assert!(files.len() >= 30, "{} bad manifests", files.len());
    let rewrite = std::env::var_os(REWRITE).is_some();
    let mut different = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let problems = parse(&text).expect_err(&name);
        assert!(!problems.is_empty(), "{name}");
        let found = render(&problems, &name, &text);
        let beside = file.with_extension("problems");
        if rewrite {
            fs::write(&beside, &found).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != found {
            different.push(found);
        }
    }
    assert!(
        different.is_empty(),
        "these are not the expected problems; if they are right, run with {REWRITE}=1:\n{}",
        different.join("\n")
    );
}

#[test]
fn every_good_manifest_is_parsed_planned_and_survives_json() {
    for file in good_files() {
        let text = fs::read_to_string(&file).unwrap();
        let manifest = good(&text);
        let stored = serde_json::to_string(&manifest).unwrap();
        let restored: Manifest = serde_json::from_str(&stored).unwrap();
        assert_eq!(restored, manifest, "{}", file.display());
        assert_eq!(serde_json::to_string(&restored).unwrap(), stored);
        let plan = Plan::expand(&manifest);
        assert!(!plan.tasks.is_empty(), "{}", file.display());
        assert_eq!(Plan::expand(&restored).digest(), plan.digest());
    }
}

/// A sweep that is run under a name that exists takes that sweep's place.
#[test]
fn no_two_manifests_of_the_project_have_one_name() {
    let root = crate_root();
    let folders = ["../manifests", "../manifests/paper"].map(|folder| root.join(folder));
    let files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| yaml_files(folder))
        .collect();
    assert!(files.len() > 12, "{files:?}");
    let name = |file: &PathBuf| good(&fs::read_to_string(file).unwrap()).name;
    let names: BTreeSet<SweepName> = files.iter().map(name).collect();
    assert_eq!(names.len(), files.len(), "{names:?}");
}

#[test]
fn the_quickstart_has_three_budgets_from_under_five_percent_to_half_and_two_seeds() {
    let text = fs::read_to_string(crate_root().join("../manifests/quickstart.yaml")).unwrap();
    let manifest = good(&text);
    let summary = PlanSummary::new(&manifest, &Plan::expand(&manifest));
    let shares: Vec<f64> = summary.nets[0]
        .budgets
        .iter()
        .map(|budget| budget.percent)
        .collect();
    assert!(shares.len() >= 3, "{shares:?}");
    assert!(shares.iter().any(|share| *share < 5.0), "{shares:?}");
    assert!(shares.contains(&50.0), "{shares:?}");
    assert!(manifest.seeds.len() >= 2);
}

#[test]
fn the_smallest_manifest_gets_the_documented_defaults() {
    let manifest = good(SMALLEST);
    assert_eq!(manifest.version, crate::task::RESULT_VERSION);
    assert_eq!(manifest.name.as_str(), "smallest");
    assert_eq!(manifest.data.name, DataSet::FashionMnist);
    assert_eq!(
        (manifest.data.train, manifest.data.validation),
        (55_000, 5_000)
    );
    assert!(manifest.data.augment);
    assert_eq!(manifest.net.name, Family::Resnet9);
    assert_eq!((manifest.net.width, manifest.net.stem_relu), (64, false));
    assert_eq!(manifest.arms.len(), 1);
    assert_eq!(manifest.arms[0].name, None);
    assert_eq!(manifest.arms[0].replace.method, Method::Autorep);
    assert_eq!(manifest.budgets, [BudgetSpec::Share(10_000_000)]);
    assert_eq!(manifest.seeds, [0]);
    assert!(manifest.grid.is_empty());
    assert_eq!(
        manifest.retry,
        RetryPolicy {
            attempts: 3,
            backoff_s: 10.0,
            ..RetryPolicy::default()
        }
    );
    assert_eq!(manifest.resources, Requirements::default());
    assert_eq!(manifest.checkpoint, CheckpointPolicy::default());
}

/// A stage's documented defaults, but for those that differ between the stages.
fn documented(epochs: u32, optimizer: OptimizerKind, lr: f64) -> Schedule {
    Schedule {
        epochs,
        batch: 128,
        optimizer,
        lr,
        momentum: 0.9,
        weight_decay: 0.0,
        warmup_epochs: 0.0,
        decay: Decay::Cosine,
        lr_min: 0.0,
        decay_all: false,
        grad_clip: 0.0,
        label_smoothing: 0.0,
        ema: 0.0,
        lookahead_steps: 0,
        lookahead_alpha: 0.5,
        precision: Precision::Fp32,
        sync_bn: true,
    }
}

#[test]
fn the_recipes_get_the_documented_defaults() {
    let manifest = good(SMALLEST);
    let distillation = Distillation {
        temperature: 4.0,
        kd_weight: 1.0,
        ce_weight: 1.0,
        teacher: None,
    };
    let baseline = BaselineRecipe {
        schedule: Schedule {
            weight_decay: 5e-4,
            warmup_epochs: 0.5,
            ..documented(2, OptimizerKind::Sgd, 0.1)
        },
        weights: None,
    };
    assert_eq!(manifest.baseline, baseline);
    let replace = ReplaceRecipe {
        method: Method::Autorep,
        schedule: documented(3, OptimizerKind::Adam, 1e-3),
        distillation: distillation.clone(),
        latent_lr: 5e-3,
        latent_decay: LatentDecay::Constant,
        latent_init: LatentInit::Constant,
        latent_value: 0.5,
        latent_low: 0.0,
        latent_high: 1.0,
        penalty: 3e-4,
        penalty_schedule: PenaltySchedule::Constant,
        penalty_growth: 1.1,
        penalty_checks: 100,
        penalty_grace: 0,
        hysteresis: 0.003,
        granularity: Granularity::Pixel,
        budget_schedule: BudgetSchedule::Anneal,
        anneal_power: 1.0,
        freeze_at: 1.0,
        freeze_after: 0,
        ties: Ties::Index,
        on_unreached: OnUnreached::Project,
        calibration_batches: 20,
        degree: 2,
        polynomial_start: PolynomialStart::Gaussian,
        refresh_every: 10,
        refresh_until: 500,
        sharing: Sharing::Channel,
        c0_damping: 1.0,
        c2_damping: 1.0,
        quadratic_scale: 1.0,
        quadratic_clip: 0.0,
        coefficients: CoefficientRates::default(),
    };
    assert_eq!(manifest.arms[0].replace, replace);
    let schedule = documented(4, OptimizerKind::Adam, 1e-3);
    let coefficients = CoefficientRates::default();
    let finetune = FinetuneRecipe {
        schedule,
        distillation,
        coefficients,
    };
    assert_eq!(manifest.arms[0].finetune, finetune);
}

#[test]
fn bytes_that_are_no_text_are_a_problem_with_its_place() {
    let problems = parse_bytes(b"apiVersion: autorep/v1\nkind: \xc3\xa9\xff").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].line, problems[0].column), (2, 8));
    assert_eq!(parse_bytes(SMALLEST.as_bytes()), parse(SMALLEST));
}

#[test]
fn an_axis_without_good_values_hides_no_other_problem_and_makes_up_none() {
    let text = SMALLEST
        .replace("name: resnet9", "width: 8")
        .replace("[10%]", "[400K]");
    let problems = parse(&format!("{text}  grid: {{net.name: [resnet8]}}\n")).unwrap_err();
    let messages: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(
        messages[0].contains("spec.grid.net.name[0]"),
        "{messages:?}"
    );
}

#[test]
fn seeds_are_a_list_or_a_number_of_them() {
    assert_eq!(good(&with_spec("seeds: [7, 3]")).seeds, [3, 7]);
    assert_eq!(good(&with_spec("seeds: 3")).seeds, [0, 1, 2]);
}

#[test]
fn what_a_task_needs_of_its_worker_has_its_units() {
    let resources = "resources: {gpus: 8, nodes: 2, gpu_type: h100, gpu_memory: 40GiB, memory: 512MiB, labels: [zone=a, spot=no]}";
    assert_eq!(
        good(&with_spec(resources)).resources,
        Requirements {
            gpus: 8,
            nodes: 2,
            gpu_type: "h100".to_owned(),
            gpu_memory_mib: 40 << 10,
            memory_mib: 512,
            labels: ["zone=a", "spot=no"].map(str::to_owned).into(),
        }
    );
    for bad in [
        "resources: {gpu_memory: 40}",
        "resources: {memory: 0GiB}",
        "resources: {memory: 1.5GiB}",
        "resources: {labels: [zone]}",
        "resources: {labels: []}",
        "resources: {gpu_type: ''}",
        "priority: 1.5",
        "priority: 1001",
    ] {
        assert!(parse(&with_spec(bad)).is_err(), "{bad}");
    }
    assert_eq!(good(&with_spec("priority: -7")).priority, -7);
}

#[test]
fn limits_of_classes_follow_the_attempts_unless_they_are_given() {
    let settled = |retry: &str| good(&with_spec(&format!("retry: {retry}"))).retry.settled();
    assert_eq!(settled("{attempts: 5, backoff: 1s}"), Retry::new(5, 1000));
    assert_eq!(settled("{attempts: 1}"), Retry::new(1, 10_000));
    let given = settled("{out_of_memory: 4, diverged: 5, lost_workers: 6}");
    assert_eq!(
        (
            given.attempts,
            given.out_of_memory,
            given.diverged,
            given.lost_workers
        ),
        (3, 4, 5, 6)
    );
}

#[test]
fn times_have_their_unit() {
    let retry = good(&with_spec("retry: {attempts: 5, backoff: 500ms}")).retry;
    assert_eq!(
        retry,
        RetryPolicy {
            attempts: 5,
            backoff_s: 0.5,
            ..RetryPolicy::default()
        }
    );
    assert_eq!(
        good(&with_spec("checkpoint: {every: 2m}"))
            .checkpoint
            .every_s,
        120
    );
    assert_eq!(
        good(&with_spec("checkpoint: {every: 0s}"))
            .checkpoint
            .every_s,
        0
    );
}

#[test]
fn ranges_are_spread_evenly_or_by_ratio_and_keep_their_ends() {
    let numbers = |range: &str| -> Vec<f64> {
        let manifest = good(&with_spec(&format!("grid: {{replace.penalty: {range}}}")));
        let values = manifest.grid[0].values().iter();
        values
            .map(|value| match value {
                AxisValue::Number(number) => *number,
                other @ (AxisValue::Switch(_) | AxisValue::Count(_) | AxisValue::Choice(_)) => {
                    panic!("expected a number, found {other}")
                }
            })
            .collect()
    };
    let log = numbers("{from: 1.0e-5, to: 1.0e-3, steps: 5, scale: log}");
    assert_eq!(log, [1e-5, 3.16228e-5, 1e-4, 3.16228e-4, 1e-3]);
    assert_eq!(
        numbers("{from: 0, to: 0.3, steps: 4}"),
        [0.0, 0.1, 0.2, 0.3]
    );
}

#[test]
fn a_range_of_a_whole_number_has_whole_numbers() {
    let manifest = good(&with_spec(
        "grid: {net.width: {from: 8, to: 64, steps: 4, scale: log}}",
    ));
    let widths = [8, 16, 32, 64].map(AxisValue::Count);
    assert_eq!(manifest.grid[0].values(), widths);
}

#[test]
fn an_axis_stands_in_for_a_required_field() {
    let text = SMALLEST.replace("replace: {epochs: 3}", "grid: {replace.epochs: [4, 2]}");
    let manifest = good(&text);
    assert_eq!(
        manifest.grid[0].values(),
        [AxisValue::Count(2), AxisValue::Count(4)]
    );
}

#[test]
fn the_number_of_tasks_is_limited_by_counting_alone() {
    let text = with_spec("seeds: 10");
    // Per seed a baseline, its evaluation, and one search with finetune and evaluation.
    assert!(parse_within(&text, 50).is_ok());
    let problems = parse_within(&text, 49).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].message.contains("at most 49 tasks, found 50"),
        "{}",
        problems[0]
    );
}

#[test]
fn a_grid_too_large_to_expand_is_counted_without_expanding_it() {
    let axis = |field: &str| format!("replace.{field}: {{from: 0.001, to: 1, steps: 10000}}");
    let fields = [
        "penalty",
        "hysteresis",
        "lr",
        "latent_lr",
        "freeze_at",
        "weight_decay",
    ];
    let axes: Vec<String> = fields.into_iter().map(axis).collect();
    let problems = parse(&with_spec(&format!("grid: {{{}}}", axes.join(", ")))).unwrap_err();
    assert!(
        problems[0].message.contains("at most 1,000,000 tasks"),
        "{}",
        problems[0]
    );
}

#[test]
fn a_stored_axis_is_checked_like_a_given_one() {
    let bad = [
        r#"{"field":"replace.colour","values":[{"number":1.0}]}"#,
        r#"{"field":"replace.penalty","values":[]}"#,
        r#"{"field":"replace.penalty","values":[{"number":-1.0}]}"#,
        r#"{"field":"replace.penalty","values":[{"count":1}]}"#,
        r#"{"field":"replace.penalty","values":[{"number":1.0},{"number":1.0}]}"#,
        r#"{"field":"data.validation","values":[{"count":100}]}"#,
    ];
    for text in bad {
        assert!(serde_json::from_str::<Axis>(text).is_err(), "{text}");
    }
}

/// The three stages of the smallest manifest without their epochs, under a preset.
fn with_preset(preset: &str) -> Manifest {
    let text = with_spec(&format!("preset: {preset}"));
    let epochs = ["epochs: 2", "epochs: 3", "epochs: 4"].iter();
    good(&epochs.fold(text, |text, epochs| text.replace(epochs, "")))
}

#[test]
fn a_preset_gives_what_is_not_given() {
    let manifest = with_preset("ref-compat-cifar");
    let (replace, baseline) = (&manifest.arms[0].replace, &manifest.baseline);
    assert_eq!(baseline.schedule.epochs, 400);
    assert_eq!(baseline.schedule.batch, 256);
    assert!(baseline.schedule.decay_all);
    assert_eq!(replace.schedule.epochs, 200);
    assert_eq!(replace.polynomial_start, PolynomialStart::Running);
    let start = [
        replace.c0_damping,
        replace.c2_damping,
        replace.quadratic_scale,
    ];
    assert_eq!(
        start.map(f64::to_bits),
        [0.2_f64, 0.1, 0.1].map(f64::to_bits)
    );
    assert_eq!(replace.latent_init, LatentInit::Uniform);
    assert_eq!(manifest.arms[0].finetune.schedule.epochs, 0);
    let tiny = &with_preset("ref-compat-tiny").arms[0].replace;
    assert_eq!(tiny.quadratic_clip.to_bits(), 1.0_f64.to_bits());
    assert_eq!(tiny.schedule.lookahead_steps, 6);
    let paper = &with_preset("paper-cifar").arms[0].replace;
    assert_eq!(paper.polynomial_start, PolynomialStart::Gaussian);
    // What is given counts more.
    let given = good(&with_spec("preset: paper-cifar"));
    assert_eq!(given.arms[0].replace.schedule.epochs, 3);
}

#[test]
fn tasks_do_not_tell_whether_a_preset_or_its_values_were_written() {
    let text = with_spec("preset: paper-tiny");
    let spelt = with_spec("preset: default").replace(
        "epochs: 3",
        "epochs: 3, lr_decay: cosine-epoch, lr_min: 1e-5, latent_lr: 1e-3, latent_decay: schedule, \
         latent_init: uniform, budget_schedule: constant, lr: 1e-4, penalty: 4.412179969879518e-05, on_unreached: fail, \
         lookahead_steps: 6",
    );
    let spelt = spelt.replace(
        "epochs: 2",
        "epochs: 2, batch: 256, lr_decay: cosine-epoch, lr_min: 1e-5, warmup_epochs: 0, \
         decay_all: true",
    );
    let digest = |text: &str| Plan::expand(&good(text)).digest();
    assert_eq!(digest(&text), digest(&spelt));
}

#[test]
fn a_descent_makes_no_point_of_a_budget_that_it_does_not_reach_unless_told_to() {
    let of = |text: &str| {
        let manifest = good(&with_spec(text));
        (manifest.strategy, manifest.arms[0].replace.on_unreached)
    };
    assert_eq!(of(""), (Strategy::Independent, OnUnreached::Project));
    let descent = of("strategy: descent");
    assert_eq!(descent, (Strategy::Descent, OnUnreached::Fail));
    let arms = of("strategy: descent\n  arms: [{name: a, replace: {on_unreached: project}}]");
    assert_eq!(arms, (Strategy::Descent, OnUnreached::Project));
    let ladder = of("strategy: ladder");
    assert_eq!(ladder, (Strategy::Ladder, OnUnreached::Project));
}

#[test]
fn arms_share_baselines_and_differ_where_they_say() {
    let text = with_spec(
        "arms: [{name: ours}, {name: theirs, method: snl, finetune: {epochs: 0}}, \
         {name: ref, preset: ref-compat-cifar, replace: {epochs: 7}}]",
    );
    let manifest = good(&text);
    let names: Vec<&str> = (manifest.arms.iter())
        .filter_map(|arm| arm.name.as_deref())
        .collect();
    assert_eq!(names, ["ours", "ref", "theirs"]);
    let [ours, compatible, theirs] = &manifest.arms[..] else {
        panic!("expected three arms");
    };
    assert_eq!(ours.replace.method, Method::Autorep);
    assert_eq!(theirs.replace.method, Method::Snl);
    assert_eq!(theirs.replace.penalty_schedule, PenaltySchedule::Grow);
    assert_eq!(theirs.finetune.schedule.epochs, 0);
    assert_eq!(compatible.replace.schedule.epochs, 7);
    assert_eq!(compatible.finetune.schedule.epochs, 4);
    let plan = Plan::expand(&manifest);
    // One baseline and three searches, two of them with a finetune; each net is measured.
    assert_eq!(plan.tasks.len(), 1 + 3 + 2 + 4);
    let labels: Vec<&str> = (plan.candidates.iter())
        .map(|candidate| candidate.label.as_str())
        .collect();
    assert_eq!(labels, ["default", "arm=ours", "arm=ref", "arm=theirs"]);
}

#[test]
fn problems_of_an_arm_stand_where_its_text_is() {
    let text = with_spec("arms: [{name: a, replace: {latent_rl: 1}}, {name: a, method: sln}]");
    let problems = parse(&text).unwrap_err();
    let shown: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:#?}");
    assert!(
        shown.iter().any(|it| it.contains("latent_lr")),
        "{shown:#?}"
    );
    assert!(
        shown.iter().any(|it| it.contains("given twice")),
        "{shown:#?}"
    );
    assert!(shown.iter().any(|it| it.contains("snl")), "{shown:#?}");
}

#[test]
fn an_arm_may_give_what_spec_lacks() {
    let text = with_spec("arms: [{name: a, replace: {epochs: 5}}]").replace("{epochs: 3}", "{}");
    assert_eq!(good(&text).arms[0].replace.schedule.epochs, 5);
    let none = with_spec("arms: [{name: a}]").replace("{epochs: 3}", "{}");
    let problems = parse(&none).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
}
