//! Manifests with problems, and what is missing on a machine, as people meet them.

use std::fs;
use std::process::Command;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

use crate::sandbox::{Sandbox, finish, program};
use crate::sweep::TINY;

#[test]
fn problems_of_a_manifest_are_all_shown_with_their_places_and_nothing_starts() {
    let sandbox = Sandbox::new();
    let bad = TINY
        .replace("name: resnet9", "name: resnet8")
        .replace("lr: 0.05", "lr: -1")
        .replace("calibration_batches", "callibration_batches");
    sandbox.write("sweep.yaml", &bad);
    let place = |word: &str| {
        let line = bad.lines().position(|line| line.contains(word)).unwrap();
        let column = bad.lines().nth(line).unwrap().rfind(word).unwrap();
        format!("sweep.yaml:{}:{}: ", line + 1, column + 1)
    };
    for command in ["run", "plan"] {
        let run = finish(sandbox.autorep().args([command, "sweep.yaml"])).expect_code(2);
        for word in ["resnet8", "-1", "callibration_batches"] {
            let place = place(word);
            assert!(run.stderr.contains(&place), "no {place} in\n{}", run.stderr);
        }
        assert!(
            run.stderr.contains("did you mean resnet9?"),
            "{}",
            run.stderr
        );
        assert_eq!(run.stdout, "");
    }
    assert!(!sandbox.path("autorep-store").exists());
}

#[test]
fn a_plan_says_what_is_shared_and_starts_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let json = finish(
        sandbox
            .autorep()
            .args(["plan", "sweep.yaml", "--format", "json"]),
    );
    let json: serde_json::Value = serde_json::from_str(&json.expect_code(0).stdout).unwrap();
    assert_eq!(json["tasks"], 8);
    let table = finish(sandbox.autorep().args(["plan", "sweep.yaml"])).expect_code(0);
    assert!(
        table.stdout.contains("6,000"),
        "the total is missing:\n{}",
        table.stdout
    );
    assert!(!sandbox.path("autorep-store").exists());
}

#[test]
fn missing_data_and_a_missing_trainer_are_named_with_the_commands_that_mend_it() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let no_data = finish(
        sandbox
            .run("store")
            .env("AUTOREP_DATA", sandbox.path("nowhere")),
    );
    let no_data = no_data.expect_code(1).stderr;
    assert!(
        no_data.contains("`autorep data fetch fashion-mnist`"),
        "{no_data}"
    );
    let trainer = sandbox.path("no-trainer");
    let no_trainer = finish(sandbox.run("store").env("AUTOREP_TRAINER", &trainer));
    let no_trainer = no_trainer.expect_code(1).stderr;
    assert!(
        no_trainer.contains(trainer.to_str().unwrap()),
        "{no_trainer}"
    );
    assert!(!sandbox.path("store").exists(), "nothing was started");
}

#[test]
fn a_teacher_whose_weights_do_not_fit_is_refused_before_a_baseline_is_trained() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("data/weights")).unwrap();
    let file = sandbox.path("data/weights/teacher.safetensors");
    let kernel = [0_u8; size_of::<f32>() * 4 * 9];
    let view = TensorView::new(Dtype::F32, vec![4, 1, 3, 3], &kernel).unwrap();
    fs::write(&file, serialize([("conv1.weight", view)], None).unwrap()).unwrap();
    let mut inspect = Command::new(program("autorep-trainer"));
    let inspected = finish(inspect.args(["weights", "inspect"]).arg(&file)).expect_code(0);
    let digest = inspected.stdout.lines().next().unwrap();
    let digest = digest.strip_prefix("sha256 ").unwrap();
    let teacher = format!(
        "  teacher: {{ name: resnet9, width: 8, weights: teacher.safetensors, weights_sha256: {digest} }}\n"
    );
    sandbox.write("sweep.yaml", &(TINY.to_owned() + &teacher));
    let refused = finish(&mut sandbox.run("store")).expect_code(1);
    for part in [
        "expected conv1.weight of shape [8, 1, 3, 3], found [4, 1, 3, 3]",
        "teacher.safetensors do not fit the net",
        "`autorep-trainer weights check` lists them",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(!sandbox.path("store").exists(), "nothing was begun");
}

#[test]
fn an_unknown_option_is_wrong_usage() {
    let sandbox = Sandbox::new();
    finish(sandbox.autorep().args(["run", "--no-such-option"])).expect_code(2);
    finish(sandbox.autorep().args(["front", "no such sweep"])).expect_code(1);
}
