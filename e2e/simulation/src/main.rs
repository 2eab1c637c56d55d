//! Runs seeded worlds and says which of them break a rule: `make simulate`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

mod mutants;

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
    if let Some(bug) = std::env::var("BUG").ok().filter(|name| !name.is_empty())
        && let Err(what) = mutants::plant(&bug)
    {
        println!("{what}");
        return ExitCode::FAILURE;
    }
    if std::env::var("MUTANTS").is_ok_and(|text| text == "1") {
        return mutants::find_all(number("N").unwrap_or(SEEDS));
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
        "{} events checked, {} leases, {} durable writes, {} restarts, {} results set aside or made again, {} checkpoints deleted; all digests together {:016x}",
        runs.figures.events,
        runs.figures.grants,
        runs.figures.writes,
        runs.figures.restarts,
        runs.figures.set_aside,
        runs.figures.deleted,
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
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(first);
    let all = std::thread::scope(|scope| {
        let one_thread = || {
            let mine = std::iter::from_fn(|| {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                (seed < first + count).then_some(seed)
            });
            let runs = mine.map(|seed| simulate(seed, false)).inspect(|run| {
                told(run);
            });
            runs.collect::<Vec<Run>>()
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .flat_map(Result::unwrap_or_default)
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
