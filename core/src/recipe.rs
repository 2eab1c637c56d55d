//! How to train: every number that decides a training stage's result, with nothing left to
//! defaults elsewhere. A manifest's defaults are filled in before a recipe exists.

use serde::{Deserialize, Serialize};

/// The update rule of a training stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with betas 0.9 and 0.999 and epsilon 1e-8.
    Adam,
}

/// What each training stage has in common: epochs, batches, optimizer and learning rate.
///
/// The learning rate rises linearly over `warmup_epochs`, then falls by a cosine to zero at the
/// stage's last step.
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
}

/// Distillation from the full-ReLU baseline:
/// `ce_weight * CE + kd_weight * τ² KL(softmax(t/τ) || softmax(s/τ))`, batch means.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Distillation {
    /// Temperature τ.
    pub temperature: f64,
    /// Weight of the distillation term; zero trains on labels alone and needs no teacher.
    pub kd_weight: f64,
    /// Weight of the cross-entropy with the labels.
    pub ce_weight: f64,
}

/// Trains the full-ReLU network. The epoch with the best validation accuracy is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BaselineRecipe {
    /// Epochs, optimizer, learning rate.
    pub schedule: Schedule,
}

/// How latents start.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatentInit {
    /// Every latent is 0.5.
    Constant,
    /// Independent draws from the uniform distribution on (0, 1), as in the reference.
    Uniform,
}

/// How the allowed number of ReLUs falls during the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetSchedule {
    /// The hinge asks for the final budget from the first step, as in the paper.
    Constant,
    /// The hinge's budget falls geometrically from the total to the final budget over the first
    /// three quarters of the steps before freezing.
    Anneal,
}

/// The AutoReP search: weights, polynomial coefficients and indicators are trained together
/// until a budget of ReLUs is left.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReplaceRecipe {
    /// Epochs, optimizer, learning rate of the weights and coefficients.
    pub schedule: Schedule,
    /// Distillation from the baseline.
    pub distillation: Distillation,
    /// Learning rate of the latents (Adam, no weight decay), constant until indicators freeze:
    /// a decaying rate can stop the search short of its budget.
    pub latent_lr: f64,
    /// How latents start.
    pub latent_init: LatentInit,
    /// Added to the loss for each ReLU above the budget (the paper's lambda over T).
    pub penalty: f64,
    /// Half the width of the band around zero in which an indicator keeps its state.
    pub hysteresis: f64,
    /// Degree of the replacing polynomials: 0, 1 or 2.
    pub degree: u32,
    /// How the allowed number of ReLUs falls.
    pub budget_schedule: BudgetSchedule,
    /// Share of the epochs after which indicators are projected to the budget and frozen; 1 means
    /// at the end.
    pub freeze_at: f64,
    /// Batches over which activation statistics are measured before the first step.
    pub calibration_batches: u32,
}

/// Trains on with frozen indicators. The epoch with the best validation accuracy is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FinetuneRecipe {
    /// Epochs, optimizer, learning rate.
    pub schedule: Schedule,
    /// Distillation from the baseline.
    pub distillation: Distillation,
}
