//! What a worker counts and times. [`TABLE`] says what each metric is; here they are recorded.

use std::time::Duration;

use autorep_proto::v1;
use tokio::time::Instant;

use crate::report::{Outcome, Times};

mod gpu;
mod table;

pub use gpu::Gpus;
pub use table::TABLE;

use table as name;

/// Makes counters appear with 0, so that their first increase can be seen. Called once a recorder is
/// there.
pub fn prepare() {
    for outcome in Outcome::ALL {
        metrics::counter!(name::ATTEMPTS, "outcome" => outcome.name()).increment(0);
    }
    for single in [name::CHECKPOINT_BYTES, name::RENEWAL_FAILURES, name::STEPS] {
        metrics::counter!(single).increment(0);
    }
}

/// An attempt ended.
pub(crate) fn attempt_ended(outcome: Outcome, times: Times) {
    metrics::counter!(name::ATTEMPTS, "outcome" => outcome.name()).increment(1);
    for (phase, time) in [
        ("fetching", times.fetching),
        ("training", times.training),
        ("storing", times.storing),
    ] {
        metrics::histogram!(name::ATTEMPT_TIME, "phase" => phase).record(time.as_secs_f64());
    }
    metrics::gauge!(name::IMAGES).set(0.0);
}

/// A checkpoint was stored and committed.
pub(crate) fn checkpoint_committed(bytes: u64, took: Duration) {
    metrics::counter!(name::CHECKPOINT_BYTES).increment(bytes);
    metrics::histogram!(name::CHECKPOINT_TIME).record(took.as_secs_f64());
}

/// A renewal got no answer.
pub(crate) fn renewal_failed() {
    metrics::counter!(name::RENEWAL_FAILURES).increment(1);
}

/// What one trainer says of its progress, as metrics.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<(Instant, u64)>,
}

impl Meter {
    /// A trainer has said where it is.
    pub(crate) fn heard(&mut self, progress: &v1::Progress) {
        let now = Instant::now();
        if let Some((then, step)) = self.last
            && let Some(steps) = progress.step.checked_sub(step).filter(|&steps| steps > 0)
        {
            let took = now.duration_since(then).as_secs_f64() / steps as f64;
            metrics::histogram!(name::STEP_TIME).record(took);
            metrics::counter!(name::STEPS).increment(steps);
        }
        self.last = Some((now, progress.step));
        if progress.steps > 0 {
            let done = progress.step as f64 / progress.steps as f64;
            metrics::gauge!(name::DONE).set(done);
        }
        let validation = progress.validation.filter(|it| it.images > 0);
        for (name, value) in [
            (name::IMAGES, progress.images_per_second),
            (name::DATA_WAIT, progress.data_wait_share),
            (name::LOSS, progress.loss),
            (name::RELUS, progress.relu_count.map(|count| count as f64)),
            (
                name::RELU_BUDGET,
                progress.relu_budget.map(|count| count as f64),
            ),
            (
                name::VALIDATION,
                validation.map(|it| it.correct as f64 / it.images as f64),
            ),
        ] {
            if let Some(value) = value {
                metrics::gauge!(name).set(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_steps_time_is_that_between_two_reports_over_the_steps_between_them() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut meter = Meter::default();
        let said = |step| v1::Progress {
            step,
            steps: 100,
            relu_count: Some(700),
            data_wait_share: Some(0.25),
            ..v1::Progress::default()
        };
        metrics::with_local_recorder(&recorder, || meter.heard(&said(10)));
        tokio::time::advance(Duration::from_secs(2)).await;
        metrics::with_local_recorder(&recorder, || meter.heard(&said(14)));
        // It went back: another trainer goes on from a checkpoint.
        metrics::with_local_recorder(&recorder, || meter.heard(&said(12)));
        let text = recorder.handle().render();
        for line in [
            "autorep_worker_steps_total 4",
            "autorep_worker_step_seconds_sum 0.5",
            "autorep_worker_step_seconds_count 1",
            "autorep_worker_task_done_ratio 0.12",
            "autorep_worker_relus 700",
            "autorep_worker_data_wait_ratio 0.25",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
        assert!(
            !text.contains("autorep_worker_loss"),
            "nothing was said of it"
        );
    }
}
