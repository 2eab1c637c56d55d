//! Reading ahead: what a thread decodes later is asked for now.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::batches::Stream;
use super::order;
use super::source::Begun;

/// Images that are asked for before they are decoded, by all threads of a trainer together: at
/// 110 KB, as ImageNet's are, 225 MB. A bucket that answers after 50 ms then gives 40,000 a second.
const IMAGES_AHEAD: usize = 2_048;

/// Batches that a thread asks for ahead, at most: what is beyond only takes memory.
const BATCHES_AHEAD: usize = 8;

/// The orders of the epochs that threads are in, made once for all of them: an epoch's is four
/// bytes for each image.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<VecDeque<(u64, Arc<[u32]>)>>);

impl Orders {
    /// The order of an epoch. The last two are kept: threads that read ahead are in the next one
    /// while others are in this.
    pub(super) fn of(&self, stream: &Stream, epoch: u64) -> Arc<[u32]> {
        // A panic elsewhere leaves orders as they were: each is whole or not there.
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = orders.iter().find(|(of, _)| *of == epoch) {
            return Arc::clone(order);
        }
        let order: Arc<[u32]> = order::epoch(stream.images.len(), stream.seed, epoch).into();
        orders.truncate(1);
        orders.push_front((epoch, Arc::clone(&order)));
        order
    }
}

/// A batch whose images are being read.
pub(super) struct Asked {
    step: u64,
    pub(super) order: Arc<[u32]>,
    pub(super) images: Begun,
}

/// What one of several threads reads: every so many batches of a stream one.
pub(super) struct Ahead {
    stream: Arc<Stream>,
    orders: Arc<Orders>,
    /// Steps from one of its batches to the next.
    stride: u64,
    /// Batches that it asks for beside the one that it decodes.
    depth: usize,
    asked: VecDeque<Asked>,
}

impl Clone for Ahead {
    /// For another thread, which has asked for nothing yet.
    fn clone(&self) -> Self {
        Self {
            stream: Arc::clone(&self.stream),
            orders: Arc::clone(&self.orders),
            stride: self.stride,
            depth: self.depth,
            asked: VecDeque::new(),
        }
    }
}

impl Ahead {
    /// Of a stream that `threads` threads decode.
    pub(super) fn new(stream: Arc<Stream>, threads: usize) -> Self {
        let images = stream.share.places(stream.batch).len().max(1);
        Self {
            stride: threads as u64,
            depth: (IMAGES_AHEAD / (images * threads)).clamp(1, BATCHES_AHEAD),
            orders: Arc::default(),
            asked: VecDeque::new(),
            stream,
        }
    }

    /// The batch at a step, which is the thread's next one; those after it are asked for first.
    pub(super) fn take(&mut self, step: u64) -> Asked {
        let mut next = match self.asked.back() {
            Some(last) => last.step + self.stride,
            None => step,
        };
        while self.asked.len() <= self.depth {
            let asked = self.ask(next);
            self.asked.push_back(asked);
            next += self.stride;
        }
        match self.asked.pop_front() {
            Some(asked) if asked.step == step => asked,
            // Nobody takes steps in another order; if somebody did, it would only be slower.
            _ => self.ask(step),
        }
    }

    fn ask(&self, step: u64) -> Asked {
        let order = self.orders.of(&self.stream, step / self.stream.per_epoch());
        let positions = self.stream.positions(&order, step);
        Asked {
            step,
            images: self.stream.images.source().begin(&positions),
            order,
        }
    }
}

#[cfg(test)]
mod tests {
    use autorep_core::data::{DataSet, Images, Inputs};

    use super::*;
    use crate::data::{Share, Source, Subset};

    fn stream(images: usize, batch: usize) -> Arc<Stream> {
        let images = Images {
            shape: DataSet::FashionMnist.input(),
            labels: vec![0; images],
            pixels: Vec::new(),
        };
        Arc::new(Stream {
            inputs: Inputs::of(DataSet::FashionMnist),
            images: Subset::whole(Arc::new(Source::Memory(images))),
            seed: 3,
            batch,
            share: Share::WHOLE,
            augment: false,
            max_corrupt: 0,
            threads: 1,
        })
    }

    #[test]
    fn a_thread_gets_its_steps_with_their_epochs_orders_and_has_as_many_asked_for_as_may_be() {
        let stream = stream(20, 5);
        let mut ahead = Ahead::new(Arc::clone(&stream), 3);
        for step in (2..40).step_by(3) {
            let asked = ahead.take(step);
            assert_eq!(asked.step, step);
            let order = order::epoch(20, 3, step / 4);
            assert_eq!(*asked.order, *order);
            assert_eq!(ahead.asked.len(), BATCHES_AHEAD);
        }
        // At another step than the next one, too.
        assert_eq!(ahead.take(7).step, 7);
    }

    #[test]
    fn what_is_asked_for_is_bounded_whatever_the_batch_and_the_threads() {
        for (batch, threads) in [(1, 1), (64, 16), (256, 4), (4096, 2), (1024, 16)] {
            let ahead = Ahead::new(stream(5000, batch), threads);
            let images = ahead.depth * batch * threads;
            assert!(
                images <= IMAGES_AHEAD || ahead.depth == 1,
                "{batch} {threads}"
            );
            assert!((1..=BATCHES_AHEAD).contains(&ahead.depth));
        }
    }

    #[test]
    fn threads_share_an_epochs_order() {
        let stream = stream(50, 5);
        let orders = Orders::default();
        let first = orders.of(&stream, 4);
        let second = orders.of(&stream, 5);
        assert!(Arc::ptr_eq(&first, &orders.of(&stream, 4)));
        assert!(Arc::ptr_eq(&second, &orders.of(&stream, 5)));
        assert_ne!(first, second);
    }
}
