//! Settings without effect at a fixed value, so that they do not make equal work look new.

use super::{
    BaselineRecipe, BudgetSchedule, CoefficientRates, Decay, Distillation, FinetuneRecipe,
    Granularity, LatentInit, Method, OptimizerKind, PenaltySchedule, PolynomialStart,
    ReplaceRecipe, Schedule, Sharing, Ties,
};

impl Schedule {
    /// Gives settings without effect a fixed value, so that they do not make equal work look new.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        if self.optimizer == OptimizerKind::Adam {
            self.momentum = 0.0;
        }
        if self.decay == Decay::Constant {
            self.lr_min = 0.0;
        }
        if self.weight_decay == 0.0 {
            self.decay_all = false;
        }
        if self.lookahead_steps == 0 {
            self.lookahead_alpha = 0.0;
        }
        self
    }
}

impl BaselineRecipe {
    /// As [`Schedule::canonical`]. Weights that are taken as they are only have to be measured:
    /// the precision says how.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.schedule = match self.schedule {
            Schedule {
                epochs: 0,
                precision,
                ..
            } => Schedule {
                precision,
                ..Schedule::default()
            },
            trained => trained,
        };
        self.schedule = self.schedule.canonical();
        self
    }
}

impl Distillation {
    /// As [`Schedule::canonical`].
    #[must_use]
    pub fn canonical(mut self) -> Self {
        if self.kd_weight == 0.0 {
            self.temperature = 1.0;
            self.teacher = None;
        }
        self
    }
}

impl CoefficientRates {
    /// Coefficients that stay as they are.
    pub const FIXED: Self = Self {
        lr_scale: 0.0,
        quadratic_lr_scale: 0.0,
    };

    /// As [`Schedule::canonical`].
    #[must_use]
    pub fn canonical(mut self, degree: u32) -> Self {
        if self.lr_scale == 0.0 || degree < 2 {
            self.quadratic_lr_scale = 0.0;
        }
        self
    }
}

impl ReplaceRecipe {
    /// As [`Schedule::canonical`].
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.schedule = self.schedule.canonical();
        self.distillation = self.distillation.canonical();
        if self.method == Method::Snl {
            self = self.identity();
        }
        if self.latent_init != LatentInit::Constant {
            self.latent_value = 0.0;
        }
        if self.latent_init != LatentInit::Uniform {
            (self.latent_low, self.latent_high) = (0.0, 1.0);
        }
        if self.penalty_schedule != PenaltySchedule::Grow {
            self.penalty_growth = 1.0;
            self.penalty_grace = 0;
            // SNL looks whether it is there at the same checks.
            if self.method == Method::Autorep {
                self.penalty_checks = 0;
            }
        }
        if self.budget_schedule != BudgetSchedule::Anneal {
            self.anneal_power = 1.0;
        }
        if self.polynomial_start == PolynomialStart::Identity {
            self.c0_damping = 1.0;
            self.c2_damping = 1.0;
        }
        if self.polynomial_start != PolynomialStart::Running {
            (self.refresh_every, self.refresh_until) = (10, 500);
        }
        if let PolynomialStart::Identity | PolynomialStart::Running = self.polynomial_start {
            let scored = matches!(
                self.latent_init,
                LatentInit::FirstOrder | LatentInit::SecondOrder
            );
            if !scored && self.ties == Ties::Index {
                self.calibration_batches = 0;
            }
        }
        if self.degree < 2 {
            self.c2_damping = 1.0;
            self.quadratic_scale = 1.0;
            self.quadratic_clip = 0.0;
        }
        self.coefficients = self.coefficients.canonical(self.degree);
        self
    }

    /// What SNL has no choice in: its replacement is the identity, its α starts at 1, its penalty
    /// is on every α from the first step.
    fn identity(self) -> Self {
        Self {
            latent_init: LatentInit::Constant,
            latent_value: 1.0,
            hysteresis: 0.0,
            granularity: Granularity::Pixel,
            freeze_after: 0,
            ties: Ties::Index,
            calibration_batches: 0,
            degree: 1,
            polynomial_start: PolynomialStart::Gaussian,
            sharing: Sharing::Channel,
            c0_damping: 1.0,
            c2_damping: 1.0,
            quadratic_scale: 1.0,
            quadratic_clip: 0.0,
            coefficients: CoefficientRates::FIXED,
            ..self
        }
    }
}

impl FinetuneRecipe {
    /// As [`Schedule::canonical`], for what follows a search with `replace`.
    #[must_use]
    pub fn canonical(mut self, replace: &ReplaceRecipe) -> Self {
        self.schedule = self.schedule.canonical();
        self.distillation = self.distillation.canonical();
        self.coefficients = match replace.method {
            Method::Autorep => self.coefficients.canonical(replace.degree),
            Method::Snl => CoefficientRates::FIXED,
        };
        self
    }
}
