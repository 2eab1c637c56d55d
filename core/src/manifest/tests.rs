//! Manifests in files: the bad ones in `testdata/bad` with their expected problems beside them,
//! the good ones in `testdata/good` and in the `manifests` folder.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::data::DataSet;
use crate::net::Family;
use crate::plan::{Plan, PlanSummary};
use crate::recipe::{BudgetSchedule, LatentInit, OptimizerKind};

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
    files
}

fn good(text: &str) -> Manifest {
    parse(text).unwrap_or_else(|problems| panic!("{}", render(&problems, "good.yaml", text)))
}

/// The manifest with the fewest keys.
const SMALLEST: &str = "\
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
    assert_eq!(manifest.method, Method::Autorep);
    assert_eq!(manifest.budgets, [BudgetSpec::Share(10_000_000)]);
    assert_eq!(manifest.seeds, [0]);
    assert!(manifest.grid.is_empty());
    assert_eq!(
        manifest.retry,
        RetryPolicy {
            attempts: 3,
            backoff_s: 10.0
        }
    );
    assert_eq!(manifest.resources, Resources { gpus: 0 });
    assert_eq!(manifest.checkpoint, CheckpointPolicy { every_s: 60 });

    let baseline = &manifest.baseline.schedule;
    assert_eq!((baseline.epochs, baseline.batch), (2, 128));
    assert_eq!(baseline.optimizer, OptimizerKind::Sgd);
    let rates = [
        baseline.lr,
        baseline.momentum,
        baseline.weight_decay,
        baseline.warmup_epochs,
    ];
    assert_eq!(rates, [0.1, 0.9, 5e-4, 0.5]);

    let replace = &manifest.replace;
    assert_eq!((replace.schedule.epochs, replace.schedule.batch), (3, 128));
    assert_eq!(replace.schedule.optimizer, OptimizerKind::Adam);
    assert_eq!([replace.schedule.lr, replace.latent_lr], [1e-3, 5e-3]);
    assert_eq!(
        [
            replace.schedule.weight_decay,
            replace.schedule.warmup_epochs
        ],
        [0.0, 0.0]
    );
    assert_eq!(
        [replace.penalty, replace.hysteresis, replace.freeze_at],
        [3e-4, 0.003, 1.0]
    );
    assert_eq!((replace.degree, replace.calibration_batches), (2, 20));
    assert_eq!(replace.latent_init, LatentInit::Constant);
    assert_eq!(replace.budget_schedule, BudgetSchedule::Anneal);

    let finetune = &manifest.finetune;
    assert_eq!((finetune.schedule.epochs, finetune.schedule.lr), (4, 1e-3));
    assert_eq!(finetune.schedule.optimizer, OptimizerKind::Adam);
    for distillation in [&replace.distillation, &finetune.distillation] {
        let weights = [
            distillation.temperature,
            distillation.kd_weight,
            distillation.ce_weight,
        ];
        assert_eq!(weights, [4.0, 1.0, 1.0]);
    }
}

#[test]
fn seeds_are_a_list_or_a_number_of_them() {
    assert_eq!(good(&with_spec("seeds: [7, 3]")).seeds, [3, 7]);
    assert_eq!(good(&with_spec("seeds: 3")).seeds, [0, 1, 2]);
}

#[test]
fn times_have_their_unit() {
    let retry = good(&with_spec("retry: {attempts: 5, backoff: 500ms}")).retry;
    assert_eq!(
        retry,
        RetryPolicy {
            attempts: 5,
            backoff_s: 0.5
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

/// Whether a value meets a schema, for the keywords that ours uses; patterns are left to editors.
fn meets(schema: &Json, value: &Json, path: &str) -> Result<(), String> {
    const KNOWN: [&str; 22] = [
        "$schema",
        "title",
        "description",
        "default",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "const",
        "enum",
        "anyOf",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "pattern",
        "minLength",
        "maxLength",
    ];
    let schema = schema.as_object().ok_or(format!("{path}: no schema"))?;
    for (keyword, rule) in schema {
        assert!(
            KNOWN.contains(&keyword.as_str()),
            "unknown keyword {keyword}"
        );
        let number = || value.as_f64().zip(rule.as_f64());
        let length = || {
            value
                .as_array()
                .map(|list| list.len() as u64)
                .zip(rule.as_u64())
        };
        let met = match keyword.as_str() {
            "type" => {
                let names = rule
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![rule.clone()]);
                names
                    .iter()
                    .any(|name| has_type(name.as_str().unwrap(), value))
            }
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => number().is_none_or(|(number, least)| number >= least),
            "maximum" => number().is_none_or(|(number, most)| number <= most),
            "exclusiveMinimum" => number().is_none_or(|(number, least)| number > least),
            "exclusiveMaximum" => number().is_none_or(|(number, most)| number < most),
            "minItems" => length().is_none_or(|(length, least)| length >= least),
            "maxItems" => length().is_none_or(|(length, most)| length <= most),
            "anyOf" => {
                let mut options = rule.as_array().unwrap().iter();
                options.any(|option| meets(option, value, path).is_ok())
            }
            "required" => value.as_object().is_none_or(|map| {
                let mut keys = rule.as_array().unwrap().iter();
                keys.all(|key| map.contains_key(key.as_str().unwrap()))
            }),
            "items" => {
                for element in value.as_array().into_iter().flatten() {
                    meets(rule, element, path)?;
                }
                true
            }
            "properties" => {
                for (key, below) in value.as_object().into_iter().flatten() {
                    match rule.get(key) {
                        Some(rule) => meets(rule, below, &format!("{path}.{key}"))?,
                        None => return Err(format!("{path}: unknown key {key}")),
                    }
                }
                true
            }
            _ => true,
        };
        if !met {
            return Err(format!("{path}: {value} is not {keyword} {rule}"));
        }
    }
    Ok(())
}

fn has_type(name: &str, value: &Json) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn the_schema_accepts_what_the_parser_accepts() {
    let schema = json_schema();
    let mut texts: Vec<String> = good_files()
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    texts.push(SMALLEST.to_owned());
    for text in texts {
        good(&text);
        let value: Json = serde_yaml::from_str(&text).unwrap();
        meets(&schema, &value, "").unwrap();
    }
}

#[test]
fn the_schema_refuses_slips_of_keys_and_values() {
    let schema = json_schema();
    let slips = [
        ("epochs: 2", "epoch: 2"),
        ("budgets: [10%]", "budgets: []"),
        ("name: resnet9", "name: resnet8"),
        ("epochs: 3", "epochs: 3, penalty: -1"),
        ("kind: Sweep", "kind: Job"),
    ];
    for (right, wrong) in slips {
        let text = SMALLEST.replace(right, wrong);
        let value: Json = serde_yaml::from_str(&text).unwrap();
        assert!(meets(&schema, &value, "").is_err(), "{wrong}");
        assert!(parse(&text).is_err(), "{wrong}");
    }
}

/// Every mapping of a YAML value, as text with its keys in a given order.
fn shuffled(value: &Json, order: &mut impl FnMut(usize) -> usize) -> String {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<(&String, &Json)> = map.iter().collect();
            let mut text = Vec::new();
            while !entries.is_empty() {
                let (key, below) = entries.swap_remove(order(entries.len()) % entries.len());
                text.push(format!("{key:?}: {}", shuffled(below, order)));
            }
            format!("{{{}}}", text.join(", "))
        }
        Json::Array(list) => {
            let elements: Vec<String> = list
                .iter()
                .map(|element| shuffled(element, order))
                .collect();
            format!("[{}]", elements.join(", "))
        }
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => {
            other.to_string()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_does_not_depend_on_the_order_of_keys(
        choices in prop::collection::vec(any::<usize>(), 64),
        which in any::<prop::sample::Index>(),
    ) {
        let files = good_files();
        let text = fs::read_to_string(which.get(&files)).unwrap();
        let manifest = good(&text);
        let value: Json = serde_yaml::from_str(&text).unwrap();
        let mut index = 0;
        let other = shuffled(&value, &mut |_| {
            index += 1;
            choices[index % choices.len()]
        });
        let reordered = good(&other);
        prop_assert_eq!(&reordered, &manifest);
        prop_assert_eq!(Plan::expand(&reordered).digest(), Plan::expand(&manifest).digest());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        check_positions(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_the_parser_panic(
        text in "([a-z]{1,6}|[:\\-\\[\\]{},&*!|>'\"%@`#?~\\n\\t ]|[0-9.e+-]{1,4}|spec|grid){0,60}",
    ) {
        check_positions(&text);
    }

    #[test]
    fn no_change_to_a_good_manifest_makes_the_parser_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in 0usize..20,
        insert in "[ -~\\n]{0,12}",
    ) {
        let files = good_files();
        let text: Vec<char> = fs::read_to_string(which.get(&files)).unwrap().chars().collect();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        let changed: String = text[..start]
            .iter()
            .copied()
            .chain(insert.chars())
            .chain(text[end..].iter().copied())
            .collect();
        check_positions(&changed);
    }
}

/// Parses a text and holds its problems to what all problems must be.
fn check_positions(text: &str) {
    if let Err(problems) = parse(text) {
        assert!(!problems.is_empty());
        assert!(problems.is_sorted());
        for problem in &problems {
            assert!(problem.line >= 1 && problem.column >= 1, "{problem}");
            assert!(!problem.message.contains('\n'), "{problem}");
        }
        assert!(!render(&problems, "x.yaml", text).is_empty());
    }
}
