//! The learning rate as a pure function of the step.

use autorep_core::recipe::{Decay, LatentDecay, ReplaceRecipe, Schedule};

/// The learning rate of the step after `done` steps, when an epoch has `per_epoch` steps: a linear
/// rise over the warm-up, then a fall that would reach the lowest rate after the last step.
pub fn learning_rate(schedule: &Schedule, per_epoch: u64, done: u64) -> f64 {
    let total = f64::from(schedule.epochs) * per_epoch as f64;
    let warmup = (schedule.warmup_epochs * per_epoch as f64).min(total);
    let done = done as f64;
    if done < warmup {
        return schedule.lr * ((done + 1.0) / warmup).min(1.0);
    }
    let at = match schedule.decay {
        Decay::Cosine => done,
        // The rate of an epoch is that of its first step.
        Decay::CosineEpoch => ((done / per_epoch as f64).floor() * per_epoch as f64).max(warmup),
        Decay::Constant => return schedule.lr,
    };
    let share = ((at - warmup) / (total - warmup).max(1.0)).min(1.0);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
    schedule.lr_min + (schedule.lr - schedule.lr_min) * cosine
}

/// As [`learning_rate`], of the latents.
pub fn latent_learning_rate(recipe: &ReplaceRecipe, per_epoch: u64, done: u64) -> f64 {
    let lr = recipe.latent_lr;
    match recipe.latent_decay {
        LatentDecay::Constant => lr,
        LatentDecay::Schedule => {
            let latents = Schedule {
                lr,
                lr_min: recipe.schedule.lr_min.min(lr),
                ..recipe.schedule.clone()
            };
            learning_rate(&latents, per_epoch, done)
        }
    }
}

#[cfg(test)]
mod tests {
    use autorep_core::recipe::OptimizerKind;

    use super::*;

    fn schedule(warmup_epochs: f64) -> Schedule {
        Schedule {
            epochs: 4,
            batch: 128,
            optimizer: OptimizerKind::Sgd,
            lr: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            warmup_epochs,
            ..Schedule::default()
        }
    }

    #[test]
    fn it_rises_linearly_then_falls_by_a_cosine_to_almost_zero() {
        let lr = |done| learning_rate(&schedule(1.0), 10, done);
        assert!((lr(0) - 0.02).abs() < 1e-12);
        assert!((lr(4) - 0.1).abs() < 1e-12);
        assert!((lr(9) - 0.2).abs() < 1e-12);
        assert!((lr(10) - 0.2).abs() < 1e-12);
        assert!(
            (lr(25) - 0.1).abs() < 1e-12,
            "half of the fall is half of the rate"
        );
        assert!(lr(39) > 0.0 && lr(39) < 1e-3);
    }

    #[test]
    fn latents_fall_from_their_own_peak_to_the_same_end_as_the_weights() {
        // The preset paper-tiny: the reference has one scheduler with two groups of parameters.
        let recipe = |latent_decay| ReplaceRecipe {
            schedule: Schedule {
                epochs: 80,
                lr: 1e-4,
                lr_min: 1e-5,
                decay: Decay::CosineEpoch,
                ..schedule(0.0)
            },
            latent_lr: 1e-3,
            latent_decay,
            ..ReplaceRecipe::default()
        };
        let falls = recipe(LatentDecay::Schedule);
        let lr = |done| latent_learning_rate(&falls, 10, done);
        assert!((lr(0) - 1e-3).abs() < 1e-12);
        assert!((lr(400) - 5.05e-4).abs() < 1e-9, "{} half way", lr(400));
        assert!((lr(799) - 1e-5).abs() < 1e-6, "{} at the end", lr(799));
        let stays = recipe(LatentDecay::Constant);
        assert!((latent_learning_rate(&stays, 10, 799) - 1e-3).abs() < 1e-12);
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_peak() {
        assert!((learning_rate(&schedule(0.0), 10, 0) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn by_epochs_it_falls_between_them_and_ends_at_the_floor() {
        let by_epoch = Schedule {
            decay: Decay::CosineEpoch,
            lr_min: 0.1,
            ..schedule(0.0)
        };
        let lr = |done| learning_rate(&by_epoch, 10, done);
        assert!((lr(0) - 0.2).abs() < 1e-12 && (lr(9) - 0.2).abs() < 1e-12);
        // Half way between the peak and the floor after two of four epochs.
        assert!((lr(20) - 0.15).abs() < 1e-12 && (lr(29) - 0.15).abs() < 1e-12);
        let step_by_step = Schedule {
            decay: Decay::Cosine,
            ..by_epoch.clone()
        };
        assert!((learning_rate(&step_by_step, 10, 40) - 0.1).abs() < 1e-12);
        let constant = Schedule {
            decay: Decay::Constant,
            ..by_epoch
        };
        assert!((learning_rate(&constant, 10, 39) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn a_warm_up_longer_than_the_stage_is_finite() {
        let lr = learning_rate(&schedule(9.0), 10, 39);
        assert!((lr - 0.2).abs() < 1e-12);
    }
}
