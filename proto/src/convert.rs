//! Conversions between the wire's messages and the types of `autorep-core`.
//!
//! Towards the wire they cannot fail. From the wire they check everything that the types promise,
//! so that nothing behind them has to.

use std::borrow::Cow;

use autorep_core::candidate::PointKind;
use autorep_core::checkpoint::{CheckpointRef, CheckpointRole};
use autorep_core::digest::Digest;
use autorep_core::failure::FailureClass;
use autorep_core::front::{FrontReport, FrontRow};
use autorep_core::id::{CandidateId, Generation, TaskId};
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::observation::{Accuracy, EpochPoint, Interim, LearningCurve, Observation};
use autorep_core::searched::{Convergence, Effect, Projection, Searched};
use autorep_core::strategy::Strategy;

use crate::v1;

mod rehearsal;

/// A message from the wire that is not what the protocol promises.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct BadMessage {
    /// The field, as the `.proto` file names it.
    pub field: &'static str,
    /// What it should hold.
    pub expected: Cow<'static, str>,
    /// What it held.
    pub found: String,
}

impl BadMessage {
    /// `field` should have held `expected` and held `found`.
    pub fn new(
        field: &'static str,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            field,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// The message in `field`, which must be there.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, BadMessage> {
    value.ok_or_else(|| BadMessage::new(field, "a message", "nothing"))
}

/// The digest that `text` writes.
pub fn digest(field: &'static str, text: &str) -> Result<Digest, BadMessage> {
    text.parse()
        .map_err(|_not_a_digest| BadMessage::new(field, "64 hexadecimal digits", quote(text)))
}

/// The task id that `text` writes.
pub fn task_id(field: &'static str, text: &str) -> Result<TaskId, BadMessage> {
    digest(field, text).map(TaskId)
}

/// The class that the number in `field` stands for.
pub fn failure_class(field: &'static str, class: i32) -> Result<FailureClass, BadMessage> {
    let expected = "a failure class";
    Ok(
        match v1::FailureClass::try_from(class)
            .map_err(|_unknown| BadMessage::new(field, expected, class.to_string()))?
        {
            v1::FailureClass::Unspecified => {
                return Err(BadMessage::new(field, expected, "none"));
            }
            v1::FailureClass::TrainerCrashed => FailureClass::TrainerCrashed,
            v1::FailureClass::OutOfMemory => FailureClass::OutOfMemory,
            v1::FailureClass::Diverged => FailureClass::Diverged,
            v1::FailureClass::BadData => FailureClass::BadData,
            v1::FailureClass::BadCheckpoint => FailureClass::BadCheckpoint,
            v1::FailureClass::StoreUnavailable => FailureClass::StoreUnavailable,
            v1::FailureClass::TrainerError => FailureClass::TrainerError,
            v1::FailureClass::WorkerLost => FailureClass::WorkerLost,
            v1::FailureClass::BudgetUnreached => FailureClass::BudgetUnreached,
            v1::FailureClass::BadWeights => FailureClass::BadWeights,
            v1::FailureClass::NoScratch => FailureClass::NoScratch,
        },
    )
}

/// The role that a role's number and an output's name stand for together.
pub fn checkpoint_role(
    field: &'static str,
    role: i32,
    output: &str,
) -> Result<CheckpointRole, BadMessage> {
    match v1::CheckpointRole::try_from(role) {
        Ok(v1::CheckpointRole::Resume) if output.is_empty() => Ok(CheckpointRole::Resume),
        Ok(v1::CheckpointRole::Resume) => Err(BadMessage::new(
            field,
            "no output name with the role resume",
            quote(output),
        )),
        Ok(v1::CheckpointRole::Output) if is_output_name(output) => {
            Ok(CheckpointRole::Output(output.to_owned()))
        }
        Ok(v1::CheckpointRole::Output) => Err(BadMessage::new(
            field,
            "an output name of 1 to 64 lowercase letters, digits and dashes",
            quote(output),
        )),
        Ok(v1::CheckpointRole::Unspecified) | Err(_) => Err(BadMessage::new(
            field,
            "the role resume or output",
            role.to_string(),
        )),
    }
}

/// Output names become parts of storage keys.
fn is_output_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// Remote text for an error message: quoted, and not longer than a line.
fn quote(text: &str) -> String {
    let end = text.floor_char_boundary(80);
    let (kept, rest) = text.split_at(end);
    let more = if rest.is_empty() { "" } else { "…" };
    format!("{kept:?}{more}")
}

fn finite(field: &'static str, number: f64) -> Result<f64, BadMessage> {
    if number.is_finite() {
        Ok(number)
    } else {
        Err(BadMessage::new(
            field,
            "a finite number",
            number.to_string(),
        ))
    }
}

fn finite_if_any(field: &'static str, number: Option<f64>) -> Result<Option<f64>, BadMessage> {
    number.map(|number| finite(field, number)).transpose()
}

fn at_most(field: &'static str, number: u64, limit: u64) -> Result<u64, BadMessage> {
    if number <= limit {
        Ok(number)
    } else {
        Err(BadMessage::new(
            field,
            format!("at most {limit}"),
            number.to_string(),
        ))
    }
}

impl From<LeaseClaim> for v1::LeaseClaim {
    fn from(claim: LeaseClaim) -> Self {
        LeasePart::from(claim).into()
    }
}

impl From<LeasePart> for v1::LeaseClaim {
    fn from(LeasePart { claim, node }: LeasePart) -> Self {
        Self {
            task: claim.task.to_string(),
            generation: claim.generation.0,
            node,
        }
    }
}

impl TryFrom<v1::LeaseClaim> for LeasePart {
    type Error = BadMessage;

    fn try_from(claim: v1::LeaseClaim) -> Result<Self, BadMessage> {
        Ok(Self {
            claim: LeaseClaim {
                task: task_id("LeaseClaim.task", &claim.task)?,
                generation: Generation(claim.generation),
            },
            node: claim.node,
        })
    }
}

impl TryFrom<v1::LeaseClaim> for LeaseClaim {
    type Error = BadMessage;

    /// The claim of a leader, who speaks for all that hold the lease.
    fn try_from(claim: v1::LeaseClaim) -> Result<Self, BadMessage> {
        let part = LeasePart::try_from(claim)?;
        if part.is_leaders() {
            return Ok(part.claim);
        }
        Err(BadMessage::new(
            "LeaseClaim.node",
            "0, the leader's: members neither commit nor finish",
            part.node.to_string(),
        ))
    }
}

impl From<CheckpointRef> for v1::CheckpointRef {
    fn from(checkpoint: CheckpointRef) -> Self {
        let (role, output) = match checkpoint.role {
            CheckpointRole::Resume => (v1::CheckpointRole::Resume, String::new()),
            CheckpointRole::Output(name) => (v1::CheckpointRole::Output, name),
        };
        Self {
            task: checkpoint.task.to_string(),
            generation: checkpoint.generation.0,
            role: role.into(),
            output,
            step: checkpoint.step,
            manifest_sha256: checkpoint.manifest.to_string(),
        }
    }
}

impl TryFrom<v1::CheckpointRef> for CheckpointRef {
    type Error = BadMessage;

    fn try_from(checkpoint: v1::CheckpointRef) -> Result<Self, BadMessage> {
        Ok(Self {
            task: task_id("CheckpointRef.task", &checkpoint.task)?,
            generation: Generation(checkpoint.generation),
            role: checkpoint_role("CheckpointRef.role", checkpoint.role, &checkpoint.output)?,
            step: checkpoint.step,
            manifest: digest("CheckpointRef.manifest_sha256", &checkpoint.manifest_sha256)?,
        })
    }
}

impl From<Accuracy> for v1::Accuracy {
    fn from(accuracy: Accuracy) -> Self {
        Self {
            correct: accuracy.correct,
            images: accuracy.images,
        }
    }
}

impl TryFrom<v1::Accuracy> for Accuracy {
    type Error = BadMessage;

    fn try_from(accuracy: v1::Accuracy) -> Result<Self, BadMessage> {
        if accuracy.images == 0 {
            return Err(BadMessage::new("Accuracy.images", "at least 1", "0"));
        }
        Ok(Self {
            correct: at_most("Accuracy.correct", accuracy.correct, accuracy.images)?,
            images: accuracy.images,
        })
    }
}

impl From<Observation> for v1::Observation {
    fn from(observation: Observation) -> Self {
        Self {
            relu_count: observation.relu_count,
            relu_total: observation.relu_total,
            validation: observation.validation.map(Into::into),
            test: observation.test.map(Into::into),
            searched_count: observation.searched_count,
            selected_epoch: observation.selected_epoch,
            epochs: observation.epochs,
            seconds: observation.seconds,
            skipped_images: observation.skipped_images,
            curve: (!observation.curve.is_empty()).then(|| observation.curve.into()),
            searched: observation.searched.map(Into::into),
        }
    }
}

impl From<Searched> for v1::Searched {
    fn from(searched: Searched) -> Self {
        let projections = searched.projections.into_iter();
        Self {
            epochs: searched.epochs,
            turned_off: searched.turned_off,
            turned_on: searched.turned_on,
            projections: projections.map(Into::into).collect(),
        }
    }
}

impl From<Projection> for v1::Projection {
    fn from(projection: Projection) -> Self {
        let (unchanged, before, after) = match projection.effect {
            Some(Effect::Nothing) => (true, None, None),
            Some(Effect::Change { before, after }) => {
                (false, Some(before.into()), Some(after.into()))
            }
            None => (false, None, None),
        };
        Self {
            budget: projection.budget,
            searched_count: projection.searched_count,
            epochs: projection.epochs,
            unchanged,
            before,
            after,
        }
    }
}

/// The most budgets that a search may have.
const MAX_BUDGETS: usize = 1_000;

/// What the search of a net with `total` ReLUs reports.
fn searched(searched: v1::Searched, total: u64) -> Result<Searched, BadMessage> {
    let budgets = searched.projections.len();
    if budgets > MAX_BUDGETS {
        return Err(BadMessage::new(
            "Searched.projections",
            format!("at most {MAX_BUDGETS} entries"),
            budgets.to_string(),
        ));
    }
    let projections = searched.projections.into_iter();
    Ok(Searched {
        epochs: searched.epochs,
        turned_off: searched.turned_off,
        turned_on: searched.turned_on,
        projections: projections
            .map(|it| projection(it, total))
            .collect::<Result<_, BadMessage>>()?,
    })
}

fn projection(projection: v1::Projection, total: u64) -> Result<Projection, BadMessage> {
    let (budget, count) = (projection.budget, projection.searched_count);
    let effect = match (projection.unchanged, projection.before, projection.after) {
        (true, ..) => Some(Effect::Nothing),
        (false, Some(before), Some(after)) => Some(Effect::Change {
            before: before.try_into()?,
            after: after.try_into()?,
        }),
        (false, ..) => None,
    };
    Ok(Projection {
        budget: at_most("Projection.budget", budget, total)?,
        searched_count: at_most("Projection.searched_count", count, total)?,
        epochs: projection.epochs,
        effect,
    })
}

impl From<LearningCurve> for v1::LearningCurve {
    fn from(curve: LearningCurve) -> Self {
        Self {
            images: curve.images,
            relu_counts: curve.epochs.iter().map(|point| point.relu_count).collect(),
            correct: curve.epochs.iter().map(|point| point.correct).collect(),
        }
    }
}

/// The most epochs that a stage may have.
const MAX_EPOCHS: usize = 100_000;

impl TryFrom<v1::LearningCurve> for LearningCurve {
    type Error = BadMessage;

    fn try_from(curve: v1::LearningCurve) -> Result<Self, BadMessage> {
        let (epochs, measured) = (curve.relu_counts.len(), curve.correct.len());
        if epochs != measured || epochs > MAX_EPOCHS {
            return Err(BadMessage::new(
                "LearningCurve.correct",
                format!("as many entries as relu_counts has ({epochs}), and at most {MAX_EPOCHS}"),
                measured.to_string(),
            ));
        }
        let points = curve.relu_counts.into_iter().zip(curve.correct);
        let epochs = points.map(|(relu_count, correct)| {
            Ok(EpochPoint {
                relu_count,
                correct: at_most("LearningCurve.correct", correct, curve.images)?,
            })
        });
        Ok(Self {
            epochs: epochs.collect::<Result<_, BadMessage>>()?,
            images: curve.images,
        })
    }
}

impl TryFrom<v1::Observation> for Observation {
    type Error = BadMessage;

    fn try_from(observation: v1::Observation) -> Result<Self, BadMessage> {
        let total = observation.relu_total;
        let seconds = finite("Observation.seconds", observation.seconds)?;
        if seconds < 0.0 {
            return Err(BadMessage::new(
                "Observation.seconds",
                "at least 0",
                seconds.to_string(),
            ));
        }
        Ok(Self {
            relu_count: at_most("Observation.relu_count", observation.relu_count, total)?,
            relu_total: total,
            validation: observation.validation.map(TryInto::try_into).transpose()?,
            test: observation.test.map(TryInto::try_into).transpose()?,
            searched_count: observation
                .searched_count
                .map(|count| at_most("Observation.searched_count", count, total))
                .transpose()?,
            selected_epoch: observation.selected_epoch,
            epochs: observation.epochs,
            seconds,
            skipped_images: observation.skipped_images,
            curve: (observation.curve.map(TryInto::try_into).transpose()?).unwrap_or_default(),
            searched: (observation.searched)
                .map(|it| searched(it, total))
                .transpose()?,
        })
    }
}

/// What a task has come to that stopped, from the fields of a message; `field` is that of the seconds.
pub fn interim(
    field: &'static str,
    curve: Option<v1::LearningCurve>,
    seconds: f64,
) -> Result<Interim, BadMessage> {
    let seconds = finite(field, seconds)?;
    if seconds < 0.0 {
        return Err(BadMessage::new(field, "at least 0", seconds.to_string()));
    }
    Ok(Interim {
        curve: LearningCurve::try_from(curve.unwrap_or_default())?,
        seconds,
    })
}

impl From<FailureClass> for v1::FailureClass {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::TrainerCrashed => Self::TrainerCrashed,
            FailureClass::OutOfMemory => Self::OutOfMemory,
            FailureClass::Diverged => Self::Diverged,
            FailureClass::BadData => Self::BadData,
            FailureClass::BadCheckpoint => Self::BadCheckpoint,
            FailureClass::StoreUnavailable => Self::StoreUnavailable,
            FailureClass::TrainerError => Self::TrainerError,
            FailureClass::WorkerLost => Self::WorkerLost,
            FailureClass::BudgetUnreached => Self::BudgetUnreached,
            FailureClass::BadWeights => Self::BadWeights,
            FailureClass::NoScratch => Self::NoScratch,
        }
    }
}

impl From<FrontRow> for v1::FrontRow {
    fn from(row: FrontRow) -> Self {
        let kind = match row.kind {
            PointKind::Baseline => v1::PointKind::Baseline,
            PointKind::Replaced => v1::PointKind::Replaced,
        };
        Self {
            id: row.id.to_string(),
            candidate: row.candidate,
            kind: kind.into(),
            budget: row.budget,
            relu_count: row.relu_count,
            relu_total: row.relu_total,
            accuracy_mean: row.accuracy_mean,
            accuracy_std: row.accuracy_std,
            validation_mean: row.validation_mean,
            seeds: row.seeds,
            seeds_planned: row.seeds_planned,
            on_front: row.on_front,
            data: row.data,
            net: row.net,
            strategy: row.strategy.name().to_owned(),
            accuracy_se: row.accuracy_se,
            p_on_front: row.p_on_front,
            front_low: row.front_low,
            front_high: row.front_high,
            lies_under: row.lies_under,
            selection_bias: row.selection_bias,
            selection_bias_se: row.selection_bias_se,
            convergence: row.convergence.map_or("", Convergence::name).to_owned(),
            projection_cost: row.projection_cost,
        }
    }
}

impl TryFrom<v1::FrontRow> for FrontRow {
    type Error = BadMessage;

    fn try_from(row: v1::FrontRow) -> Result<Self, BadMessage> {
        let kind = match v1::PointKind::try_from(row.kind) {
            Ok(v1::PointKind::Baseline) => PointKind::Baseline,
            Ok(v1::PointKind::Replaced) => PointKind::Replaced,
            Ok(v1::PointKind::Unspecified) | Err(_) => {
                return Err(BadMessage::new(
                    "FrontRow.kind",
                    "baseline or replaced",
                    row.kind.to_string(),
                ));
            }
        };
        let strategy = match row.strategy.as_str() {
            "" => Strategy::default(),
            name => Strategy::named(name).ok_or_else(|| {
                let expected = format!("one of {}", Strategy::NAMES.join(", "));
                BadMessage::new("FrontRow.strategy", expected, name.to_owned())
            })?,
        };
        let convergence = match row.convergence.as_str() {
            "" => None,
            name => Some(Convergence::named(name).ok_or_else(|| {
                let expected = Convergence::ALL.map(Convergence::name).join(" or ");
                BadMessage::new("FrontRow.convergence", expected, name.to_owned())
            })?),
        };
        let bias_se = row.selection_bias_se;
        Ok(Self {
            id: CandidateId(digest("FrontRow.id", &row.id)?),
            strategy,
            candidate: row.candidate,
            kind,
            budget: row.budget,
            relu_count: row.relu_count,
            relu_total: row.relu_total,
            accuracy_mean: finite("FrontRow.accuracy_mean", row.accuracy_mean)?,
            accuracy_std: finite("FrontRow.accuracy_std", row.accuracy_std)?,
            accuracy_se: finite_if_any("FrontRow.accuracy_se", row.accuracy_se)?,
            p_on_front: finite_if_any("FrontRow.p_on_front", row.p_on_front)?,
            front_low: finite_if_any("FrontRow.front_low", row.front_low)?,
            front_high: finite_if_any("FrontRow.front_high", row.front_high)?,
            validation_mean: finite_if_any("FrontRow.validation_mean", row.validation_mean)?,
            seeds: row.seeds,
            seeds_planned: row.seeds_planned,
            on_front: row.on_front,
            data: row.data,
            net: row.net,
            lies_under: row.lies_under,
            selection_bias: finite_if_any("FrontRow.selection_bias", row.selection_bias)?,
            selection_bias_se: finite_if_any("FrontRow.selection_bias_se", bias_se)?,
            convergence,
            projection_cost: finite_if_any("FrontRow.projection_cost", row.projection_cost)?,
        })
    }
}

impl From<FrontReport> for v1::Front {
    fn from(front: FrontReport) -> Self {
        Self {
            sweep: front.sweep.into(),
            rows: front.rows.into_iter().map(Into::into).collect(),
            hypervolume: front.hypervolume,
        }
    }
}

impl TryFrom<v1::Front> for FrontReport {
    type Error = BadMessage;

    fn try_from(front: v1::Front) -> Result<Self, BadMessage> {
        let rows: Result<_, _> = front.rows.into_iter().map(TryInto::try_into).collect();
        Ok(Self {
            sweep: front.sweep.parse().map_err(|_not_a_name| {
                BadMessage::new("Front.sweep", "a sweep's name", quote(&front.sweep))
            })?,
            rows: rows?,
            hypervolume: finite("Front.hypervolume", front.hypervolume)?,
        })
    }
}

#[cfg(test)]
mod tests;
