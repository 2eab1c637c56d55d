//! What a stage learns from: labels, and a teacher.

use autorep_core::net::NetSpec;
use autorep_core::recipe::{Distillation, Precision};
use tch::{Device, Kind, Tensor};

use crate::data::{Batch, Source, Stream, batches};
use crate::error::TrainError;
use crate::loss::{self, Terms};
use crate::masked::{MEASURE_BATCH, MaskedNet};
use crate::nets::{Net, Phase};
use crate::precision::compute;

/// The most logits that are remembered: 256 MiB in f32.
const MOST_REMEMBERED: usize = 1 << 26;

/// The most multiply-accumulates of a net's forward pass that asking about all images may take: some
/// ten seconds, in which a task neither reports nor obeys, and which each of its attempts repeats.
const MOST_MACS: u128 = 1_000_000_000_000;

/// The same on a GPU.
const MOST_MACS_ON_GPU: u128 = 1_000_000_000_000_000;

/// What the loss is made of beside the labels.
#[derive(Debug)]
pub struct Lesson {
    /// Weights and temperature.
    pub recipe: Distillation,
    /// The full-ReLU baseline; `None` when the recipe does not ask for it.
    teacher: Option<Net>,
    /// In which numbers the teacher computes.
    pub precision: Precision,
    /// What the teacher says of each training image, f32 of shape [images of the part, classes], where
    /// that is the same in every epoch; zeros for images that are not trained on.
    remembered: Option<Tensor>,
}

impl Lesson {
    /// As the recipe says, from this teacher, in f32.
    pub fn new(recipe: &Distillation, teacher: Option<&Net>) -> Self {
        Self {
            recipe: recipe.clone(),
            teacher: teacher.map(Net::folded),
            precision: Precision::Fp32,
            remembered: None,
        }
    }

    /// Whether there is a teacher to learn from.
    pub const fn has_teacher(&self) -> bool {
        self.teacher.is_some()
    }

    /// Asks the teacher about every image of `stream` once, each rank about its part, where several
    /// epochs show them unchanged and in memory. In an order that no resume changes, so that what is
    /// remembered is the same bytes.
    pub(super) fn remember(
        &mut self,
        stream: &Stream,
        net: &NetSpec,
        epochs: u32,
        masked: &MaskedNet,
    ) -> Result<(), TrainError> {
        let (images, set) = (&stream.images, stream.inputs.set);
        let (device, ranks) = (masked.device, masked.net.ranks());
        let classes = set.classes();
        let size = images.source().len().saturating_mul(classes as usize);
        let most = match device {
            Device::Cpu => MOST_MACS,
            Device::Cuda(_) | Device::Mps | Device::Vulkan => MOST_MACS_ON_GPU,
        };
        // A teacher of another architecture is taken to be about as large as the net.
        let macs = (images.len() as u128).saturating_mul(net.macs(set.input(), classes));
        let changes = stream.augment || matches!(images.source(), Source::Pictures(_));
        let pays = epochs >= 2 && macs <= most && size <= MOST_REMEMBERED;
        if !self.has_teacher() || changes || !pays {
            return Ok(());
        }
        let rows = i64::try_from(images.source().len()).unwrap_or(i64::MAX);
        let all = Tensor::zeros([rows, classes.into()], (Kind::Float, device));
        let own = images.part(ranks.share().places(images.len()));
        let (inputs, threads) = (stream.inputs, stream.threads);
        for batch in batches::unchanged(&own, inputs, MEASURE_BATCH, threads, device)? {
            let batch = batch?;
            if let Some(taught) = self.taught(&batch) {
                let _in_place = all
                    .shallow_clone()
                    .index_copy_(0, &batch.positions, &taught);
            }
        }
        ranks.sum(&all)?;
        self.remembered = Some(all);
        Ok(())
    }

    /// What the teacher says of a batch, f32 of shape [batch, classes].
    fn taught(&self, batch: &Batch) -> Option<Tensor> {
        if let Some(all) = &self.remembered {
            return Some(all.index_select(0, &batch.positions));
        }
        let teacher = self.teacher.as_ref()?;
        let forward = || teacher.full(&batch.images, Phase::Eval);
        let logits = tch::no_grad(|| compute(self.precision, batch.images.device(), forward));
        Some(logits.to_kind(Kind::Float))
    }

    /// The loss of a batch's logits.
    pub fn terms(&self, logits: &Tensor, batch: &Batch, smoothing: f64) -> Terms {
        let teacher = self.taught(batch);
        let logits = logits.to_kind(Kind::Float);
        loss::distilled(
            &self.recipe,
            &logits,
            teacher.as_ref(),
            &batch.labels,
            smoothing,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use autorep_core::data::{DataSet, Images, Inputs};
    use autorep_core::net::{Family, NetSettings};

    use super::*;
    use crate::data::{Batches, Share, Subset};

    const SET: DataSet = DataSet::FashionMnist;

    fn stream(augment: bool) -> Stream {
        let images = Images {
            shape: SET.input(),
            labels: vec![0, 1, 2, 3, 4, 5],
            pixels: (0..6 * 784_u32)
                .map(|at| (at * 7 / 3).to_le_bytes()[0])
                .collect(),
        };
        Stream {
            inputs: Inputs {
                set: SET,
                preparation: autorep_core::data::Preparation::default(),
            },
            images: Subset::of(Arc::new(Source::Memory(images)), &[4, 1, 5, 2]),
            seed: 3,
            batch: 2,
            share: Share::WHOLE,
            augment,
            max_corrupt: 0,
            threads: 1,
        }
    }

    fn lesson(stream: &Stream, epochs: u32) -> Lesson {
        let settings = NetSettings {
            width: 2,
            ..Family::Resnet9.default_settings()
        };
        let net = |seed| Net::new(&settings.spec(), SET.input(), 10, seed, Device::Cpu);
        let mut lesson = Lesson::new(&Distillation::default(), Some(&net(1)));
        let student = MaskedNet::full(net(0), Device::Cpu);
        lesson
            .remember(stream, &settings.spec(), epochs, &student)
            .unwrap();
        lesson
    }

    #[test]
    fn a_teacher_of_images_that_stay_as_they_are_is_asked_once() {
        let stream = stream(false);
        let [remembers, asks] = [2, 1].map(|epochs| lesson(&stream, epochs));
        assert!(asks.remembered.is_none(), "one epoch asks once anyway");
        let mut batches = Batches::start(stream, 0, Device::Cpu).unwrap();
        for _ in 0..2 {
            let mut batch = batches.take().unwrap();
            let wanted = asks.taught(&batch).unwrap();
            let spread = f64::try_from(wanted.std(false)).unwrap();
            assert!(
                spread > 1e-3,
                "a teacher that says the same of all images shows nothing"
            );
            batch.images = batch.images.zeros_like();
            let found = remembers.taught(&batch).unwrap();
            assert!(found.allclose(&wanted, 1e-5, 1e-6, false));
        }
    }

    #[test]
    fn a_teacher_of_images_that_change_is_asked_in_every_step() {
        assert!(lesson(&stream(true), 2).remembered.is_none());
    }
}
