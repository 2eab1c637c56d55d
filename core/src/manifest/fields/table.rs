//! The table itself. Ranges are wide: they refuse slips, not experiments.

use super::{Fallback, Field, Kind, Range, Section, Target};

/// Puts a whole number into `settings.PATH`.
macro_rules! count {
    ($($path:ident).+) => {
        |target, value| {
            target.$($path).+ = value.count()?;
            Some(())
        }
    };
}

/// Puts a number into `settings.PATH`.
macro_rules! number {
    ($($path:ident).+) => {
        |target, value| {
            target.$($path).+ = value.number()?;
            Some(())
        }
    };
}

/// Puts a switch into `settings.PATH`.
macro_rules! switch {
    ($($path:ident).+) => {
        |target, value| {
            target.$($path).+ = value.switch()?;
            Some(())
        }
    };
}

/// Puts the variant of an enum into `settings.PATH`.
macro_rules! choice {
    ($($path:ident).+) => {
        |target, value| {
            target.$($path).+ = value.choice()?;
            Some(())
        }
    };
}

/// The fields of a [`crate::recipe::Schedule`], which every stage has.
macro_rules! schedule {
    ($stage:ident, epochs: $min:literal, optimizer: $optimizer:literal, lr: $lr:literal,
     weight_decay: $decay:literal, warmup_epochs: $warmup:literal) => {
        &[
            Field {
                key: "epochs",
                kind: Kind::Count {
                    min: $min,
                    max: 100_000,
                },
                default: Fallback::Required,
                doc: "Passes over the training images. Always given: it decides what a sweep costs.",
                place: Target::Axis(count!($stage.schedule.epochs)),
            },
            Field {
                key: "batch",
                kind: Kind::Count { min: 1, max: 65_536 },
                default: Fallback::Count(128),
                doc: "Images per optimizer step.",
                place: Target::Axis(count!($stage.schedule.batch)),
            },
            Field {
                key: "optimizer",
                kind: Kind::Choice(&["sgd", "adam"]),
                default: Fallback::Choice($optimizer),
                doc: "Update rule of weights, batch-norm parameters and polynomial coefficients.",
                place: Target::Axis(choice!($stage.schedule.optimizer)),
            },
            Field {
                key: "lr",
                kind: Kind::Number(Range::above_zero_to(100.0)),
                default: Fallback::Number($lr),
                doc: "Peak learning rate; it falls by a cosine to zero at the last step.",
                place: Target::Axis(number!($stage.schedule.lr)),
            },
            Field {
                key: "momentum",
                kind: Kind::Number(Range::zero_to_below(1.0)),
                default: Fallback::Number(0.9),
                doc: "Momentum of SGD; without effect under Adam.",
                place: Target::Axis(number!($stage.schedule.momentum)),
            },
            Field {
                key: "weight_decay",
                kind: Kind::Number(Range::zero_to(10.0)),
                default: Fallback::Number($decay),
                doc: "L2 penalty on convolution and linear weights, added to their gradient.",
                place: Target::Axis(number!($stage.schedule.weight_decay)),
            },
            Field {
                key: "warmup_epochs",
                kind: Kind::Number(Range::zero_to(100_000.0)),
                default: Fallback::Number($warmup),
                doc: "Epochs, or a fraction of one, over which the learning rate rises from zero.",
                place: Target::Axis(number!($stage.schedule.warmup_epochs)),
            },
        ]
    };
}

/// The fields of a [`crate::recipe::Distillation`].
macro_rules! distillation {
    ($stage:ident) => {
        &[
            Field {
                key: "temperature",
                kind: Kind::Number(Range::above_zero_to(1_000.0)),
                default: Fallback::Number(4.0),
                doc: "Temperature of the distillation from the baseline; without effect if kd_weight is 0.",
                place: Target::Axis(number!($stage.distillation.temperature)),
            },
            Field {
                key: "kd_weight",
                kind: Kind::Number(Range::zero_to(1.0e6)),
                default: Fallback::Number(1.0),
                doc: "Weight of the distillation loss; 0 trains on the labels alone.",
                place: Target::Axis(number!($stage.distillation.kd_weight)),
            },
            Field {
                key: "ce_weight",
                kind: Kind::Number(Range::zero_to(1.0e6)),
                default: Fallback::Number(1.0),
                doc: "Weight of the cross-entropy with the labels.",
                place: Target::Axis(number!($stage.distillation.ce_weight)),
            },
        ]
    };
}

/// Every mapping of a manifest, parents first.
pub(crate) static SECTIONS: &[Section] = &[
    Section {
        path: "",
        doc: "A sweep: which networks to train, for which budgets of ReLUs, with which hyperparameters and seeds.",
        fields: &[&[
            Field {
                key: "apiVersion",
                kind: Kind::Exactly("autorep/v1"),
                default: Fallback::Required,
                doc: "The version of this format.",
                place: Target::Own,
            },
            Field {
                key: "kind",
                kind: Kind::Exactly("Sweep"),
                default: Fallback::Required,
                doc: "What the file describes.",
                place: Target::Own,
            },
        ]],
    },
    Section {
        path: "metadata",
        doc: "What the sweep is called.",
        fields: &[&[Field {
            key: "name",
            kind: Kind::SweepName,
            default: Fallback::Required,
            doc: "The sweep's name: 1 to 63 lowercase letters, digits and dashes. Submitting under a name that exists extends or changes that sweep.",
            place: Target::Own,
        }]],
    },
    Section {
        path: "spec",
        doc: "What the sweep is.",
        fields: &[&[
            Field {
                key: "method",
                kind: Kind::Choice(&["autorep"]),
                default: Fallback::Choice("autorep"),
                doc: "How the ReLUs to keep are found.",
                place: Target::Operation(choice!(method)),
            },
            Field {
                key: "budgets",
                kind: Kind::Budgets,
                default: Fallback::Required,
                doc: "ReLUs that the networks may keep: counts, counts with a K or M suffix, or shares of the full network's ReLUs in percent.",
                place: Target::Own,
            },
            Field {
                key: "seeds",
                kind: Kind::Seeds,
                default: Fallback::Derived("[0]"),
                doc: "Seeds of initial weights, order and augmentation: a list, or how many to count up from 0.",
                place: Target::Own,
            },
            Field {
                key: "grid",
                kind: Kind::Grid,
                default: Fallback::Derived("no axes: one grid point"),
                doc: "Hyperparameters to vary, by their path below spec; every combination is tried.",
                place: Target::Own,
            },
        ]],
    },
    Section {
        path: "spec.data",
        doc: "The images.",
        fields: &[&[
            Field {
                key: "name",
                kind: Kind::Choice(&[
                    "fashion-mnist",
                    "cifar-10",
                    "cifar-100",
                    "tiny-imagenet",
                    "imagenet",
                ]),
                default: Fallback::Required,
                doc: "The data set.",
                place: Target::Fixed(choice!(data.name)),
            },
            Field {
                key: "train_limit",
                kind: Kind::Count {
                    min: 1,
                    max: 10_000_000,
                },
                default: Fallback::Derived("all images that are not held out for validation"),
                doc: "Training images to use.",
                place: Target::Axis(count!(data.train)),
            },
            Field {
                key: "validation",
                kind: Kind::Count {
                    min: 1,
                    max: 10_000_000,
                },
                default: Fallback::Count(5_000),
                doc: "Images held out of the training part, on which every choice is made.",
                place: Target::Fixed(count!(data.validation)),
            },
            Field {
                key: "augment",
                kind: Kind::Switch,
                default: Fallback::Switch(true),
                doc: "Whether training images are flipped and cropped at random.",
                place: Target::Axis(switch!(data.augment)),
            },
            Field {
                key: "max_corrupt",
                kind: Kind::Count {
                    min: 0,
                    max: 1_000_000,
                },
                default: Fallback::Count(0),
                doc: "Images that may fail to decode and are skipped; with one more the attempt fails and names them. Without effect on sets that are not one JPEG per image.",
                place: Target::Fixed(count!(data.max_corrupt)),
            },
        ]],
    },
    Section {
        path: "spec.net",
        doc: "The network.",
        fields: &[&[
            Field {
                key: "name",
                kind: Kind::Choice(&[
                    "resnet9",
                    "resnet18",
                    "resnet34",
                    "wide-resnet",
                    "imagenet-resnet18",
                    "imagenet-resnet50",
                    "efficientnet-b0",
                    "efficientnet-b1",
                    "efficientnet-b2",
                    "efficientnet-lite0",
                ]),
                default: Fallback::Required,
                doc: "The family; `autorep nets` lists them. resnet9, 18 and 34 have the CIFAR form.",
                place: Target::Axis(choice!(net.name)),
            },
            Field {
                key: "width",
                kind: Kind::Count { min: 1, max: 512 },
                default: Fallback::Count(64),
                doc: "Of the ResNets: channels of the first stage; the later stages have 2, 4 and 8 times as many.",
                place: Target::Axis(count!(net.width)),
            },
            Field {
                key: "stem_relu",
                kind: Kind::Switch,
                default: Fallback::Switch(false),
                doc: "Of resnet9, 18 and 34: whether a ReLU follows the first convolution; the papers' nets have none.",
                place: Target::Axis(switch!(net.stem_relu)),
            },
            Field {
                key: "depth",
                kind: Kind::Count { min: 10, max: 202 },
                default: Fallback::Count(22),
                doc: "Of wide-resnet: layers, four more than a multiple of six.",
                place: Target::Axis(count!(net.depth)),
            },
            Field {
                key: "widen",
                kind: Kind::Count { min: 1, max: 64 },
                default: Fallback::Count(8),
                doc: "Of wide-resnet: the widening factor.",
                place: Target::Axis(count!(net.widen)),
            },
            Field {
                key: "final_relu",
                kind: Kind::Switch,
                default: Fallback::Switch(false),
                doc: "Of wide-resnet: whether a ReLU follows the last batch normalisation; AutoReP's net has none.",
                place: Target::Axis(switch!(net.final_relu)),
            },
            Field {
                key: "stem_pool",
                kind: Kind::Choice(&["max", "avg"]),
                default: Fallback::Choice("max"),
                doc: "Of the ImageNet ResNets: how the stem is pooled. The comparisons of max are not counted but cost as much in private inference; AutoReP takes avg.",
                place: Target::Axis(choice!(net.stem_pool)),
            },
            Field {
                key: "se_sites",
                kind: Kind::Switch,
                default: Fallback::Switch(true),
                doc: "Of efficientnet-b0, b1 and b2: whether the activations in squeeze and excitation are sites; if not they stay ReLUs that are not counted.",
                place: Target::Axis(switch!(net.se_sites)),
            },
            Field {
                key: "activation",
                kind: Kind::Choice(&["relu", "published"]),
                default: Fallback::Derived("published for efficientnet-lite0, relu for the others"),
                doc: "Of the EfficientNets: what the full net, which is baseline and teacher, computes at its sites: ReLU, or what the family was published with (SiLU; ReLU6 of Lite0), each counted as one ReLU. Searches keep ReLUs in either case.",
                place: Target::Axis(|target, value| {
                    target.net.activation = Some(value.choice()?);
                    Some(())
                }),
            },
        ]],
    },
    Section {
        path: "spec.baseline",
        doc: "How the full-ReLU network is trained: the reference, the start of every search and its teacher.",
        fields: &[
            schedule!(baseline, epochs: 1, optimizer: "sgd", lr: 0.1, weight_decay: 5.0e-4, warmup_epochs: 0.5),
        ],
    },
    Section {
        path: "spec.replace",
        doc: "How the ReLUs to keep are searched.",
        fields: &[
            schedule!(replace, epochs: 1, optimizer: "adam", lr: 1.0e-3, weight_decay: 0.0, warmup_epochs: 0.0),
            distillation!(replace),
            &[
                Field {
                    key: "latent_lr",
                    kind: Kind::Number(Range::above_zero_to(100.0)),
                    default: Fallback::Number(5.0e-3),
                    doc: "Learning rate of the latents (Adam), constant until the indicators freeze.",
                    place: Target::Axis(number!(replace.latent_lr)),
                },
                Field {
                    key: "latent_init",
                    kind: Kind::Choice(&["constant", "uniform"]),
                    default: Fallback::Choice("constant"),
                    doc: "How latents start: every one at 0.5, or drawn from the uniform distribution on (0, 1).",
                    place: Target::Axis(choice!(replace.latent_init)),
                },
                Field {
                    key: "penalty",
                    kind: Kind::Number(Range::zero_to(1_000.0)),
                    default: Fallback::Number(3.0e-4),
                    doc: "Added to the loss for each ReLU above the budget (the paper's lambda over the total).",
                    place: Target::Axis(number!(replace.penalty)),
                },
                Field {
                    key: "hysteresis",
                    kind: Kind::Number(Range::zero_to(10.0)),
                    default: Fallback::Number(0.003),
                    doc: "Half the width of the band around zero in which an indicator keeps its state.",
                    place: Target::Axis(number!(replace.hysteresis)),
                },
                Field {
                    key: "degree",
                    kind: Kind::Count { min: 0, max: 2 },
                    default: Fallback::Count(2),
                    doc: "Degree of the polynomials that replace ReLUs.",
                    place: Target::Axis(count!(replace.degree)),
                },
                Field {
                    key: "budget_schedule",
                    kind: Kind::Choice(&["constant", "anneal"]),
                    default: Fallback::Choice("anneal"),
                    doc: "Whether the final budget is asked for from the first step, or approached from the total.",
                    place: Target::Axis(choice!(replace.budget_schedule)),
                },
                Field {
                    key: "freeze_at",
                    kind: Kind::Number(Range::above_zero_to(1.0)),
                    default: Fallback::Number(1.0),
                    doc: "Share of the epochs after which indicators are projected to the budget and frozen; 1 means at the end.",
                    place: Target::Axis(number!(replace.freeze_at)),
                },
                Field {
                    key: "calibration_batches",
                    kind: Kind::Count {
                        min: 1,
                        max: 100_000,
                    },
                    default: Fallback::Count(20),
                    doc: "Batches over which activation statistics are measured before the first step.",
                    place: Target::Axis(count!(replace.calibration_batches)),
                },
            ],
        ],
    },
    Section {
        path: "spec.finetune",
        doc: "How a net is trained on with its indicators frozen. With 0 epochs the search's nets are measured as they are.",
        fields: &[
            schedule!(finetune, epochs: 0, optimizer: "adam", lr: 1.0e-3, weight_decay: 0.0, warmup_epochs: 0.0),
            distillation!(finetune),
        ],
    },
    Section {
        path: "spec.resources",
        doc: "What a task needs of its worker.",
        fields: &[&[Field {
            key: "gpus",
            kind: Kind::Count { min: 0, max: 1 },
            default: Fallback::Count(0),
            doc: "GPUs per task; 0 for tasks that may run on a CPU.",
            place: Target::Operation(count!(resources.gpus)),
        }]],
    },
    Section {
        path: "spec.retry",
        doc: "What happens when an attempt fails.",
        fields: &[&[
            Field {
                key: "attempts",
                kind: Kind::Count { min: 1, max: 100 },
                default: Fallback::Count(3),
                doc: "Attempts before a task is given up.",
                place: Target::Operation(count!(retry.attempts)),
            },
            Field {
                key: "backoff",
                kind: Kind::Duration {
                    max_s: 86_400,
                    whole: false,
                },
                default: Fallback::Seconds(10),
                doc: "Wait before the second attempt, with its unit (ms, s, m, h); each further wait is twice as long.",
                place: Target::Operation(number!(retry.backoff_s)),
            },
        ]],
    },
    Section {
        path: "spec.checkpoint",
        doc: "When checkpoints to resume from are written.",
        fields: &[&[Field {
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
        }]],
    },
];
