//! The keys that decide how a sweep is run, but not what comes out.

use super::{Fallback, Field, Kind, Range, Target};

/// Whose the sweep is.
pub(super) const OWNER: &[Field] = &[Field {
    key: "owner",
    kind: Kind::OwnerName,
    default: Fallback::Choice("nobody"),
    doc: "Who the sweep belongs to: owners share workers fairly, whatever number of sweeps they have. A name like the sweep's.",
    place: Target::Operation(|operations, value| {
        operations.owner = value.name()?.parse().ok()?;
        Some(())
    }),
}];

/// How urgent the sweep is.
pub(super) const PRIORITY: &[Field] = &[Field {
    key: "priority",
    kind: Kind::Whole {
        min: -1000,
        max: 1000,
    },
    default: Fallback::Number(0.0),
    doc: "Sweeps of a higher priority get workers first, whosever they are. Running tasks are not interrupted.",
    place: Target::Operation(|operations, value| {
        let number = value.number()?;
        let fits = (-1000.0..=1000.0).contains(&number) && number.fract() == 0.0;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number in range")]
        fits.then(|| operations.priority = number as i32)
    }),
}];

/// What a task needs of its worker.
pub(super) const RESOURCES: &[Field] = &[
    Field {
        key: "gpus",
        kind: Kind::Count { min: 0, max: 4096 },
        default: Fallback::Count(0),
        doc: "GPUs per task, one rank on each, over all of its workers; 0 for tasks that may run on a CPU.",
        place: Target::Operation(count!(resources.gpus)),
    },
    Field {
        key: "nodes",
        kind: Kind::Count { min: 1, max: 512 },
        default: Fallback::Count(1),
        doc: "Workers that a task's GPUs are spread over, leased together; gpus is a multiple of it.",
        place: Target::Operation(count!(resources.nodes)),
    },
    Field {
        key: "gpu_type",
        kind: Kind::Text,
        default: Fallback::Derived("any"),
        doc: "A part of the GPU's name as its driver gives it, such as H100, in any case.",
        place: Target::Operation(|operations, value| {
            value.name()?.clone_into(&mut operations.resources.gpu_type);
            Some(())
        }),
    },
    Field {
        key: "gpu_memory",
        kind: Kind::Memory,
        default: Fallback::Derived("any"),
        doc: "Memory that a GPU must have at least, with its unit (MiB, GiB).",
        place: Target::Operation(|operations, value| {
            operations.resources.gpu_memory_mib = value.mebibytes()?;
            Some(())
        }),
    },
    Field {
        key: "memory",
        kind: Kind::Memory,
        default: Fallback::Derived("any"),
        doc: "Memory that the worker must have at least, its machine's or its container's, with its unit (MiB, GiB).",
        place: Target::Operation(|operations, value| {
            operations.resources.memory_mib = value.mebibytes()?;
            Some(())
        }),
    },
    Field {
        key: "labels",
        kind: Kind::Labels,
        default: Fallback::Derived("none"),
        doc: "Labels that the worker must have (`autorep worker --label zone=a`), each as key=value.",
        place: Target::Own,
    },
];

/// Which searches are stopped before their end.
pub(super) const HALVING: &[Field] = &[
    Field {
        key: "grace",
        kind: Kind::Count {
            min: 0,
            max: 100_000,
        },
        default: Fallback::Count(0),
        doc: "Epochs of a search before it may be stopped: the first rung. 0 trains every search to its end.",
        place: Target::Operation(count!(halving.grace)),
    },
    Field {
        key: "reduction",
        kind: Kind::Count { min: 2, max: 100 },
        default: Fallback::Count(2),
        doc: "Of so many searches at a rung one goes on; each rung has so many times the epochs of the one before.",
        place: Target::Operation(count!(halving.reduction)),
    },
    Field {
        key: "rungs",
        kind: Kind::Count { min: 1, max: 30 },
        default: Fallback::Count(30),
        doc: "Rungs at most; those beyond a search's end are left out.",
        place: Target::Operation(count!(halving.rungs)),
    },
];

/// What becomes of points that were trained too little.
pub(super) const UNDER_TRAINED: &[Field] = &[Field {
    key: "epochs",
    kind: Kind::Count {
        min: 0,
        max: 100_000,
    },
    default: Fallback::Count(0),
    doc: "Epochs that such a point is finetuned on for, as a point of its own; 0 leaves it.",
    place: Target::Operation(count!(train_on)),
}];

/// What a sweep may cost.
pub(super) const LIMIT: &[Field] = &[
    Field {
        key: "gpu_hours",
        kind: Kind::Number(Range::zero_to(1.0e9)),
        default: Fallback::Number(0.0),
        doc: "Hours that trainers may work on the sweep's tasks from its submission on, times the GPUs of a task; a task without one counts as one. Nothing is begun that is not expected to fit. 0 for any number.",
        place: Target::Operation(number!(limit.gpu_hours)),
    },
    Field {
        key: "hours",
        kind: Kind::Number(Range::zero_to(1.0e6)),
        default: Fallback::Number(0.0),
        doc: "Hours from the first submission of the sweep's plan on in which its tasks may run; nothing is begun that is not expected to end in them. 0 for any number.",
        place: Target::Operation(number!(limit.hours)),
    },
];

/// What happens when an attempt fails.
pub(super) const RETRY: &[Field] = &[
    Field {
        key: "attempts",
        kind: Kind::Count { min: 1, max: 100 },
        default: Fallback::Count(3),
        doc: "Attempts before a task is given up, for each class of failure without a limit of its own.",
        place: Target::Operation(count!(retry.attempts)),
    },
    Field {
        key: "out_of_memory",
        kind: Kind::Count { min: 1, max: 100 },
        default: Fallback::Derived("attempts, at most 2"),
        doc: "The same for attempts that ran out of memory.",
        place: Target::Operation(|operations, value| {
            operations.retry.out_of_memory = Some(value.count()?);
            Some(())
        }),
    },
    Field {
        key: "diverged",
        kind: Kind::Count { min: 1, max: 100 },
        default: Fallback::Derived("attempts, at most 2"),
        doc: "The same for attempts whose loss became infinite or not a number.",
        place: Target::Operation(|operations, value| {
            operations.retry.diverged = Some(value.count()?);
            Some(())
        }),
    },
    Field {
        key: "lost_workers",
        kind: Kind::Count { min: 1, max: 100 },
        default: Fallback::Derived("attempts"),
        doc: "The same for workers that vanished before they had committed a checkpoint of the task.",
        place: Target::Operation(|operations, value| {
            operations.retry.lost_workers = Some(value.count()?);
            Some(())
        }),
    },
    Field {
        key: "backoff",
        kind: Kind::Duration {
            max_s: 86_400,
            whole: false,
        },
        default: Fallback::Seconds(10),
        doc: "Wait before the second attempt, with its unit (ms, s, m, h); each further wait is twice as long, at most an hour, and up to a quarter longer.",
        place: Target::Operation(number!(retry.backoff_s)),
    },
];

/// When checkpoints are written.
pub(super) const CHECKPOINT: &[Field] = &[
    Field {
        key: "every",
        kind: Kind::Duration {
            max_s: 86_400,
            whole: true,
        },
        default: Fallback::Seconds(60),
        doc: "Training time between two of them in whole seconds, with its unit (s, m, h); 0s for never.",
        place: Target::Operation(|operations, value| {
            let seconds = value.number()?;
            let fits = (0.0..=86_400.0).contains(&seconds) && seconds.fract() == 0.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number of seconds within a day"
            )]
            fits.then(|| operations.checkpoint.every_s = seconds as u32)
        }),
    },
    Field {
        key: "every_steps",
        kind: Kind::Count {
            min: 0,
            max: 1_000_000_000,
        },
        default: Fallback::Count(0),
        doc: "Optimizer steps between two of them; 0 for never. With every: whichever comes first.",
        place: Target::Operation(count!(checkpoint.every_steps)),
    },
    Field {
        key: "keep",
        kind: Kind::Choice(&["all", "front"]),
        default: Fallback::Choice("all"),
        doc: "Which results `autorep gc` leaves: all, or, once the sweep has ended, the nets of the front's points, baselines and what is pinned. A result that is gone is made again when a later sweep needs it.",
        place: Target::Operation(choice!(checkpoint.keep)),
    },
];
