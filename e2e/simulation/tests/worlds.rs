//! Worlds that must break no rule: a few hundred new ones, and all that once did.

use std::ops::RangeInclusive;

use autorep_simulation::{Run, simulate};

/// What is to be done about a world that broke a rule.
fn broken(run: &Run) -> Option<String> {
    let violation = run.violation.as_ref()?;
    let seed = run.seed;
    Some(format!(
        "seed {seed} breaks a rule: {}: {}; to see it: make simulate SIM_SEED={seed}",
        violation.rule, violation.what
    ))
}

fn hold(seeds: RangeInclusive<u64>) {
    let broken: Vec<String> = seeds
        .map(|seed| simulate(seed, false))
        .filter_map(|run| broken(&run))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

// Several tests, so that they run side by side.

#[test]
fn seeds_1_to_130_break_no_rule() {
    hold(1..=130);
}

#[test]
fn seeds_131_to_260_break_no_rule() {
    hold(131..=260);
}

#[test]
fn seeds_261_to_390_break_no_rule() {
    hold(261..=390);
}

#[test]
fn seeds_391_to_520_break_no_rule() {
    hold(391..=520);
}

#[test]
fn seeds_that_once_broke_a_rule_break_none() {
    let corpus = include_str!("../corpus.txt");
    let lines = corpus.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let (seed, _why) = line.split_once(' ').expect("a seed and why it is here");
        let run = simulate(seed.parse().expect("a seed"), false);
        assert_eq!(broken(&run), None, "{line}");
        count += 1;
    }
    assert!(count > 0, "the corpus has seeds");
}

#[test]
fn a_seed_is_the_same_world_every_time_and_another_seed_another_world() {
    let worlds = || {
        (1..=12)
            .map(|seed| simulate(seed, false))
            .collect::<Vec<Run>>()
    };
    let (one, other) = (worlds(), worlds());
    assert_eq!(one, other);
    let mut digests: Vec<u64> = one.iter().map(|run| run.digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 12);
}

#[test]
fn worlds_are_full_of_what_they_are_for() {
    let mut figures = autorep_simulation::Figures::default();
    for seed in 1..=40 {
        figures.add(simulate(seed, false).figures);
    }
    // A simulation in which nothing happens finds nothing.
    assert!(figures.restarts > 40, "{figures:?}");
    assert!(figures.grants > 400, "{figures:?}");
    assert!(figures.set_aside > 0, "{figures:?}");
}
