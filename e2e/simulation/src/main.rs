//! Runs seeded worlds and says which of them break a rule: `make simulate`.

use std::process::ExitCode;
use std::time::Instant;

use autorep_simulation::{Figures, Run, simulate};

/// The seeds that one call runs unless told otherwise.
const SEEDS: u64 = 2000;

#[expect(clippy::print_stdout, reason = "this is a command")]
fn main() -> ExitCode {
    // A coordinator that panics is a finding and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if std::env::var("MUTANTS").is_ok_and(|text| text == "1") {
        return mutants(number("N").unwrap_or(SEEDS));
    }
    if let Some(seed) = number("SIM_SEED") {
        let run = simulate(seed, true);
        println!("seed {seed}: digest {:016x}, {:?}", run.digest, run.figures);
        return told(&run);
    }
    let first = number("FROM").unwrap_or(1);
    let count = number("N").unwrap_or(SEEDS);
    let began = Instant::now();
    let (runs, bad) = run_all(first, count);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} events checked, {} leases, {} durable writes, {} restarts, {} results set aside; all digests together {:016x}",
        runs.figures.events,
        runs.figures.grants,
        runs.figures.writes,
        runs.figures.restarts,
        runs.figures.set_aside,
        runs.digest,
    );
    println!(
        "seeds {first} to {}: {bad} broke a rule; {:.0} seeds per minute, {:.1} hours of the worlds' time",
        first + count - 1,
        60.0 * count as f64 / seconds,
        runs.virtual_ms as f64 / 3.6e6,
    );
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Several worlds together.
struct Runs {
    figures: Figures,
    virtual_ms: u64,
    digest: u64,
}

/// Runs seeds on as many threads as there are processors: worlds know nothing of each other.
fn run_all(first: u64, count: u64) -> (Runs, u64) {
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(count))
            .map(|thread| {
                scope.spawn(move || {
                    let mine = (first..first + count).skip(usize::try_from(thread).unwrap_or(0));
                    let step = usize::try_from(threads.min(count)).unwrap_or(1);
                    mine.step_by(step)
                        .map(|seed| simulate(seed, false))
                        .inspect(|run| {
                            told(run);
                        })
                        .collect::<Vec<Run>>()
                })
            })
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .flat_map(|runs| runs.unwrap_or_default())
            .collect::<Vec<Run>>()
    });
    let mut runs = Runs {
        figures: Figures::default(),
        virtual_ms: 0,
        digest: 0,
    };
    let mut bad = count - all.len() as u64;
    for run in &all {
        runs.figures.add(run.figures);
        runs.virtual_ms += run.virtual_ms;
        runs.digest ^= run.digest;
        bad += u64::from(run.violation.is_some());
    }
    (runs, bad)
}

/// Says what a world broke, and how to see it again.
#[expect(clippy::print_stdout, reason = "this is a command")]
fn told(run: &Run) -> ExitCode {
    let Some(violation) = &run.violation else {
        return ExitCode::SUCCESS;
    };
    println!(
        "seed {} breaks a rule: {}\n  {}\n  to see it again: make simulate SIM_SEED={}",
        run.seed, violation.rule, violation.what, run.seed
    );
    ExitCode::FAILURE
}

#[cfg(not(feature = "planted"))]
#[expect(clippy::print_stdout, reason = "this is a command")]
fn mutants(_most: u64) -> ExitCode {
    println!("the bugs are not in this build: `--features planted` puts them in");
    ExitCode::FAILURE
}

/// Plants each bug and looks for a seed that finds it.
#[cfg(feature = "planted")]
#[expect(clippy::print_stdout, reason = "this is a command")]
fn mutants(most: u64) -> ExitCode {
    use autorep_core::planted::{Bug, plant};
    use std::sync::atomic::{AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    let missed = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    plant(Some(bug));
                    let found = (1..=most)
                        .map(|seed| simulate(seed, false))
                        .find_map(|run| Some((run.seed, run.violation?)));
                    match found {
                        Some((seed, violation)) => {
                            println!("{bug:?}: seed {seed}: {}", violation.rule);
                        }
                        None => {
                            missed.fetch_add(1, Ordering::Relaxed);
                            println!("{bug:?}: NOT FOUND in {most} seeds");
                        }
                    }
                }
            });
        }
    });
    let missed = missed.into_inner();
    println!(
        "{} planted bugs, {missed} not found within {most} seeds",
        Bug::ALL.len()
    );
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
