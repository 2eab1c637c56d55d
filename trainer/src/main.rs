//! `autorep-trainer`: works on one task in a process of its own.

use std::ffi::{OsString, c_int};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, bail};
use autorep_trainer::{
    allocator, checkpoint, local, probe, self_check, serve, step_times, weights,
};

const USAGE: &str = "\
usage: autorep-trainer              work for the worker at the other end of standard input
       autorep-trainer local ...    work on one task without a worker
       autorep-trainer weights ...  inspect, check and convert files of weights
       autorep-trainer step-times ...  measure what a step of a search costs
       autorep-trainer self-check ...  hold this machine's masked activation against its definition
       autorep-trainer --probe      print what this machine offers, as JSON
       autorep-trainer --version
";

fn main() -> anyhow::Result<()> {
    allocator::keep_freed_memory();
    let mut arguments = std::env::args_os().skip(1);
    let Some(first) = arguments.next() else {
        return serve_worker();
    };
    match first.to_str() {
        Some("local") => run_local(arguments),
        Some("weights") => weights::run(arguments),
        Some("step-times") => measure_steps(arguments),
        Some("self-check") => check(arguments),
        Some("--probe") => print(&serde_json::to_string(&probe::probe())?),
        Some("--version") => print(&format!(
            "autorep-trainer {} (libtorch {})",
            checkpoint::TRAINER_VERSION,
            checkpoint::LIBTORCH_VERSION
        )),
        Some("--help") => print(USAGE.trim_end()),
        _ => bail!("unknown argument {}\n{USAGE}", first.display()),
    }
}

/// The worker leaves one end of a socket pair as standard input.
fn serve_worker() -> anyhow::Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = UnixStream::from(stdin);
    stream.peer_addr().context(
        "expected a worker's socket as standard input; workers start this program, people use \
         `autorep-trainer local`",
    )?;
    serve::serve(stream)?;
    // Everything is stored and said. What would still run are libtorch's own destructors, for a
    // tenth of a second that the next task can use.
    end_now()
}

#[expect(
    unsafe_code,
    reason = "the standard library ends a process only with destructors"
)]
fn end_now() -> ! {
    unsafe extern "C" {
        safe fn _exit(status: c_int) -> !;
    }
    _exit(0)
}

fn run_local(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.iter().any(|argument| argument == "--help") {
        return print(local::USAGE.trim_end());
    }
    local::run(&local::parse(arguments)?)
}

fn measure_steps(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--help") {
        return print(step_times::USAGE.trim_end());
    }
    let measured = step_times::run(&step_times::parse(arguments)?)?;
    print(&measured.to_string())
}

fn check(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.iter().any(|argument| argument == "--help") {
        return print(self_check::USAGE.trim_end());
    }
    let checked = self_check::run(&self_check::parse(arguments)?)?;
    print(&serde_json::to_string_pretty(&checked)?)?;
    checked.verdict()
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
