//! The shape of the source tree: arrows between crates, what `core` must not know, sizes of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Longer files are about more than one thing.
const MAX_LINES: usize = 600;

/// Which of our crates each may depend on, in tests too.
const ARROWS: [(&str, &[&str]); 15] = [
    ("autorep-core", &[]),
    ("autorep-store", &["autorep-core", "autorep-measure"]),
    ("autorep-data", &["autorep-core", "autorep-store"]),
    ("autorep-proto", &["autorep-core"]),
    ("autorep-failpoint", &[]),
    ("autorep-measure", &[]),
    ("autorep-transport", &["autorep-core"]),
    (
        "autorep-coordinator",
        &[
            "autorep-core",
            "autorep-failpoint",
            "autorep-measure",
            "autorep-proto",
            "autorep-transport",
        ],
    ),
    (
        "autorep-worker",
        &[
            "autorep-core",
            "autorep-failpoint",
            "autorep-measure",
            "autorep-proto",
            "autorep-store",
            "autorep-transport",
        ],
    ),
    (
        "autorep-trainer",
        &[
            "autorep-core",
            "autorep-data",
            "autorep-failpoint",
            "autorep-proto",
        ],
    ),
    (
        "autorep-cli",
        &[
            "autorep-core",
            "autorep-data",
            "autorep-measure",
            "autorep-store",
            "autorep-proto",
            "autorep-coordinator",
            "autorep-transport",
            "autorep-worker",
        ],
    ),
    (
        "autorep-e2e",
        &[
            "autorep-core",
            "autorep-store",
            "autorep-failpoint",
            "autorep-proto",
            "autorep-coordinator",
            "autorep-transport",
            "autorep-worker",
            "autorep-cli",
        ],
    ),
    (
        "autorep-bench",
        &["autorep-core", "autorep-proto", "autorep-coordinator"],
    ),
    (
        "autorep-fuzzing",
        &[
            "autorep-core",
            "autorep-proto",
            "autorep-coordinator",
            "autorep-trainer",
        ],
    ),
    (
        "autorep-simulation",
        &["autorep-core", "autorep-proto", "autorep-coordinator"],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The direct dependencies of each package of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            (name(package), dependencies.iter().map(name).collect())
        })
        .collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let dependencies = dependencies();
    let names: Vec<&str> = dependencies.keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(names, expected, "a crate without arrows");
    for (name, allowed) in ARROWS {
        for dependency in &dependencies[name] {
            let ours = dependency.starts_with("autorep-");
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn only_the_trainer_knows_libtorch_and_core_knows_no_input_or_output() {
    let dependencies = dependencies();
    for (name, dependencies) in &dependencies {
        let knows = dependencies.contains("tch") || dependencies.contains("torch-sys");
        assert_eq!(knows, name == "autorep-trainer", "{name}");
    }
    for banned in [
        "tokio",
        "futures",
        "tonic",
        "object_store",
        "tempfile",
        "tracing",
        "fastrand",
    ] {
        assert!(
            !dependencies["autorep-core"].contains(banned),
            "core depends on {banned}"
        );
    }
}

#[test]
fn core_reads_no_clock_no_file_and_no_order_of_a_hash_table() {
    let banned = [
        "HashMap",
        "HashSet",
        "SystemTime",
        "Instant::now",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "async fn",
    ];
    for (path, text) in sources("core/src") {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in banned {
                // Tests may read fixtures.
                let is_test =
                    path.ends_with("tests.rs") || path.to_str().unwrap().contains("/tests/");
                assert!(
                    is_test || !code.contains(word),
                    "{}:{}: {word}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn files_are_about_one_thing() {
    let mut long = vec![];
    for (path, text) in sources("") {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(
        long.is_empty(),
        "more than {MAX_LINES} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn nothing_is_left_for_later_in_the_text() {
    // Put together here, or this file would be found.
    let banned = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
    ];
    for (path, text) in files("", &["rs", "proto", "toml", "md", "yaml", "sh", "py"]) {
        for (number, line) in text.lines().enumerate() {
            for word in banned {
                assert!(
                    !line.contains(word),
                    "{}:{}: {word}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    files(folder, &["rs"])
}

/// The text files below a folder of the workspace with one of these extensions.
fn files(folder: &str, extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let skipped = name == "target" || name == "autorep-store" || name.starts_with('.');
            if path.is_symlink() || skipped {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if path
                .extension()
                .is_some_and(|it| extensions.iter().any(|one| it == *one))
            {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no {extensions:?} below {folder:?}");
    found
}
