//! What the table writes often: where values go, and the fields that several stages have. The names
//! in it are those of the table.

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

/// The fields of a [`crate::net::NetSettings`].
macro_rules! net {
    ($settings:ident, $target:ident, name: $fallback:expr, $doc:literal, activation: ($activation:literal, $about:literal)) => {
        &[
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
                default: $fallback,
                doc: $doc,
                place: Target::$target(choice!($settings.name)),
            },
            Field {
                key: "width",
                kind: Kind::Count { min: 1, max: 512 },
                default: Fallback::Count(64),
                doc: "Of the ResNets: channels of the first stage; the later stages have 2, 4 and 8 times as many.",
                place: Target::$target(count!($settings.width)),
            },
            Field {
                key: "stem_relu",
                kind: Kind::Switch,
                default: Fallback::Switch(false),
                doc: "Of resnet9, 18 and 34: whether a ReLU follows the first convolution; the papers' nets have none.",
                place: Target::$target(switch!($settings.stem_relu)),
            },
            Field {
                key: "depth",
                kind: Kind::Count { min: 10, max: 202 },
                default: Fallback::Count(22),
                doc: "Of wide-resnet: layers, four more than a multiple of six.",
                place: Target::$target(count!($settings.depth)),
            },
            Field {
                key: "widen",
                kind: Kind::Count { min: 1, max: 64 },
                default: Fallback::Count(8),
                doc: "Of wide-resnet: the widening factor.",
                place: Target::$target(count!($settings.widen)),
            },
            Field {
                key: "final_relu",
                kind: Kind::Switch,
                default: Fallback::Switch(false),
                doc: "Of wide-resnet: whether a ReLU follows the last batch normalisation; AutoReP's net has none.",
                place: Target::$target(switch!($settings.final_relu)),
            },
            Field {
                key: "stem_pool",
                kind: Kind::Choice(&["max", "avg"]),
                default: Fallback::Choice("max"),
                doc: "Of the ImageNet ResNets: how the stem is pooled. The comparisons of max are not counted but cost as much in private inference; AutoReP takes avg.",
                place: Target::$target(choice!($settings.stem_pool)),
            },
            Field {
                key: "se_sites",
                kind: Kind::Switch,
                default: Fallback::Switch(true),
                doc: "Of efficientnet-b0, b1 and b2: whether the activations in squeeze and excitation are sites; if not they stay ReLUs that are not counted.",
                place: Target::$target(switch!($settings.se_sites)),
            },
            Field {
                key: "activation",
                kind: Kind::Choice(&["relu", "published"]),
                default: Fallback::Derived($activation),
                doc: $about,
                place: Target::$target(|target, value| {
                    target.$settings.activation = Some(value.choice()?);
                    Some(())
                }),
            },
        ]
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
                doc: "Peak learning rate.",
                place: Target::Axis(number!($stage.schedule.lr)),
            },
            Field {
                key: "lr_decay",
                kind: Kind::Choice(&["cosine", "cosine-epoch", "constant"]),
                default: Fallback::Choice("cosine"),
                doc: "How the learning rate falls after the warm-up: by a cosine, step by step or epoch by epoch, or not at all.",
                place: Target::Axis(choice!($stage.schedule.decay)),
            },
            Field {
                key: "lr_min",
                kind: Kind::Number(Range::zero_to(100.0)),
                default: Fallback::Number(0.0),
                doc: "Where the learning rate ends; at most lr. Without effect if it does not fall.",
                place: Target::Axis(number!($stage.schedule.lr_min)),
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
                key: "decay_all",
                kind: Kind::Switch,
                default: Fallback::Switch(false),
                doc: "Whether weight decay is for biases and batch norm's scales and shifts, too.",
                place: Target::Axis(switch!($stage.schedule.decay_all)),
            },
            Field {
                key: "warmup_epochs",
                kind: Kind::Number(Range::zero_to(100_000.0)),
                default: Fallback::Number($warmup),
                doc: "Epochs, or a fraction of one, over which the learning rate rises from zero.",
                place: Target::Axis(number!($stage.schedule.warmup_epochs)),
            },
            Field {
                key: "grad_clip",
                kind: Kind::Number(Range::zero_to(1.0e6)),
                default: Fallback::Number(0.0),
                doc: "Largest norm of all gradients together, to which larger ones are scaled; 0 for any.",
                place: Target::Axis(number!($stage.schedule.grad_clip)),
            },
            Field {
                key: "label_smoothing",
                kind: Kind::Number(Range::zero_to_below(1.0)),
                default: Fallback::Number(0.0),
                doc: "Share of each label that is spread evenly over all classes.",
                place: Target::Axis(number!($stage.schedule.label_smoothing)),
            },
            Field {
                key: "ema",
                kind: Kind::Number(Range::zero_to_below(1.0)),
                default: Fallback::Number(0.0),
                doc: "Decay per step of a moving average of the weights, which is validated and kept in their place; 0 for none.",
                place: Target::Axis(number!($stage.schedule.ema)),
            },
            Field {
                key: "lookahead_steps",
                kind: Kind::Count { min: 0, max: 1_000_000 },
                default: Fallback::Count(0),
                doc: "Steps between two looks back of the Lookahead optimizer; 0 for none.",
                place: Target::Axis(count!($stage.schedule.lookahead_steps)),
            },
            Field {
                key: "lookahead_alpha",
                kind: Kind::Number(Range::above_zero_to(1.0)),
                default: Fallback::Number(0.5),
                doc: "How far the slow weights go towards the fast ones at each look back; without effect if lookahead_steps is 0.",
                place: Target::Axis(number!($stage.schedule.lookahead_alpha)),
            },
            Field {
                key: "precision",
                kind: Kind::Choice(&["fp32", "bf16", "fp16"]),
                default: Fallback::Choice("fp32"),
                doc: "In which numbers convolutions and linear layers are computed; fp16 on GPUs only.",
                place: Target::Axis(choice!($stage.schedule.precision)),
            },
            Field {
                key: "sync_bn",
                kind: Kind::Switch,
                default: Fallback::Switch(true),
                doc: "Whether batch norm has the statistics of the whole batch where several ranks train one task, or each rank those of its own part.",
                place: Target::Axis(switch!($stage.schedule.sync_bn)),
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
                doc: "Temperature of the distillation; without effect if kd_weight is 0.",
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

/// The fields of a [`crate::recipe::CoefficientRates`].
macro_rules! coefficients {
    ($stage:ident) => {
        &[
            Field {
                key: "coefficient_lr_scale",
                kind: Kind::Number(Range::zero_to(1.0e6)),
                default: Fallback::Number(1.0),
                doc: "Learning rate of the polynomials' coefficients over that of the weights; 0 keeps them as they are.",
                place: Target::Axis(number!($stage.coefficients.lr_scale)),
            },
            Field {
                key: "quadratic_lr_scale",
                kind: Kind::Number(Range::zero_to(1.0e6)),
                default: Fallback::Number(1.0),
                doc: "Learning rate of the quadratic coefficients over that of the others.",
                place: Target::Axis(number!($stage.coefficients.quadratic_lr_scale)),
            },
        ]
    };
}
