//! Scripts stand in for trainers; stores are folders and memory.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("autorep-trainer");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn findings_of(text: &str) -> Vec<Finding> {
    let folder = tempfile::tempdir().unwrap();
    let trainer = Some(script(folder.path(), text));
    let torch_lib = None;
    find_trainer(&TrainerPath { trainer, torch_lib }).await
}

#[tokio::test]
async fn a_trainer_that_answers_is_described_with_its_libtorch_and_its_lack_of_cuda() {
    let findings = findings_of(
        r#"[ "$1" = --probe ] && echo '{"trainer":"0.1.0","libtorch":"2.11.0","cpu_threads":2,"cuda_devices":0,"cuda_problem":"no driver"}'"#,
    )
    .await;
    let statuses: Vec<_> = findings
        .iter()
        .map(|finding| (finding.subject, finding.status))
        .collect();
    assert_eq!(
        statuses,
        [
            ("trainer", Status::Ok),
            ("libtorch", Status::Ok),
            ("cuda", Status::Absent)
        ]
    );
    assert_eq!(findings[1].detail, "2.11.0, 2 CPU threads");
}

#[test]
fn the_lack_of_cuda_is_explained_only_where_there_is_a_gpu() {
    let probe = Probe {
        trainer: "0.1.0".to_owned(),
        libtorch: "2.11.0".to_owned(),
        cpu_threads: 2,
        cuda_devices: 0,
        cuda_problem: Some("no libtorch_cuda.so".to_owned()),
    };
    let detail = |has_gpu| {
        trainer_findings(Path::new("t"), &probe, has_gpu)[2]
            .detail
            .clone()
    };
    assert_eq!(detail(true), "no libtorch_cuda.so");
    assert_eq!(detail(false), "no NVIDIA device on this machine");
}

#[tokio::test]
async fn a_trainer_that_cannot_load_libtorch_is_missing_with_the_loaders_words() {
    let findings =
        findings_of("echo 'libtorch_cpu.so: cannot open shared object file' >&2; exit 127").await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].status, Status::Missing);
    assert!(
        findings[0].detail.contains("libtorch_cpu.so: cannot open"),
        "{}",
        findings[0].detail
    );
}

#[tokio::test]
async fn a_trainer_that_hangs_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = script(folder.path(), "exec sleep 600");
    let error = probe(&path, None, Duration::from_millis(200))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("did not answer"), "{error}");
}

#[tokio::test]
async fn a_store_folder_is_tried_without_being_made_and_nothing_is_left() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("a/store");
    let finding = find_store(store.to_str().unwrap()).await;
    assert_eq!(finding.status, Status::Ok, "{}", finding.detail);
    assert!(finding.detail.contains("is not there yet"));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    fs::create_dir_all(&store).unwrap();
    let finding = find_store(store.to_str().unwrap()).await;
    assert!(!finding.detail.contains("is not there yet"));
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
}

#[tokio::test]
async fn a_store_is_not_named_with_its_password_but_a_folder_as_it_is() {
    for text in [
        "s3://key:of/hunter2@sweeps/team",
        "file://key:hunter2@host/team",
    ] {
        let finding = find_store(text).await;
        assert_eq!(finding.status, Status::Missing);
        assert!(!finding.detail.contains("hunter2"), "{}", finding.detail);
    }
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("me@lab");
    fs::write(&file, "").unwrap();
    let finding = find_store(file.join("store").to_str().unwrap()).await;
    assert!(
        finding.detail.starts_with(file.to_str().unwrap()),
        "{}",
        finding.detail
    );
}

#[tokio::test]
async fn a_store_below_a_file_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let finding = find_store(file.join("store").to_str().unwrap()).await;
    assert_eq!(finding.status, Status::Missing);
    assert!(finding.mend.is_some());
}

#[test]
fn without_any_data_set_the_first_is_missing_and_a_damaged_one_always_is() {
    let root = tempfile::tempdir().unwrap();
    let statuses = || -> Vec<Status> {
        data_sets(&root.path().into())
            .iter()
            .map(|finding| finding.status)
            .collect()
    };
    let only = |missing: usize| {
        let mut expected = vec![Status::Absent; DataSet::ALL.len()];
        expected[missing] = Status::Missing;
        expected
    };
    assert_eq!(statuses(), only(0));
    fs::create_dir_all(root.path().join("cifar-10")).unwrap();
    assert_eq!(statuses(), only(1));
}

#[test]
fn memory_is_read_from_the_kernels_table() {
    let text = "MemTotal:       24689120 kB\nMemFree: 1 kB\nMemAvailable:   23 kB\n";
    assert_eq!(meminfo_kib(text, "MemTotal"), Some(24_689_120));
    assert_eq!(meminfo_kib(text, "MemAvailable"), Some(23));
    assert_eq!(meminfo_kib(text, "Mem"), None);
}

#[test]
fn the_table_puts_the_mending_command_below_what_is_missing() {
    let text = table(&[
        Finding::ok("cores", "2"),
        Finding::lacking("data", Status::Missing, "no x", "`get x`"),
    ]);
    assert_eq!(
        text,
        "ok      cores    2\nMISSING data     no x\n                 -> `get x`\n"
    );
}

#[test]
fn in_a_bucket_only_sets_that_may_lie_in_shards_are_looked_for() {
    let root = tempfile::tempdir().unwrap();
    for name in ["tiny-imagenet", "imagenet"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    fs::write(root.path().join("imagenet/a.tar"), "x").unwrap();
    let url = format!("file://{}", root.path().display());
    let findings = data_sets(&DataRoot::parse(&url).unwrap());
    let told: Vec<_> = findings
        .iter()
        .map(|finding| (finding.status, finding.detail.as_str()))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].0, Status::Absent);
    assert_eq!(told[1].0, Status::Missing);
    assert!(told[1].1.contains("beside the 1 tar files"), "{told:?}");
}
