//! `autorep run` of a tiny sweep to its front, undisturbed.

use std::time::{Duration, Instant};

use crate::sandbox::{Sandbox, finish};
use crate::store::{csv, outputs};

/// Two budgets, one seed: eight tasks of about a second.
pub(crate) const TINY: &str = "\
apiVersion: autorep/v1
kind: Sweep
metadata: { name: tiny }
spec:
  data: { name: fashion-mnist, train_limit: 320, validation: 128, augment: false }
  net: { name: resnet9, width: 2 }
  budgets: [450, 40%]
  seeds: [0]
  baseline: { epochs: 4, batch: 32, lr: 0.05 }
  replace: { epochs: 4, batch: 32, calibration_batches: 2 }
  finetune: { epochs: 2, batch: 32 }
  retry: { attempts: 3, backoff: 0s }
  checkpoint: { every: 1s }
";

/// ReLUs of the tiny sweep's net: 28 x 28 images through ResNet-9 of width 2, by hand:
/// two sites each of 2 x 28², 4 x 14², 8 x 7² and 16 x 4².
const TOTAL: u64 = 2 * (2 * 784 + 4 * 196 + 8 * 49 + 16 * 16);

#[test]
fn a_sweep_runs_to_a_front_whose_points_have_exactly_their_budgets() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let run = finish(&mut sandbox.run("store")).expect_code(0);
    assert!(
        run.stderr.contains("spent outside trainers"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("done    evaluate"), "{}", run.stderr);

    let rows = csv(&sandbox.front_csv("store"));
    assert_eq!(rows.len(), 3, "the baseline and two budgets: {rows:#?}");
    let mut budgets = vec![];
    for row in &rows {
        let number = |name: &str| -> u64 { row[name].parse().unwrap() };
        assert_eq!(number("relu_total"), TOTAL);
        assert_eq!(number("relu_count"), number("budget"));
        assert_eq!(number("seeds"), 1);
        let accuracy: f64 = row["accuracy_mean"].parse().unwrap();
        assert!((0.0..=100.0).contains(&accuracy), "{accuracy}");
        budgets.push(number("budget"));
    }
    budgets.sort_unstable();
    assert_eq!(budgets, [450, TOTAL * 2 / 5, TOTAL]);

    // The images are easy: a net that has learnt anything is far above one in ten.
    let baseline = rows.iter().find(|row| row["budget"] == TOTAL.to_string());
    let accuracy: f64 = baseline.unwrap()["accuracy_mean"].parse().unwrap();
    assert!(accuracy > 50.0, "the baseline has {accuracy} %");

    let mut counted: Vec<(u64, u64)> = outputs(&sandbox.path("store"))
        .iter()
        .filter(|output| output.kind == "finetune")
        .map(|output| (output.budget.unwrap(), output.relu_count()))
        .collect();
    counted.sort_unstable();
    assert_eq!(counted, [(450, 450), (TOTAL * 2 / 5, TOTAL * 2 / 5)]);
    sandbox.wait_until_deserted(Duration::from_secs(10));
}

#[test]
fn a_second_run_trains_nothing_and_prints_the_same_front() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let first = finish(&mut sandbox.run("store")).expect_code(0);
    let front = sandbox.front_csv("store");
    let checkpoints = outputs(&sandbox.path("store")).len();

    let since = Instant::now();
    // With a trainer that cannot run, nothing can be trained.
    let broken = sandbox.write("no-trainer", "");
    let second = finish(sandbox.run("store").env("AUTOREP_TRAINER", broken)).expect_code(0);
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(sandbox.front_csv("store"), front);
    assert_eq!(outputs(&sandbox.path("store")).len(), checkpoints);
    assert!(
        second.stderr.contains("nothing was left to train"),
        "{}",
        second.stderr
    );

    let printed = finish(
        sandbox
            .autorep()
            .args(["front", "tiny", "--format", "csv", "--store", "store"]),
    );
    assert_eq!(
        printed.expect_code(0).stdout,
        front,
        "read without a coordinator"
    );
}

/// Four ways to search, of which one is to be trained to the end.
const HALVED: &str = "  strategy: descent
  halving: { grace: 1 }
  grid: { replace.penalty: [1.0e-5, 3.0e-4, 6.0e-4, 1.0e-3] }
";

#[test]
fn of_a_grid_only_the_better_searches_are_trained_to_the_end() {
    let sandbox = Sandbox::new();
    let sweep = TINY.replace(
        "batch: 32, calibration",
        "batch: 32, on_unreached: project, calibration",
    );
    sandbox.write("sweep.yaml", &(sweep + HALVED));
    let run = finish(&mut sandbox.run("store")).expect_code(0);
    let rows = csv(&sandbox.front_csv("store"));
    // With one worker nobody is let on before all are compared: two at the first rung, one at the
    // second, and its two budgets.
    assert_eq!(rows.len(), 3, "{rows:#?}");
    let ways: std::collections::BTreeSet<&str> = (rows.iter())
        .filter(|row| row["kind"] == "replaced")
        .map(|row| row["candidate"].as_str())
        .collect();
    assert_eq!(ways.len(), 1, "{rows:#?}");
    let done = |kind: &str| run.stderr.matches(&format!("done    {kind}")).count();
    assert_eq!(
        (done("replace"), done("finetune"), done("evaluate")),
        (1, 2, 3)
    );
    let finished = outputs(&sandbox.path("store"));
    let searches = finished.iter().filter(|output| output.kind == "replace");
    assert!(searches.count() >= 2, "the survivor's nets");

    // Three searches, and behind each two finetunes with their evaluations.
    let parked = "15 tasks of the plan stopped early";
    assert!(run.stderr.contains(parked), "{}", run.stderr);

    let again = finish(&mut sandbox.run("store")).expect_code(0);
    assert_eq!(again.stdout, run.stdout);
    assert!(
        again.stderr.contains("nothing was left to train"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_run_that_is_refused_leaves_the_sweep_of_its_name_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &TINY.replace("[450, 40%]", "[450]"));
    finish(&mut sandbox.run("store")).expect_code(0);
    let front = || {
        let arguments = ["front", "tiny", "--format", "csv", "--store", "store"];
        finish(sandbox.autorep().args(arguments))
            .expect_code(0)
            .stdout
    };
    let before = front();
    // The same name on data that is not here, and a sweep that is new.
    for other in [
        TINY.replace("fashion-mnist", "cifar-10"),
        TINY.replace("fashion-mnist", "cifar-10")
            .replace("name: tiny", "name: other"),
    ] {
        sandbox.write("sweep.yaml", &other);
        let refused = finish(&mut sandbox.run("store")).expect_code(1);
        assert!(refused.stderr.contains("cifar-10"), "{}", refused.stderr);
        assert_eq!(front(), before);
    }
    let arguments = ["front", "other", "--store", "store"];
    let unknown = finish(sandbox.autorep().args(arguments)).expect_code(1);
    assert!(unknown.stderr.contains("tiny"), "{}", unknown.stderr);
}

#[test]
fn a_trainer_that_crashes_ends_in_a_partial_front_and_its_last_words_are_shown() {
    use std::os::unix::fs::PermissionsExt as _;

    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &TINY.replace("attempts: 3", "attempts: 2"));
    let trainer = sandbox.write(
        "crash.sh",
        "#!/bin/sh\necho 'the cat sat on the keyboard' >&2\nexit 7\n",
    );
    std::fs::set_permissions(&trainer, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = finish(sandbox.run("store").env("AUTOREP_TRAINER", &trainer)).expect_code(3);
    let gave_up = run.stderr.split("the trainer's last words:").nth(1);
    assert!(
        gave_up
            .unwrap_or_default()
            .contains("the cat sat on the keyboard"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("1 task gave up"), "{}", run.stderr);
    assert!(
        run.stderr.contains("7 tasks that need them will not run"),
        "{}",
        run.stderr
    );
    sandbox.wait_until_deserted(Duration::from_secs(10));
}

#[test]
fn a_store_is_worked_on_by_one_run_at_a_time() {
    use crate::sandbox::Running;

    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let mut first = Running::start(&mut sandbox.run("store"));
    first.wait_for_line(&["start", "baseline"]);
    let second = finish(&mut sandbox.run("store")).expect_code(1);
    assert!(
        second.stderr.contains("another autorep"),
        "{}",
        second.stderr
    );
}

#[test]
fn a_ladder_goes_down_from_net_to_net_and_begins_as_an_independent_search() {
    let sandbox = Sandbox::new();
    // The largest budget alone, and then a ladder from there.
    let alone = TINY.replace("[450, 40%]", "[40%]");
    sandbox.write("sweep.yaml", &alone);
    finish(&mut sandbox.run("store")).expect_code(0);
    let sweep = TINY.to_owned() + "  strategy: ladder\n";
    sandbox.write("sweep.yaml", &sweep);
    let run = finish(&mut sandbox.run("store")).expect_code(0);
    // The baseline and all of the largest budget are there.
    let done = |kind: &str| run.stderr.matches(&format!("done    {kind}")).count();
    assert_eq!(
        (done("replace"), done("finetune"), done("evaluate")),
        (1, 1, 1),
        "{}",
        run.stderr
    );
    let rows = csv(&sandbox.front_csv("store"));
    let mut points: Vec<(&str, &str)> = (rows.iter())
        .filter(|row| row["kind"] == "replaced")
        .map(|row| (row["relu_count"].as_str(), row["strategy"].as_str()))
        .collect();
    points.sort_unstable();
    let largest = (TOTAL * 2 / 5).to_string();
    assert_eq!(points, [(largest.as_str(), "ladder"), ("450", "ladder")]);
}
