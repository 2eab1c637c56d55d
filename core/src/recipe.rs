//! How to train: every number that decides a training stage's result, with nothing left to
//! defaults elsewhere. A manifest's defaults are filled in before a recipe exists.

use serde::{Deserialize, Serialize};

use crate::net::NetSpec;
use crate::weights::Weights;

mod canonical;

/// The update rule of a training stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with betas 0.9 and 0.999 and epsilon 1e-8.
    Adam,
}

/// How the learning rate falls after its warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// By a cosine, step by step.
    Cosine,
    /// By a cosine that moves at the beginning of each epoch only, as in the reference.
    CosineEpoch,
    /// Not at all.
    Constant,
}

/// In which numbers the forward and backward passes are computed. Weights, optimizer buffers,
/// batch-norm statistics and losses are f32 in all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32.
    Fp32,
    /// Convolutions and linear layers in bfloat16.
    Bf16,
    /// Convolutions and linear layers in float16, the loss scaled; on GPUs only.
    Fp16,
}

/// What each training stage has in common: epochs, batches, optimizer and learning rate.
///
/// The learning rate rises linearly over `warmup_epochs`, then falls to `lr_min` as `decay` says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// Passes over the training images.
    pub epochs: u32,
    /// Images per optimizer step. A last batch that is not full is left out.
    pub batch: u32,
    /// The update rule for weights, batch-norm parameters and polynomial coefficients.
    pub optimizer: OptimizerKind,
    /// Peak learning rate.
    pub lr: f64,
    /// Momentum of SGD; without effect under Adam.
    pub momentum: f64,
    /// L2 penalty added to the gradient of every convolution and linear weight.
    pub weight_decay: f64,
    /// Epochs of linear warm-up, which may be a fraction.
    pub warmup_epochs: f64,
    /// How the learning rate falls.
    pub decay: Decay,
    /// Where it ends; without effect if it does not fall.
    pub lr_min: f64,
    /// Whether weight decay is for biases and batch norm's scales and shifts, too.
    pub decay_all: bool,
    /// Largest norm of all gradients together; zero for any.
    pub grad_clip: f64,
    /// Share of each label that is spread evenly over all classes.
    pub label_smoothing: f64,
    /// Decay per step of a moving average of the weights, which is what is validated and kept;
    /// zero for none.
    pub ema: f64,
    /// Steps between two looks back (Zhang et al. 2019, arXiv:1907.08610); zero for none.
    pub lookahead_steps: u32,
    /// Share of the way from the slow weights to the fast ones at each look back; without effect
    /// if there is none.
    pub lookahead_alpha: f64,
    /// In which numbers to compute.
    pub precision: Precision,
    /// Whether batch normalisation has the statistics of the whole batch where several ranks train
    /// on parts of it, so that a result does not depend on their number. Without it each rank has
    /// those of its own part, and the running statistics are the first one's. It is left out of the
    /// JSON where it is so, as in the specs written before there were ranks.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sync_bn: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_yes(value: &bool) -> bool {
    *value
}

impl Default for Schedule {
    /// No epochs; every option off.
    fn default() -> Self {
        Self {
            epochs: 0,
            batch: 128,
            optimizer: OptimizerKind::Adam,
            lr: 1e-3,
            momentum: 0.9,
            weight_decay: 0.0,
            warmup_epochs: 0.0,
            decay: Decay::Cosine,
            lr_min: 0.0,
            decay_all: false,
            grad_clip: 0.0,
            label_smoothing: 0.0,
            ema: 0.0,
            lookahead_steps: 0,
            lookahead_alpha: 0.5,
            precision: Precision::Fp32,
            sync_bn: true,
        }
    }
}

/// A net that others are distilled from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Teacher {
    /// Its architecture.
    pub net: NetSpec,
    /// Its weights.
    pub weights: Weights,
}

/// Distillation from a teacher:
/// `ce_weight * CE + kd_weight * τ² KL(softmax(t/τ) || softmax(s/τ))`, batch means.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Distillation {
    /// Temperature τ.
    pub temperature: f64,
    /// Weight of the distillation term; zero trains on labels alone and needs no teacher.
    pub kd_weight: f64,
    /// Weight of the cross-entropy with the labels.
    pub ce_weight: f64,
    /// The teacher; without one it is the full-ReLU baseline. Left out of the JSON then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Teacher>,
}

impl Default for Distillation {
    fn default() -> Self {
        Self {
            temperature: 4.0,
            kd_weight: 1.0,
            ce_weight: 1.0,
            teacher: None,
        }
    }
}

/// Trains the full-ReLU network. The epoch with the best validation accuracy is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BaselineRecipe {
    /// Epochs, optimizer, learning rate. With zero epochs, which only weights may have, the net is
    /// those weights as they are.
    pub schedule: Schedule,
    /// The weights to start from; without them random ones. Left out of the JSON then, as in the
    /// recipes written before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}

/// How the ReLUs to keep are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// `AutoReP` (Peng et al. 2023, arXiv:2308.10134): indicators with straight-through gradients,
    /// trained polynomials.
    Autorep,
    /// Selective network linearization (Cho et al. 2022, arXiv:2202.02340): `α relu(x) + (1 - α) x`
    /// with a real α per element under an L1 penalty, set to 0 or 1 when few enough are left.
    Snl,
}

impl Method {
    /// The name used in manifests and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Autorep => "autorep",
            Self::Snl => "snl",
        }
    }
}

/// How latents start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatentInit {
    /// Every latent is `latent_value`.
    Constant,
    /// Independent draws from the uniform distribution between `latent_low` and `latent_high`; in
    /// the reference on (0, 1).
    Uniform,
    /// By rank in (0, 1) of `|E[δ (relu(x) - g(x))]|`: the first-order change of the loss when the
    /// ReLU is replaced; δ is the loss's gradient at the activation's output.
    FirstOrder,
    /// By rank in (0, 1) of `E[(δ (relu(x) - g(x)))²]`, an estimate of the second-order change.
    SecondOrder,
}

/// Whether the latents' learning rate falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatentDecay {
    /// It stays until indicators freeze: a rate that falls can stop the search short of its budget.
    Constant,
    /// It falls from its own peak to the same `lr_min` as that of the weights and in the same way,
    /// as in the reference.
    Schedule,
}

/// How the penalty per ReLU changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PenaltySchedule {
    /// Not at all.
    Constant,
    /// It rises linearly from zero over the first quarter of the steps before freezing.
    Ramp,
    /// At each of `penalty_checks` checks, spread evenly over the steps before freezing, it is
    /// multiplied by `penalty_growth` where more ReLUs are left than allowed (SNL: also where the count
    /// has not reached a new minimum), and stays otherwise.
    Grow,
}

/// How the allowed number of ReLUs falls during the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetSchedule {
    /// The hinge asks for the final budget from the first step, as in the paper.
    Constant,
    /// The hinge's budget falls from the total to the final budget over the first three quarters of
    /// the steps before freezing: geometrically, or as `anneal_power` says.
    Anneal,
}

/// How many elements share one latent and one indicator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// Every element has its own.
    Pixel,
    /// The elements of a channel of a site.
    Channel,
    /// All elements of a site.
    Site,
}

/// Which activations share one polynomial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Those of a channel of a site.
    Channel,
    /// Those of a site.
    Site,
}

/// From what the polynomials' start is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolynomialStart {
    /// The closed form for a normal distribution with the measured mean and deviation.
    Gaussian,
    /// The closed form with batch norm's shift and scale where the pre-activation is a batch
    /// norm's output; as `Gaussian` elsewhere.
    Bn,
    /// Least squares from measured moments, whatever the distribution.
    Moments,
    /// `g(x) = x`, which needs no measurement. Not for degree 0.
    Identity,
    /// As the reference's code: running averages (momentum 0.1) during the first `refresh_until`
    /// steps, the closed form taken every `refresh_every` steps with the variance, floored at 0.5,
    /// in place of the deviation.
    Running,
}

impl PolynomialStart {
    /// The name used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::Bn => "bn",
            Self::Moments => "moments",
            Self::Identity => "identity",
            Self::Running => "running",
        }
    }
}

/// In which order equal latents are kept by a projection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ties {
    /// By site, then by index.
    Index,
    /// By falling first-order score, measured when it is needed; then as `Index`.
    Importance,
}

/// What happens to a search that has not come down to its budget when its indicators freeze.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnreached {
    /// It is projected to the budget; how many ReLUs it had is in its observation.
    Project,
    /// It fails, for good: it is no point of the front.
    Fail,
}

/// The search: weights, polynomial coefficients and indicators are trained together until a
/// budget of ReLUs is left.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReplaceRecipe {
    /// How it is done.
    pub method: Method,
    /// Epochs, optimizer, learning rate of the weights.
    pub schedule: Schedule,
    /// Distillation from the teacher.
    pub distillation: Distillation,
    /// Learning rate of the latents (Adam, no weight decay).
    pub latent_lr: f64,
    /// Whether it falls.
    pub latent_decay: LatentDecay,
    /// How latents start.
    pub latent_init: LatentInit,
    /// Where constant latents start.
    pub latent_value: f64,
    /// The least that a uniform latent starts at.
    #[serde(default, skip_serializing_if = "is::<0, _>")]
    pub latent_low: f64,
    /// The most.
    #[serde(default = "of::<1, _>", skip_serializing_if = "is::<1, _>")]
    pub latent_high: f64,
    /// Added to the loss for each ReLU above the budget (the paper's lambda over T); for SNL for
    /// each unit of α.
    pub penalty: f64,
    /// How the penalty changes.
    pub penalty_schedule: PenaltySchedule,
    /// Factor of one growth.
    pub penalty_growth: f64,
    /// Checks over the search, at each of which it may grow.
    pub penalty_checks: u32,
    /// Checks at the beginning at which it does not.
    #[serde(default, skip_serializing_if = "is::<0, _>")]
    pub penalty_grace: u32,
    /// Half the width of the band around zero in which an indicator keeps its state.
    pub hysteresis: f64,
    /// What shares an indicator.
    pub granularity: Granularity,
    /// How the allowed number of ReLUs falls.
    pub budget_schedule: BudgetSchedule,
    /// The annealed budget's logarithm falls by the share of its way that this power of the share of
    /// the time is: 1 for a geometric fall, more for one that begins later and gets steeper.
    #[serde(default = "of::<1, _>", skip_serializing_if = "is::<1, _>")]
    pub anneal_power: f64,
    /// Share of the epochs after which indicators are projected to the budget and frozen at the
    /// latest; 1 means at the end.
    pub freeze_at: f64,
    /// Steps in a row within the final budget after which they are frozen earlier; zero for never.
    pub freeze_after: u32,
    /// Which of equal latents are kept.
    pub ties: Ties,
    /// What to do when the budget was not reached.
    pub on_unreached: OnUnreached,
    /// Batches over which activation statistics and scores are measured before the first step.
    pub calibration_batches: u32,
    /// Degree of the replacing polynomials: 0, 1 or 2.
    pub degree: u32,
    /// From what they start.
    pub polynomial_start: PolynomialStart,
    /// Steps between two computations of a running start.
    #[serde(default = "of::<10, _>", skip_serializing_if = "is::<10, _>")]
    pub refresh_every: u32,
    /// Steps over which it takes averages.
    #[serde(default = "of::<500, _>", skip_serializing_if = "is::<500, _>")]
    pub refresh_until: u32,
    /// What shares one.
    pub sharing: Sharing,
    /// Factor of the constant coefficient at the start.
    pub c0_damping: f64,
    /// Factor of the quadratic coefficient at the start.
    pub c2_damping: f64,
    /// Factor of the quadratic term in every forward pass.
    pub quadratic_scale: f64,
    /// Largest size of the quadratic coefficient before that factor; zero for any.
    pub quadratic_clip: f64,
    /// Learning rates of the coefficients.
    pub coefficients: CoefficientRates,
}

/// Learning rates of polynomial coefficients, relative to that of the weights.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct CoefficientRates {
    /// Of all coefficients; zero keeps them as they are.
    pub lr_scale: f64,
    /// Of the quadratic ones, on top.
    pub quadratic_lr_scale: f64,
}

impl Default for CoefficientRates {
    fn default() -> Self {
        Self {
            lr_scale: 1.0,
            quadratic_lr_scale: 1.0,
        }
    }
}

/// What a key means that a recipe does not give: it is one of those that came later.
fn of<const VALUE: u16, T: From<u16>>() -> T {
    T::from(VALUE)
}

/// Whether a key has that value and is left out, so that older recipes keep their JSON.
fn is<const VALUE: u16, T: From<u16> + PartialEq>(value: &T) -> bool {
    *value == T::from(VALUE)
}

impl Default for ReplaceRecipe {
    /// What a manifest's defaults come to (see [`Self::canonical`]), without epochs.
    fn default() -> Self {
        Self {
            method: Method::Autorep,
            schedule: Schedule::default(),
            distillation: Distillation::default(),
            latent_lr: 5e-3,
            latent_decay: LatentDecay::Constant,
            latent_init: LatentInit::Constant,
            latent_value: 0.5,
            latent_low: 0.0,
            latent_high: 1.0,
            penalty: 3e-4,
            penalty_schedule: PenaltySchedule::Constant,
            penalty_growth: 1.0,
            penalty_checks: 0,
            penalty_grace: 0,
            hysteresis: 0.003,
            granularity: Granularity::Pixel,
            budget_schedule: BudgetSchedule::Anneal,
            anneal_power: 1.0,
            freeze_at: 1.0,
            freeze_after: 0,
            ties: Ties::Index,
            on_unreached: OnUnreached::Project,
            calibration_batches: 20,
            degree: 2,
            polynomial_start: PolynomialStart::Gaussian,
            refresh_every: 10,
            refresh_until: 500,
            sharing: Sharing::Channel,
            c0_damping: 1.0,
            c2_damping: 1.0,
            quadratic_scale: 1.0,
            quadratic_clip: 0.0,
            coefficients: CoefficientRates::default(),
        }
    }
}

/// Trains on with frozen indicators. The epoch with the best validation accuracy is kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FinetuneRecipe {
    /// Epochs, optimizer, learning rate.
    pub schedule: Schedule,
    /// Distillation from the teacher.
    pub distillation: Distillation,
    /// Learning rates of the coefficients.
    pub coefficients: CoefficientRates,
}
