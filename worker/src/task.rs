//! An assignment that was checked: everything that a worker needs to know of a task.

use autorep_core::checkpoint::{CheckpointRef, CheckpointRole};
use autorep_core::id::TaskId;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::task::TaskSpec;
use autorep_proto::convert::{BadMessage, required};
use autorep_proto::v1;

/// A leased task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The lease.
    pub(crate) claim: LeaseClaim,
    /// This worker's part of it.
    pub(crate) part: LeasePart,
    /// Workers that hold it; at least one.
    pub(crate) nodes: u32,
    /// What is to be done.
    pub(crate) spec: TaskSpec,
    /// The spec's canonical JSON, as it came.
    pub(crate) spec_json: Vec<u8>,
    /// The checkpoints to start from, in the order of the spec's inputs.
    pub(crate) inputs: Vec<CheckpointRef>,
    /// The checkpoint to go on from.
    pub(crate) resume: Option<CheckpointRef>,
    /// Seconds of training between two resume checkpoints; 0 for never.
    pub(crate) checkpoint_every_s: u32,
    /// Optimizer steps between two of them; 0 for never.
    pub(crate) checkpoint_every_steps: u32,
    /// The epoch after which to stop, if that is not the end.
    pub(crate) stop_after: Option<u32>,
    /// Ranks that its sweep asks for on this worker; 0 where it leaves that to the worker.
    pub(crate) ranks: u32,
}

/// An assignment that no worker can work on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAssignment {
    /// A message breaks the protocol.
    #[error(transparent)]
    Message(#[from] BadMessage),
    /// The spec is not a spec.
    #[error("the task's spec is not one that this release reads")]
    Spec(#[source] serde_json::Error),
    /// The spec is another task's, or has parts that this release does not know.
    #[error(
        "expected the spec of task {expected}, found that of {found}; run the same release everywhere"
    )]
    Digest {
        /// The leased task.
        expected: TaskId,
        /// The task that the spec describes to this release.
        found: TaskId,
    },
    /// The place is none of the lease's.
    #[error("expected a node below {nodes}, the workers that hold the lease, found {node}")]
    Node {
        /// This worker's place.
        node: u32,
        /// Workers that hold the lease.
        nodes: u32,
    },
    /// The inputs are not those that the spec asks for.
    #[error("expected the inputs {expected}, found {found}")]
    Inputs {
        /// What the spec asks for.
        expected: String,
        /// What the assignment has.
        found: String,
    },
}

/// The claim of an assignment, with this worker's part in it: without it nothing can be said about the lease, not even that it
/// is given back.
pub(crate) fn part(assignment: &v1::Assignment) -> Result<LeasePart, BadMessage> {
    required("Assignment.claim", assignment.claim.clone())?.try_into()
}

impl Task {
    /// Checks an assignment, of which this worker has `part`.
    pub(crate) fn new(part: LeasePart, assignment: v1::Assignment) -> Result<Self, BadAssignment> {
        let (claim, node) = (part.claim, part.node);
        let nodes = assignment.nodes.max(1);
        if node >= nodes {
            return Err(BadAssignment::Node { node, nodes });
        }
        let spec_json = assignment.spec;
        let spec: TaskSpec = serde_json::from_slice(&spec_json).map_err(BadAssignment::Spec)?;
        // A field that this release does not know is lost in reading: the digest tells.
        let found = spec.id();
        if found != claim.task || spec.canonical_json().as_bytes() != spec_json {
            return Err(BadAssignment::Digest {
                expected: claim.task,
                found,
            });
        }
        let inputs = assignment
            .inputs
            .into_iter()
            .map(CheckpointRef::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        check_inputs(&spec, &inputs)?;
        Ok(Self {
            claim,
            part,
            nodes,
            spec,
            spec_json,
            inputs,
            resume: assignment.resume.map(TryInto::try_into).transpose()?,
            checkpoint_every_s: assignment.checkpoint_every_s,
            checkpoint_every_steps: assignment.checkpoint_every_steps,
            stop_after: assignment.stop_after,
            ranks: assignment.ranks,
        })
    }
}

fn check_inputs(spec: &TaskSpec, inputs: &[CheckpointRef]) -> Result<(), BadAssignment> {
    let name = |task: TaskId, output: &str| format!("{}/{output}", task.short());
    let expected = spec.inputs();
    let fits = expected.len() == inputs.len()
        && expected.iter().zip(inputs).all(|(expected, input)| {
            input.task == expected.task
                && input.role == CheckpointRole::Output(expected.output.clone())
        });
    if fits {
        return Ok(());
    }
    let found: Vec<_> = inputs
        .iter()
        .map(|input| match &input.role {
            CheckpointRole::Resume => name(input.task, "(resume)"),
            CheckpointRole::Output(output) => name(input.task, output),
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|expected| name(expected.task, &expected.output))
        .collect();
    Err(BadAssignment::Inputs {
        expected: expected.join(", "),
        found: found.join(", "),
    })
}
