//! Searches that start from what another one left: a ladder's.

use autorep_core::task::OutputRef;
use autorep_trainer::checkpoint;
use autorep_trainer::count::count_indicators;

use super::*;

/// A ladder's search for the smaller budget, like `search`, from an output of the task `of`.
fn from_above(search: &TaskSpec, of: &TaskSpec, output: &str) -> TaskSpec {
    let mut spec = search.clone();
    if let Work::Replace { start, budgets, .. } = &mut spec.work {
        *start = Some(OutputRef {
            task: of.id(),
            output: output.to_owned(),
        });
        *budgets = vec![common::BUDGETS[1]];
    }
    spec
}

/// The top of a ladder: its search for the larger budget alone, and what is trained on from it.
fn top(mut search: TaskSpec) -> [TaskSpec; 2] {
    if let Work::Replace { budgets, .. } = &mut search.work {
        budgets.truncate(1);
    }
    let mut finetune = common::finetune(common::BUDGETS[0]);
    if let Work::Finetune { start, .. } = &mut finetune.work {
        start.task = search.id();
    }
    [search, finetune]
}

#[test]
fn a_ladders_second_search_begins_as_the_net_that_was_trained_on_after_the_first() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let [search, finetune] = top(common::replace());
    let (above, _) = bench.undisturbed(&search, &baseline);
    let inputs = [above[0].clone(), baseline[0].clone()];
    let (tuned, _) = bench.undisturbed(&finetune, &inputs);

    let below = from_above(&search, &finetune, "net");
    let inputs = [baseline[0].clone(), tuned[0].clone()];
    let training = bench.setup(&below, &inputs).training(Start::Anew);
    let training = training.unwrap().unwrap();
    // Weights, polynomials and indicators, to the bit.
    let mut named = training.masked.named_output();
    named.retain(|(name, _)| !name.ends_with(".latents"));
    let scratch = tempfile::tempdir().unwrap();
    let begun = checkpoint::write(scratch.path(), "begun", &named, &0, &[]).unwrap();
    assert_eq!(read(&begun, TENSORS_PART), read(&tuned[0], TENSORS_PART));
    let [first, last] = common::BUDGETS;
    let allowed = training.search.as_ref().unwrap().allowed(0);
    assert!((allowed - first as f64).abs() < 1e-9, "{allowed}");
    assert!(training.lesson.as_ref().unwrap().has_teacher());
    // Latents leave the indicators as they are until they have moved.
    let flips = training.masked.sites.update().unwrap();
    assert_eq!(flips.int64_value(&[]), 0);

    let outputs = bench.same_bytes(&below, &inputs);
    let document: OutputDocument = read_document(&outputs[0]).unwrap();
    assert_eq!((outputs.len(), document.relu_count), (1, last));
    let sites = training.masked.sites.sites();
    let counted = count_indicators(&read(&outputs[0], TENSORS_PART), sites);
    assert_eq!(counted, Ok(last));
    for epoch in read_metrics(&outputs[0]).unwrap() {
        assert!(epoch.relus <= first, "{epoch:?}");
        assert!(epoch.allowed.is_none_or(|allowed| allowed <= first as f64));
    }
}

#[test]
fn a_ladders_search_with_every_option_ends_in_the_same_bytes_when_it_is_stopped() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let check = |name: &str, search: TaskSpec| {
        // Without finetuning: from search to search.
        let [search, _] = top(search);
        let (above, _) = bench.undisturbed(&search, &baseline);
        let below = from_above(&search, &search, "b2000");
        let inputs = [baseline[0].clone(), above[0].clone()];
        let training = bench.setup(&below, &inputs).training(Start::Anew);
        let search = training.unwrap().unwrap().search.unwrap();
        assert!(search.watches(0).is_none(), "{name} keeps its polynomials");
        let (outputs, _) = bench.undisturbed(&below, &inputs);
        let (resumed, _) = bench.disturbed(&below, &inputs, 5, 4);
        check_same(&resumed, &outputs, name);
        let document: OutputDocument = read_document(&outputs[0]).unwrap();
        let count = document.relu_count;
        // The largest channel has 784.
        assert!(count <= 300 && count + 784 > 300, "{name}: {count}");
        let epochs = read_metrics(&outputs[0]).unwrap();
        epochs.iter().map(|epoch| epoch.relus).max().unwrap()
    };
    let scores = search_with(|recipe| {
        recipe.granularity = Granularity::Channel;
        recipe.latent_init = LatentInit::FirstOrder;
        recipe.ties = Ties::Importance;
        recipe.sharing = Sharing::Site;
        recipe.quadratic_scale = 0.5;
        recipe.quadratic_clip = 0.1;
        recipe.schedule.ema = 0.9;
    });
    assert!(check("scores", scores) <= 2000);
    let running = search_with(|recipe| {
        recipe.polynomial_start = PolynomialStart::Running;
        recipe.refresh_every = 3;
        recipe.refresh_until = 12;
        recipe.latent_init = LatentInit::Uniform;
    });
    assert!(check("running", running) <= 2000);
    let snl = search_with(|recipe| {
        recipe.method = Method::Snl;
        recipe.penalty = 1e-3;
        recipe.penalty_schedule = PenaltySchedule::Grow;
        recipe.penalty_growth = 1.5;
        recipe.penalty_checks = 10;
    });
    // Shares have no band: what was replaced may return before the penalty has grown.
    check("snl", snl);
}

#[test]
fn a_search_starts_from_no_net_that_was_not_searched_for_more_relus_than_it_is_for() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let search = common::replace();
    let (outputs, _) = bench.undisturbed(&search, &baseline);
    let refused = |below: &TaskSpec, start: &PathBuf| {
        let inputs = [baseline[0].clone(), start.clone()];
        let training = bench.setup(below, &inputs).training(Start::Anew);
        training.unwrap_err().to_string()
    };
    let same = from_above(&search, &search, "b300");
    let error = refused(&same, &outputs[1]);
    assert!(
        error.contains("more than 300 ReLUs, found one with 300"),
        "{error}"
    );
    let full = from_above(&search, &common::baseline(), "net");
    let error = refused(&full, &baseline[0]);
    assert!(
        error.contains("searched for more than 300 ReLUs"),
        "{error}"
    );
    // What it names is what it must get.
    let named = from_above(&search, &search, "b2000");
    let error = refused(&named, &outputs[1]);
    assert!(error.contains("expected output b2000 of task"), "{error}");
    let mut other = named.clone();
    if let Work::Replace { recipe, .. } = &mut other.work {
        recipe.degree = 1;
    }
    let error = refused(&other, &outputs[0]);
    assert!(
        error.contains("polynomials of the search's degree"),
        "{error}"
    );
}
