//! The table itself. Ranges are wide: they refuse slips, not experiments.

use super::{Fallback, Field, Kind, Range, Section, Target};
use crate::strategy::Strategy;

/// A field, written on a few lines.
const fn field(
    key: &'static str,
    kind: Kind,
    default: Fallback,
    doc: &'static str,
    place: Target,
) -> Field {
    Field {
        key,
        kind,
        default,
        doc,
        place,
    }
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
        fields: &[
            &[Field {
                key: "name",
                kind: Kind::SweepName,
                default: Fallback::Required,
                doc: "The sweep's name: 1 to 63 lowercase letters, digits and dashes. Submitting under a name that exists extends or changes that sweep.",
                place: Target::Own,
            }],
            super::operations::OWNER,
        ],
    },
    Section {
        path: "spec",
        doc: "What the sweep is.",
        fields: &[
            &[
                Field {
                    key: "preset",
                    kind: Kind::Choice(super::presets::NAMES),
                    default: Fallback::Choice("default"),
                    doc: "Where defaults of the three stages come from; keys that are given count more. The paper-* and ref-compat-* presets follow the AutoReP paper and its released code.",
                    place: Target::Own,
                },
                Field {
                    key: "method",
                    kind: Kind::Choice(&["autorep", "snl"]),
                    default: Fallback::Choice("autorep"),
                    doc: "How the ReLUs to keep are found.",
                    place: Target::Fixed(choice!(replace.method)),
                },
                Field {
                    key: "arms",
                    kind: Kind::Arms,
                    default: Fallback::Derived("one arm: the settings as they are"),
                    doc: "Ways of replacing ReLUs to compare over the same baselines, budgets and grid: each a name with its own preset, method, replace and finetune; keys that an arm does not give are those of spec.",
                    place: Target::Own,
                },
                Field {
                    key: "strategy",
                    kind: Kind::Choice(&Strategy::NAMES),
                    default: Fallback::Choice(Strategy::NAMES[0]),
                    doc: "How searches are laid out: independent (a search for every budget), descent (one search down to the smallest budget, which leaves a net at each of the others as it passes them) or ladder (a search for every budget, each from the next larger one's finetuned net).",
                    place: Target::Operation(choice!(strategy)),
                },
                Field {
                    key: "budgets",
                    kind: Kind::Budgets,
                    default: Fallback::Required,
                    doc: "ReLUs that the networks may keep: counts, counts with a K or M suffix, or shares of the full network's ReLUs in percent. {from: 500, to: 50%, points: 12} spreads as many over a range, evenly on a log scale, rounded to three digits; with refine: {first: 4, until: 0.001} four of them are measured, and the others only where the front is expected to gain at least so much hypervolume for a GPU-hour (0.001 where it is not given).",
                    place: Target::Own,
                },
                Field {
                    key: "seeds",
                    kind: Kind::Seeds,
                    default: Fallback::Derived("[0]"),
                    doc: "Seeds of initial weights, order and augmentation: a list, or how many to count up from 0. {min: 2, max: 8, until: 0.9} gives every candidate two and adds more, up to eight, where it is least certain whether a point is on the front, until each is or is not with that probability (0.9 where it is not given).",
                    place: Target::Own,
                },
                Field {
                    key: "grid",
                    kind: Kind::Grid,
                    default: Fallback::Derived("no axes: one grid point"),
                    doc: "Hyperparameters to vary, by their path below spec; every combination is tried.",
                    place: Target::Own,
                },
            ],
            super::operations::PRIORITY,
        ],
    },
    Section {
        path: "spec.data",
        doc: "The images.",
        fields: &[super::data::FIELDS],
    },
    Section {
        path: "spec.net",
        doc: "The network.",
        fields: &[net!(
            net,
            Axis,
            name: Fallback::Required,
            "The family; `autorep nets` lists them. resnet9, 18 and 34 have the CIFAR form.",
            activation: (
                "published for efficientnet-lite0, relu for the others",
                "Of the EfficientNets: what the full net computes at its sites: ReLU, or what the family was published with (SiLU; ReLU6 of Lite0), each counted as one ReLU. Searches keep ReLUs in either case."
            )
        )],
    },
    Section {
        path: "spec.baseline",
        doc: "How the full-ReLU network is trained: the reference, the start of every search and, without another, its teacher.",
        fields: &[
            schedule!(baseline, epochs: 0, optimizer: "sgd", lr: 0.1, weight_decay: 5.0e-4, warmup_epochs: 0.5),
            super::weights::BASELINE,
        ],
    },
    Section {
        path: "spec.replace",
        doc: "How the ReLUs to keep are searched.",
        fields: &[
            schedule!(replace, epochs: 1, optimizer: "adam", lr: 1.0e-3, weight_decay: 0.0, warmup_epochs: 0.0),
            distillation!(replace),
            &[
                field(
                    "latent_lr",
                    Kind::Number(Range::above_zero_to(100.0)),
                    Fallback::Number(5.0e-3),
                    "Learning rate of the latents (Adam).",
                    Target::Axis(number!(replace.latent_lr)),
                ),
                field(
                    "latent_decay",
                    Kind::Choice(&["constant", "schedule"]),
                    Fallback::Choice("constant"),
                    "Whether the latents' learning rate stays until the indicators freeze, or falls from its own peak to lr_min as that of the weights does.",
                    Target::Axis(choice!(replace.latent_decay)),
                ),
                field(
                    "latent_init",
                    Kind::Choice(&["constant", "uniform", "first-order", "second-order"]),
                    Fallback::Choice("constant"),
                    "How latents start: all at latent_value, drawn from the uniform distribution between latent_low and latent_high, or by rank in (0, 1) of a score of what replacing each ReLU changes in the loss.",
                    Target::Axis(choice!(replace.latent_init)),
                ),
                field(
                    "latent_value",
                    Kind::Number(Range::zero_to(100.0)),
                    Fallback::Number(0.5),
                    "Where constant latents start; without effect for the others.",
                    Target::Axis(number!(replace.latent_value)),
                ),
                field(
                    "latent_low",
                    Kind::Number(Range::zero_to(100.0)),
                    Fallback::Number(0.0),
                    "The least that a uniform latent starts at; for latent_init uniform alone.",
                    Target::Axis(number!(replace.latent_low)),
                ),
                field(
                    "latent_high",
                    Kind::Number(Range::above_zero_to(100.0)),
                    Fallback::Number(1.0),
                    "The most that a uniform latent starts at; above latent_low.",
                    Target::Axis(number!(replace.latent_high)),
                ),
                field(
                    "penalty",
                    Kind::Number(Range::zero_to(1_000.0)),
                    Fallback::Number(3.0e-4),
                    "Added to the loss for each ReLU above the budget (the paper's lambda over the total); with snl for each unit of its alphas.",
                    Target::Axis(number!(replace.penalty)),
                ),
                field(
                    "penalty_schedule",
                    Kind::Choice(&["constant", "ramp", "grow"]),
                    Fallback::Choice("constant"),
                    "Whether the penalty stays, rises from zero over the first quarter of the steps before freezing, or grows until the budget is met.",
                    Target::Axis(choice!(replace.penalty_schedule)),
                ),
                field(
                    "penalty_growth",
                    Kind::Number(Range {
                        min: 1.0,
                        min_fits: true,
                        max: 1_000.0,
                        max_fits: true,
                    }),
                    Fallback::Number(1.1),
                    "Factor of the penalty at each check with too many ReLUs; for the schedule grow alone.",
                    Target::Axis(number!(replace.penalty_growth)),
                ),
                field(
                    "penalty_checks",
                    Kind::Count {
                        min: 1,
                        max: 1_000_000,
                    },
                    Fallback::Count(100),
                    "Checks, evenly over the search, at which the penalty may grow; for the schedule grow and for snl alone.",
                    Target::Axis(count!(replace.penalty_checks)),
                ),
                field(
                    "penalty_grace",
                    Kind::Count {
                        min: 0,
                        max: 1_000_000,
                    },
                    Fallback::Count(0),
                    "First checks at which the penalty does not grow; for the schedule grow alone.",
                    Target::Axis(count!(replace.penalty_grace)),
                ),
                field(
                    "hysteresis",
                    Kind::Number(Range::zero_to(10.0)),
                    Fallback::Number(0.003),
                    "Half the width of the band around zero in which an indicator keeps its state.",
                    Target::Axis(number!(replace.hysteresis)),
                ),
                field(
                    "granularity",
                    Kind::Choice(&["pixel", "channel", "site"]),
                    Fallback::Choice("pixel"),
                    "Whether each element of a feature map has its own indicator, or those of a channel or of a whole site share one.",
                    Target::Axis(choice!(replace.granularity)),
                ),
                field(
                    "budget_schedule",
                    Kind::Choice(&["constant", "anneal"]),
                    Fallback::Choice("anneal"),
                    "Whether the final budget is asked for from the first step, or approached from the total.",
                    Target::Axis(choice!(replace.budget_schedule)),
                ),
                field(
                    "anneal_power",
                    Kind::Number(Range::above_zero_to(10.0)),
                    Fallback::Number(1.0),
                    "Which power of the time the annealed budget's logarithm falls with: 1 for a geometric fall, more for a later one; for the schedule anneal alone.",
                    Target::Axis(number!(replace.anneal_power)),
                ),
                field(
                    "freeze_at",
                    Kind::Number(Range::above_zero_to(1.0)),
                    Fallback::Number(1.0),
                    "Share of the epochs after which indicators are projected to the budget and frozen at the latest; 1 means at the end.",
                    Target::Axis(number!(replace.freeze_at)),
                ),
                field(
                    "freeze_after",
                    Kind::Count {
                        min: 0,
                        max: 100_000_000,
                    },
                    Fallback::Count(0),
                    "Steps in a row within the final budget after which indicators freeze earlier; 0 for never.",
                    Target::Axis(count!(replace.freeze_after)),
                ),
                field(
                    "ties",
                    Kind::Choice(&["index", "importance"]),
                    Fallback::Choice("index"),
                    "Which of equal latents a projection keeps: the earlier ones, or those with the larger first-order score.",
                    Target::Axis(choice!(replace.ties)),
                ),
                field(
                    "on_unreached",
                    Kind::Choice(&["project", "fail"]),
                    Fallback::Choice("project"),
                    "Whether a search that has not come down to its budget when the indicators freeze is projected to it, or fails for good.",
                    Target::Axis(choice!(replace.on_unreached)),
                ),
                field(
                    "calibration_batches",
                    Kind::Count {
                        min: 1,
                        max: 100_000,
                    },
                    Fallback::Count(20),
                    "Batches over which activation statistics and scores are measured before the first step.",
                    Target::Axis(count!(replace.calibration_batches)),
                ),
                field(
                    "degree",
                    Kind::Count { min: 0, max: 2 },
                    Fallback::Count(2),
                    "Degree of the polynomials that replace ReLUs.",
                    Target::Axis(count!(replace.degree)),
                ),
                field(
                    "polynomial_start",
                    Kind::Choice(&["gaussian", "bn", "moments", "identity", "running"]),
                    Fallback::Choice("gaussian"),
                    "From what the polynomials start: the closed form for measured means and deviations, the same with batch norm's parameters where they say them, least squares from measured moments, the identity, or running averages as in the released code.",
                    Target::Axis(choice!(replace.polynomial_start)),
                ),
                field(
                    "refresh_every",
                    Kind::Count {
                        min: 1,
                        max: 1_000_000,
                    },
                    Fallback::Count(10),
                    "Steps between two computations of the polynomials from running averages; for polynomial_start running alone.",
                    Target::Axis(count!(replace.refresh_every)),
                ),
                field(
                    "refresh_until",
                    Kind::Count {
                        min: 1,
                        max: 100_000_000,
                    },
                    Fallback::Count(500),
                    "Steps after which running averages are no longer taken; for polynomial_start running alone.",
                    Target::Axis(count!(replace.refresh_until)),
                ),
                field(
                    "sharing",
                    Kind::Choice(&["channel", "site"]),
                    Fallback::Choice("channel"),
                    "Whether each channel has a polynomial of its own, or each site one.",
                    Target::Axis(choice!(replace.sharing)),
                ),
                field(
                    "c0_damping",
                    Kind::Number(Range::zero_to(100.0)),
                    Fallback::Number(1.0),
                    "Factor of the constant coefficient at the start.",
                    Target::Axis(number!(replace.c0_damping)),
                ),
                field(
                    "c2_damping",
                    Kind::Number(Range::zero_to(100.0)),
                    Fallback::Number(1.0),
                    "Factor of the quadratic coefficient at the start.",
                    Target::Axis(number!(replace.c2_damping)),
                ),
                field(
                    "quadratic_scale",
                    Kind::Number(Range::above_zero_to(100.0)),
                    Fallback::Number(1.0),
                    "Factor of the quadratic term in every forward pass of the search.",
                    Target::Axis(number!(replace.quadratic_scale)),
                ),
                field(
                    "quadratic_clip",
                    Kind::Number(Range::zero_to(1.0e6)),
                    Fallback::Number(0.0),
                    "Largest size of the quadratic coefficients before that factor, to which larger ones are cut; 0 for any.",
                    Target::Axis(number!(replace.quadratic_clip)),
                ),
            ],
            coefficients!(replace),
        ],
    },
    Section {
        path: "spec.halving",
        doc: "Successive halving over the grid: searches that come down to the same budgets are compared at rungs, and only the better ones are trained to the end, with what follows them. Without grace none is stopped.",
        fields: &[super::operations::HALVING],
    },
    Section {
        path: "spec.finetune",
        doc: "How a net is trained on with its indicators frozen. With 0 epochs the search's nets are measured as they are.",
        fields: &[
            schedule!(finetune, epochs: 0, optimizer: "adam", lr: 1.0e-3, weight_decay: 0.0, warmup_epochs: 0.0),
            distillation!(finetune),
            coefficients!(finetune),
        ],
    },
    Section {
        path: "spec.teacher",
        doc: "The net that searches and finetunes are distilled from; without this section the full-ReLU baseline. It sees the same images.",
        fields: &[
            net!(
                teacher,
                Fixed,
                name: Fallback::Derived("none; required with a teacher"),
                "The teacher's family.",
                activation: (
                    "published",
                    "Of the EfficientNets: what the teacher computes at its sites: ReLU, or what the family was published with (SiLU; ReLU6 of Lite0)."
                )
            ),
            super::weights::TEACHER,
        ],
    },
    Section {
        path: "spec.under_trained",
        doc: "What becomes of points that lie under one with fewer ReLUs by more than noise.",
        fields: &[super::operations::UNDER_TRAINED],
    },
    Section {
        path: "spec.limit",
        doc: "What the sweep may cost. Within it the coarse front comes first; at the limit the sweep ends with what it has.",
        fields: &[super::operations::LIMIT],
    },
    Section {
        path: "spec.resources",
        doc: "What a task needs of its worker.",
        fields: &[super::operations::RESOURCES],
    },
    Section {
        path: "spec.retry",
        doc: "What happens when an attempt fails.",
        fields: &[super::operations::RETRY],
    },
    Section {
        path: "spec.checkpoint",
        doc: "When checkpoints to resume from are written, and which are kept.",
        fields: &[super::operations::CHECKPOINT],
    },
];
