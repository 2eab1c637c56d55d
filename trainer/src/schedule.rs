//! The learning rate as a pure function of the step.

use autorep_core::recipe::Schedule;

/// The learning rate of the step after `done` steps, when an epoch has `per_epoch` steps: a linear
/// rise over the warm-up, then a cosine that would reach zero after the last step.
pub fn learning_rate(schedule: &Schedule, per_epoch: u64, done: u64) -> f64 {
    let total = f64::from(schedule.epochs) * per_epoch as f64;
    let warmup = (schedule.warmup_epochs * per_epoch as f64).min(total);
    let done = done as f64;
    if done < warmup {
        return schedule.lr * ((done + 1.0) / warmup).min(1.0);
    }
    let share = ((done - warmup) / (total - warmup).max(1.0)).min(1.0);
    schedule.lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
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
    fn without_warm_up_the_first_step_has_the_peak() {
        assert!((learning_rate(&schedule(0.0), 10, 0) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn a_warm_up_longer_than_the_stage_is_finite() {
        let lr = learning_rate(&schedule(9.0), 10, 39);
        assert!((lr - 0.2).abs() < 1e-12);
    }
}
