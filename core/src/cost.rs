//! What training costs, before anything runs: multiply-accumulate operations (MACs) and images.
//!
//! Only convolutions and the last linear layer are counted; batch norm, activations, polynomials
//! and optimizer steps are a few percent of them. The units:
//!
//! - **forward** `F`: MACs of one forward pass of one image ([`NetSpec::macs`]):
//!   for each convolution `rows · columns · channels out · channels in · k²` (channels in of one
//!   group).
//! - A training step costs `3 F` per image: one forward pass, and a backward pass that computes
//!   gradients of both the weights and the activations.
//! - A distilling step costs the teacher's forward pass more per image: `1 F` where the teacher is
//!   the baseline.
//! - Validation after each epoch, calibration and evaluation cost `1 F` per image.
//! - An epoch trains on `floor(train / batch) · batch` images: a last batch that is not full is
//!   left out.

use std::ops::{Add, AddAssign, Mul};

use serde::Serialize;

use crate::data::{DataSet, DataSpec};
use crate::net::{InputShape, Layer, NetSpec};
use crate::recipe::{
    BaselineRecipe, Distillation, FinetuneRecipe, ReplaceRecipe, Schedule, Teacher,
};
use crate::task::{TaskSpec, Work};

/// An amount of training work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Cost {
    /// Multiply-accumulate operations.
    pub macs: u128,
    /// Images trained on, each counted once per epoch.
    pub images: u128,
    /// Epochs.
    pub epochs: u128,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            macs: self.macs.saturating_add(other.macs),
            images: self.images.saturating_add(other.images),
            epochs: self.epochs.saturating_add(other.epochs),
        }
    }
}

impl Cost {
    /// The part that its first `epochs` epochs are.
    #[must_use]
    pub fn up_to(self, epochs: u32) -> Self {
        let epochs = u128::from(epochs);
        if epochs == 0 {
            return Self::default();
        }
        if epochs >= self.epochs {
            return self;
        }
        let part = |whole: u128| whole * epochs / self.epochs;
        Self {
            macs: part(self.macs),
            images: part(self.images),
            epochs,
        }
    }

    /// What is left of it when `part` is done.
    #[must_use]
    pub const fn without(self, part: Self) -> Self {
        Self {
            macs: self.macs.saturating_sub(part.macs),
            images: self.images.saturating_sub(part.images),
            epochs: self.epochs.saturating_sub(part.epochs),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u128> for Cost {
    type Output = Self;

    fn mul(self, times: u128) -> Self {
        Self {
            macs: self.macs.saturating_mul(times),
            images: self.images.saturating_mul(times),
            epochs: self.epochs.saturating_mul(times),
        }
    }
}

impl NetSpec {
    /// MACs of one forward pass of one image of the given size into so many classes.
    pub fn macs(&self, input: InputShape, classes: u32) -> u128 {
        let mut macs = 0_u128;
        self.blueprint(input, classes).each(&mut |layer| {
            let own = match layer {
                Layer::Conv(conv) => conv.macs(),
                Layer::Linear(linear) => u128::from(linear.inputs) * u128::from(linear.outputs),
                Layer::Norm(_)
                | Layer::Site(_)
                | Layer::Uncounted
                | Layer::Pool(_)
                | Layer::Sum { .. }
                | Layer::Gate(_)
                | Layer::Mean => 0,
            };
            macs = macs.saturating_add(own);
        });
        macs
    }
}

/// Computes costs of tasks on one net and data.
#[derive(Clone, Copy, Debug)]
pub struct CostModel {
    forward: u128,
    set: DataSet,
    train: u128,
    validation: u128,
    test: u128,
}

impl CostModel {
    /// The costs of tasks on this net and data.
    pub fn new(net: &NetSpec, data: &DataSpec) -> Self {
        Self {
            forward: net.macs(data.name.input(), data.name.classes()),
            set: data.name,
            train: u128::from(data.train),
            validation: u128::from(data.validation),
            test: u128::from(data.name.test_images()),
        }
    }

    fn training(&self, schedule: &Schedule, distillation: Option<&Distillation>) -> Cost {
        let batch = u128::from(schedule.batch.max(1));
        let epochs = u128::from(schedule.epochs);
        let images = self.train / batch * batch * epochs;
        let own = (images * 3 + self.validation * epochs).saturating_mul(self.forward);
        let distillation = distillation.filter(|recipe| recipe.kd_weight > 0.0);
        let teacher = distillation.map_or(0, |recipe| images.saturating_mul(self.teacher(recipe)));
        Cost {
            macs: own.saturating_add(teacher),
            images,
            epochs,
        }
    }

    /// One forward pass of the teacher.
    fn teacher(&self, recipe: &Distillation) -> u128 {
        let macs = |teacher: &Teacher| teacher.net.macs(self.set.input(), self.set.classes());
        recipe.teacher.as_ref().map_or(self.forward, macs)
    }

    /// Training a full-ReLU network; one that is taken as it is is validated once.
    pub fn baseline(&self, recipe: &BaselineRecipe) -> Cost {
        let mut cost = self.training(&recipe.schedule, None);
        if recipe.schedule.epochs == 0 {
            cost.macs = self.validation.saturating_mul(self.forward);
        }
        cost
    }

    /// Searching which ReLUs to keep.
    pub fn replace(&self, recipe: &ReplaceRecipe) -> Cost {
        let mut cost = self.training(&recipe.schedule, Some(&recipe.distillation));
        let calibration =
            u128::from(recipe.calibration_batches) * u128::from(recipe.schedule.batch);
        cost.macs += calibration.saturating_mul(self.forward);
        cost
    }

    /// Training on with frozen indicators.
    pub fn finetune(&self, recipe: &FinetuneRecipe) -> Cost {
        self.training(&recipe.schedule, Some(&recipe.distillation))
    }

    /// Measuring on the test set.
    pub fn evaluate(&self) -> Cost {
        Cost {
            macs: self.test.saturating_mul(self.forward),
            images: 0,
            epochs: 0,
        }
    }

    /// Any task on the model's net and data.
    pub fn work(&self, work: &Work) -> Cost {
        match work {
            Work::Baseline { recipe } => self.baseline(recipe),
            Work::Replace { recipe, .. } => self.replace(recipe),
            Work::Finetune { recipe, .. } => self.finetune(recipe),
            Work::Evaluate { .. } => self.evaluate(),
        }
    }
}

/// What one task costs.
pub fn task_cost(spec: &TaskSpec) -> Cost {
    CostModel::new(&spec.net, &spec.data).work(&spec.work)
}

/// What each of these tasks costs. Fast where tasks of one net and data follow each other, as they do in
/// plans.
pub fn task_costs<'a>(specs: impl Iterator<Item = &'a TaskSpec>) -> impl Iterator<Item = Cost> {
    let mut last: Option<(&TaskSpec, CostModel)> = None;
    specs.map(move |spec| {
        let model = match last {
            Some((of, model)) if of.net == spec.net && of.data == spec.data => model,
            _ => CostModel::new(&spec.net, &spec.data),
        };
        last = Some((spec, model));
        model.work(&spec.work)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSet, Preparation};
    use crate::net::Family;
    use crate::recipe::OptimizerKind;

    fn schedule(epochs: u32, batch: u32) -> Schedule {
        Schedule {
            epochs,
            batch,
            optimizer: OptimizerKind::Sgd,
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 0.0,
            warmup_epochs: 0.0,
            ..Schedule::default()
        }
    }

    #[test]
    fn resnet18_has_its_published_555_million_macs() {
        let macs = NetSpec::resnet18(64).macs(DataSet::Cifar10.input(), 10);
        assert_eq!(macs, 555_422_720);
    }

    /// Torchvision's figures (`_ops` of its weights' metadata, in billions).
    #[test]
    fn imagenet_nets_have_their_published_macs() {
        let input = InputShape {
            channels: 3,
            height: 224,
            width: 224,
        };
        let billions = |name: Family| {
            let macs = name.default_settings().spec().macs(input, 1_000);
            (macs as f64 / 1e6).round() / 1e3
        };
        let nets = [
            (Family::ImagenetResnet18, 1.814),
            (Family::ImagenetResnet50, 4.089),
            (Family::EfficientnetB0, 0.386),
        ];
        for (name, published) in nets {
            assert!(
                (billions(name) - published).abs() < 1e-9,
                "{name:?} {}",
                billions(name)
            );
        }
    }

    #[test]
    fn macs_of_a_narrow_resnet9_on_grey_images_equal_a_count_by_hand() {
        // 28 -> 14 -> 7 -> 4, width 1, one colour, ten classes.
        let stem = 28 * 28 * 9;
        let first = 2 * 28 * 28 * 9;
        let second = 14 * 14 * (2 * 9 + 4 * 9 + 2);
        let third = 7 * 7 * (2 * 4 * 9 + 4 * 4 * 9 + 2 * 4);
        let fourth = 4 * 4 * (4 * 8 * 9 + 8 * 8 * 9 + 4 * 8);
        let macs = NetSpec::resnet9(1).macs(DataSet::FashionMnist.input(), 10);
        assert_eq!(macs, stem + first + second + third + fourth + 8 * 10);
    }

    #[test]
    fn training_counts_whole_batches_three_passes_and_one_validation_pass() {
        let data = DataSpec {
            name: DataSet::Cifar10,
            train: 1_000,
            validation: 100,
            augment: false,
            max_corrupt: 0,
            preparation: Preparation::default(),
        };
        let model = CostModel::new(&NetSpec::resnet18(64), &data);
        let cost = model.baseline(&BaselineRecipe {
            schedule: schedule(2, 300),
            weights: None,
        });
        assert_eq!(cost.images, 2 * 900);
        assert_eq!(cost.epochs, 2);
        assert_eq!(cost.macs, (2 * 900 * 3 + 2 * 100) * 555_422_720);
    }

    #[test]
    fn a_teacher_costs_one_more_pass_and_only_when_it_is_asked() {
        let data = DataSpec {
            name: DataSet::Cifar10,
            train: 1_000,
            validation: 1,
            augment: false,
            max_corrupt: 0,
            preparation: Preparation::default(),
        };
        let model = CostModel::new(&NetSpec::resnet18(64), &data);
        let cost = |kd_weight| {
            let distillation = Distillation {
                temperature: 4.0,
                kd_weight,
                ce_weight: 1.0,
                teacher: None,
            };
            let schedule = schedule(1, 100);
            model.finetune(&FinetuneRecipe {
                schedule,
                distillation,
                ..FinetuneRecipe::default()
            })
        };
        assert_eq!(cost(1.0).macs - cost(0.0).macs, 1_000 * 555_422_720);
    }
}
