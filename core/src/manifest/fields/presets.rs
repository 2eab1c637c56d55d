//! Presets: sets of defaults that reproduce what others did.
//!
//! A preset only says what a key means that is not given; it is expanded before any spec exists,
//! so that a task's id does not tell how its settings were written.
//!
//! Sources: Peng et al., "`AutoReP`: Automatic `ReLU` Replacement for Fast Private Network
//! Inference", ICCV 2023, arXiv:2308.10134, and its released code; Cho et al., "Selective Network
//! Linearization for Efficient Private Inference", ICML 2022, arXiv:2202.02340, and its code.

use super::super::AxisValue;
use crate::strategy::Strategy;

/// The presets' names, in the order in which people read them.
pub(crate) const NAMES: &[&str] = &[
    "default",
    "paper-cifar",
    "paper-tiny",
    "ref-compat-cifar",
    "ref-compat-tiny",
];

/// What a preset says about one key.
#[derive(Clone, Copy, Debug)]
enum Value {
    Count(u64),
    Number(f64),
    Name(&'static str),
    Switch(bool),
}

use Value::{Count, Name, Number, Switch};

/// A preset's values by the paths of their keys.
type Values = &'static [(&'static str, Value)];

/// The full-ReLU net of the reference's scripts: SGD with decay on every parameter, no warm-up.
const REFERENCE_BASELINE: Values = &[
    ("spec.baseline.epochs", Count(400)),
    ("spec.baseline.batch", Count(256)),
    ("spec.baseline.lr_decay", Name("cosine-epoch")),
    ("spec.baseline.lr_min", Number(1e-5)),
    ("spec.baseline.warmup_epochs", Number(0.0)),
    ("spec.baseline.decay_all", Switch(true)),
];

/// The search of the reference's scripts: the whole budget asked for at once, latents drawn from
/// (0, 1), no training with frozen indicators.
const REFERENCE_SEARCH: Values = &[
    ("spec.replace.lr_decay", Name("cosine-epoch")),
    ("spec.replace.lr_min", Number(1e-5)),
    ("spec.replace.latent_lr", Number(1e-3)),
    ("spec.replace.latent_decay", Name("schedule")),
    ("spec.replace.latent_init", Name("uniform")),
    ("spec.replace.budget_schedule", Name("constant")),
    ("spec.replace.on_unreached", Name("fail")),
    ("spec.finetune.epochs", Count(0)),
];

/// ResNet-18 on CIFAR-100 at 9,000 ReLUs: lambda 140 over 491,520 ReLUs.
const REFERENCE_CIFAR: Values = &[
    ("spec.replace.epochs", Count(200)),
    ("spec.replace.lr", Number(1e-3)),
    ("spec.replace.penalty", Number(140.0 / 491_520.0)),
];

/// WideResNet-22-8 on Tiny-ImageNet at 150,000 ReLUs: lambda 240 over 5,439,488 ReLUs.
const REFERENCE_TINY: Values = &[
    ("spec.replace.epochs", Count(80)),
    ("spec.replace.lr", Number(1e-4)),
    ("spec.replace.penalty", Number(240.0 / 5_439_488.0)),
    ("spec.replace.lookahead_steps", Count(6)),
    ("spec.replace.lookahead_alpha", Number(0.5)),
];

/// How the released code starts its polynomials: from running averages, with the variance in the
/// deviation's place, damped.
const COMPATIBLE: Values = &[
    ("spec.replace.polynomial_start", Name("running")),
    ("spec.replace.c0_damping", Number(0.2)),
    ("spec.replace.c2_damping", Number(0.1)),
];

const COMPATIBLE_CIFAR: Values = &[("spec.replace.quadratic_scale", Number(0.1))];

const COMPATIBLE_TINY: Values = &[
    ("spec.replace.quadratic_scale", Number(2.0)),
    ("spec.replace.quadratic_clip", Number(1.0)),
];

/// What `method: snl` means by itself: its authors' penalty and growth, checked a hundred times
/// over the search however many epochs that has.
const SNL: Values = &[
    ("spec.replace.penalty", Number(1e-5)),
    ("spec.replace.penalty_schedule", Name("grow")),
    ("spec.replace.penalty_growth", Number(1.1)),
    ("spec.replace.penalty_checks", Count(100)),
    ("spec.replace.penalty_grace", Count(5)),
    ("spec.replace.budget_schedule", Name("anneal")),
    ("spec.replace.latent_decay", Name("constant")),
];

/// The lists that make up a preset; the first that names a key decides.
fn lists(preset: &str) -> &'static [Values] {
    match preset {
        "paper-cifar" => &[REFERENCE_CIFAR, REFERENCE_SEARCH, REFERENCE_BASELINE],
        "paper-tiny" => &[REFERENCE_TINY, REFERENCE_SEARCH, REFERENCE_BASELINE],
        "ref-compat-cifar" => &[
            COMPATIBLE_CIFAR,
            COMPATIBLE,
            REFERENCE_CIFAR,
            REFERENCE_SEARCH,
            REFERENCE_BASELINE,
        ],
        "ref-compat-tiny" => &[
            COMPATIBLE_TINY,
            COMPATIBLE,
            REFERENCE_TINY,
            REFERENCE_SEARCH,
            REFERENCE_BASELINE,
        ],
        "snl" => &[SNL],
        _ => &[],
    }
}

/// What a key means that is not given: what the method says, else what the preset says: presets are
/// of AutoReP, and an arm of another method beside it keeps its own penalty; `None`
/// where neither says anything and the table's default holds.
pub(crate) fn value(preset: &str, method: &str, path: &str) -> Option<AxisValue> {
    let of = |name: &str| {
        let mut entries = lists(name).iter().copied().flatten();
        entries.find(|(key, _)| *key == path)
    };
    let (_, value) = of(method).or_else(|| of(preset))?;
    Some(match *value {
        Count(count) => AxisValue::Count(count),
        Number(number) => AxisValue::Number(number),
        Name(name) => AxisValue::Choice(name.to_owned()),
        Switch(on) => AxisValue::Switch(on),
    })
}

/// What a key means under a strategy where neither it nor a preset says so. A budget that a descent
/// does not reach is no point: the snapshots at the others are. A ladder goes on from what it is
/// given, as searches that know nothing of each other do.
pub(crate) fn of_strategy(strategy: Strategy, path: &str) -> Option<AxisValue> {
    match strategy {
        Strategy::Descent if path == "spec.replace.on_unreached" => {
            Some(AxisValue::Choice("fail".to_owned()))
        }
        Strategy::Descent | Strategy::Independent | Strategy::Ladder => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::axis_field;
    use super::*;

    #[test]
    fn every_value_of_a_preset_is_one_that_its_key_may_have() {
        let mut seen = 0;
        for preset in NAMES.iter().copied().chain(["snl"]) {
            for (path, _) in lists(preset).iter().copied().flatten() {
                let key = path.strip_prefix("spec.").unwrap();
                let axis = axis_field(key).unwrap_or_else(|| panic!("{preset}: no key {key}"));
                let value = value(preset, "autorep", path).unwrap();
                assert!(axis.fits(&value), "{preset}: {key} = {value}");
                seen += 1;
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn a_method_counts_more_than_a_preset() {
        let penalty = |preset, method| value(preset, method, "spec.replace.penalty");
        assert_eq!(penalty("default", "autorep"), None);
        assert_eq!(penalty("default", "snl"), Some(AxisValue::Number(1e-5)));
        assert_eq!(
            penalty("paper-cifar", "snl"),
            Some(AxisValue::Number(1e-5)),
            "a preset's penalty is that of AutoReP"
        );
        let paper = Some(AxisValue::Number(140.0 / 491_520.0));
        assert_eq!(penalty("paper-cifar", "autorep"), paper);
    }
}
