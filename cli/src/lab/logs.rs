//! `autorep logs`: what a task's trainers print.

use std::time::Duration;

use anyhow::Result;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tonic::Status;

use super::{Lab, connect, refused, waits_for};
use crate::args::LogsArgs;
use crate::exit::Exit;
use crate::output;

/// Between two tries to reach a coordinator that is away.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What was printed so far.
#[derive(Default)]
struct Printed {
    /// The lease whose attempt printed it; 0 before the first line.
    generation: u64,
    /// Bytes of that attempt's log.
    bytes: u64,
    /// Whether a coordinator has answered.
    was_answered: bool,
}

impl Printed {
    /// Prints it; whether anybody still reads.
    fn take(&mut self, chunk: &v1::LogChunk) -> Result<bool> {
        if chunk.generation != self.generation {
            if self.generation > 0 {
                let next = chunk.generation;
                output::stderr(&format!("a later attempt (lease {next}):\n"));
            }
            (self.generation, self.bytes) = (chunk.generation, 0);
        }
        self.bytes += chunk.text.len() as u64;
        output::stdout_goes_on(&chunk.text)
    }

    const fn is_nothing(&self) -> bool {
        self.generation == 0 && self.bytes == 0
    }
}

/// Why a log is not read to its end.
enum Broken {
    /// By the coordinator, or by the way to it.
    Call(Status),
    /// What it says could not be printed.
    Output(anyhow::Error),
}

/// Prints a task's log as it comes. A coordinator that is started again, or another one that takes
/// over, goes on with it: nothing of what is stored is printed twice or left out.
pub async fn logs(args: &LogsArgs) -> Result<Exit> {
    let target = args.address.resolve()?;
    let mut lab = connect(&target).await?;
    let mut printed = Printed::default();
    let mut told = None;
    loop {
        let before = printed.bytes;
        match read(&mut lab, args, &mut printed).await {
            Ok(()) => break,
            Err(Broken::Output(error)) => return Err(error),
            Err(Broken::Call(status)) => {
                // What never answered may be no coordinator.
                let may_come = printed.was_answered && Refusal::from(&status).is_transient();
                if !args.follow || !may_come {
                    return Err(refused(&status));
                }
                let waiting = waits_for(&target.url, &refused(&status));
                if printed.bytes != before || told.as_ref() != Some(&waiting) {
                    output::stderr(&format!("{waiting}\n"));
                    told = Some(waiting);
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
        }
    }
    if printed.is_nothing() {
        output::stderr(
            "the trainer wrote nothing, or none was started; `autorep show` says how it stands\n",
        );
    }
    Ok(Exit::Done)
}

/// Prints what comes behind what was printed, until there is no more.
async fn read(lab: &mut Lab, args: &LogsArgs, printed: &mut Printed) -> Result<(), Broken> {
    let request = v1::LogsRequest {
        task: args.task.clone(),
        follow: args.follow,
        generation: printed.generation,
        offset: printed.bytes,
    };
    let mut chunks = lab.logs(request).await.map_err(Broken::Call)?.into_inner();
    printed.was_answered = true;
    while let Some(chunk) = chunks.message().await.map_err(Broken::Call)? {
        if !printed.take(&chunk).map_err(Broken::Output)? {
            return Ok(());
        }
    }
    Ok(())
}
