//! Runs seeded worlds and says which of them break a rule.

use std::process::ExitCode;

use autorep_simulation::simulate;

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first: u64 = args.next().and_then(|it| it.parse().ok()).unwrap_or(1);
    let count: u64 = args.next().and_then(|it| it.parse().ok()).unwrap_or(1);
    let began = std::time::Instant::now();
    let mut bad = 0;
    for seed in first..first + count {
        let run = simulate(seed, count == 1);
        if count == 1 {
            println!("{run:?}");
        }
        if let Some(violation) = &run.violation {
            bad += 1;
            println!("seed {seed}: {}: {}", violation.rule, violation.what);
        }
    }
    println!("{count} seeds, {bad} bad, {:?}", began.elapsed());
    ExitCode::SUCCESS
}
