//! Bugs on purpose: each must be found.

use std::process::ExitCode;

#[cfg(not(feature = "planted"))]
#[expect(clippy::print_stdout, reason = "this is a command")]
pub(crate) fn find_all(_most: u64) -> ExitCode {
    println!("the bugs are not in this build: `--features planted` puts them in");
    ExitCode::FAILURE
}

#[cfg(not(feature = "planted"))]
pub(crate) fn plant(_name: &str) -> Result<(), String> {
    Err("the bugs are not in this build: `--features planted` puts them in".to_owned())
}

/// Plants the bug of this name on this thread.
#[cfg(feature = "planted")]
pub(crate) fn plant(name: &str) -> Result<(), String> {
    use autorep_core::planted::{Bug, plant};

    let known = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    let bug = known.ok_or_else(|| format!("expected one of {:?}, found {name}", Bug::ALL))?;
    plant(Some(bug));
    Ok(())
}

/// Plants each bug, or the one that the variable BUG names, and looks for the first seed that finds it,
/// among so many.
#[cfg(feature = "planted")]
#[expect(clippy::print_stdout, reason = "this is a command")]
pub(crate) fn find_all(most: u64) -> ExitCode {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use autorep_core::planted::Bug;

    let wanted = std::env::var("BUG").unwrap_or_default();
    let bugs: Vec<Bug> = Bug::ALL
        .into_iter()
        .filter(|bug| wanted.is_empty() || format!("{bug:?}") == wanted)
        .collect();
    let next = AtomicUsize::new(0);
    let missed = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some((seed, rule)) = find(bug, most) {
                        println!("{bug:?}: seed {seed}: {rule}");
                    } else {
                        missed.fetch_add(1, Ordering::Relaxed);
                        println!("{bug:?}: NOT FOUND");
                    }
                }
            });
        }
    });
    let (bugs, missed) = (bugs.len(), missed.into_inner());
    println!("{bugs} planted bugs, {missed} of them not found within {most} seeds");
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(feature = "planted")]
fn find(bug: autorep_core::planted::Bug, most: u64) -> Option<(u64, &'static str)> {
    use autorep_core::planted::plant;
    use autorep_simulation::simulate;

    (1..=most).find_map(|seed| {
        plant(Some(bug));
        let broken = simulate(seed, false).violation?;
        // What breaks without the bug, too, says nothing of it.
        plant(None);
        let is_the_bugs = simulate(seed, false).violation.is_none();
        is_the_bugs.then_some((seed, broken.rule))
    })
}
