use std::sync::Arc;

use autorep_core::data::Images;
use proptest::prelude::*;

use super::*;
use crate::data::share_sizes;

/// Image `n` is filled with byte `n` and has label `n` mod 10.
fn stream(count: u8, batch: usize, augment: bool) -> Stream {
    let set = DataSet::FashionMnist;
    let images = Images {
        shape: set.input(),
        labels: (0..count).map(|n| n % 10).collect(),
        pixels: (0..count).flat_map(|n| [n; 784]).collect(),
    };
    Stream {
        inputs: Inputs::of(set),
        images: Subset::whole(Arc::new(Source::Memory(images))),
        seed: 5,
        batch,
        share: Share::WHOLE,
        augment,
        max_corrupt: 0,
        threads: 1,
    }
}

fn labels(batch: &Batch) -> Vec<i64> {
    Vec::try_from(&batch.labels).unwrap()
}

#[test]
fn a_stream_entered_midway_goes_on_as_the_whole_one() {
    let mut whole = Batches::start(stream(23, 4, true), 0, Device::Cpu).unwrap();
    let all: Vec<Batch> = (0..12).map(|_| whole.take().unwrap()).collect();
    for from in [1_u64, 5, 7] {
        let mut entered = Batches::start(stream(23, 4, true), from, Device::Cpu).unwrap();
        for wanted in &all[usize::try_from(from).unwrap()..] {
            let got = entered.take().unwrap();
            assert!(got.images.equal(&wanted.images) && got.labels.equal(&wanted.labels));
        }
    }
}

#[test]
fn an_epoch_shows_each_image_once_and_leaves_out_the_rest() {
    let stream = stream(23, 4, false);
    assert_eq!(stream.per_epoch(), 5);
    let mut batches = Batches::start(stream, 0, Device::Cpu).unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let batch = batches.take().unwrap();
        assert_eq!(batch.images.size(), [4, 1, 28, 28]);
        for image in 0..4 {
            let value = batch.images.double_value(&[image, 0, 0, 0]);
            let byte = (value * 0.353 + 0.286) * 255.0;
            seen.push(Tensor::from(byte.round()).int64_value(&[]));
            assert_eq!(
                labels(&batch)[usize::try_from(image).unwrap()],
                seen[seen.len() - 1] % 10
            );
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 20);
}

#[test]
fn unchanged_batches_hold_every_image_in_order() {
    let stream = stream(7, 3, true);
    let batches: Vec<Batch> = unchanged(&stream.images, stream.inputs, 3, 1, Device::Cpu)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let all: Vec<i64> = batches.iter().flat_map(labels).collect();
    assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(batches[2].images.size(), [1, 1, 28, 28]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_number_of_ranks_sees_the_batches_of_one_from_any_step_on(
        batch in 1_usize..9,
        ranks in 1_u32..6,
        from in 0_u64..9,
    ) {
        let whole = stream(23, batch, true);
        let mut alone = Batches::start(whole.clone(), from, Device::Cpu).unwrap();
        let mut shares: Vec<Batches> = (0..ranks)
            .map(|rank| {
                let share = Share::new(rank, ranks).unwrap();
                Batches::start(Stream { share, ..whole.clone() }, from, Device::Cpu).unwrap()
            })
            .collect();
        for _ in 0..4 {
            let wanted = alone.take().unwrap();
            let parts: Vec<Batch> = shares.iter_mut().map(|it| it.take().unwrap()).collect();
            let sizes: Vec<usize> = parts.iter().map(|part| labels(part).len()).collect();
            prop_assert_eq!(sizes, share_sizes(batch, ranks));
            let images: Vec<&Tensor> = parts.iter().map(|part| &part.images).collect();
            prop_assert!(Tensor::cat(&images, 0).equal(&wanted.images));
            let all: Vec<i64> = parts.iter().flat_map(labels).collect();
            prop_assert_eq!(all, labels(&wanted));
        }
    }
}
