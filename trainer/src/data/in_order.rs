//! Work done ahead on several threads, its results taken in order.

use std::io;
use std::sync::mpsc::{Receiver, RecvError, sync_channel};
use std::thread;

/// The results of steps, each made by one of several threads, taken one after another. Which
/// thread makes which step is fixed, so what is taken does not depend on their number or speed.
/// Dropping it ends the threads after the step that they are at.
#[derive(Debug)]
pub struct InOrder<T> {
    /// By thread, its results.
    made: Vec<Receiver<T>>,
    /// The thread whose result is next.
    next: usize,
}

impl<T: Send + 'static> InOrder<T> {
    /// Starts `threads` threads, each with a copy of `make`, which makes the result of a step or
    /// `None` behind the last one. At most `ahead` results per thread wait, beside the one in
    /// each thread's hands.
    pub fn start(
        name: &str,
        threads: usize,
        ahead: usize,
        first: u64,
        make: &(impl FnMut(u64) -> Option<T> + Clone + Send + 'static),
    ) -> io::Result<Self> {
        let threads = threads.max(1);
        let mut made = Vec::with_capacity(threads);
        for thread in 0..threads {
            let (sender, receiver) = sync_channel(ahead);
            let mut make = make.clone();
            let steps = (first + thread as u64..).step_by(threads);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    for step in steps {
                        let Some(result) = make(step) else { return };
                        if sender.send(result).is_err() {
                            return;
                        }
                    }
                })?;
            made.push(receiver);
        }
        Ok(Self { made, next: 0 })
    }

    /// Waits for the next result. An error means that there is none, or that its thread died.
    pub fn take(&mut self) -> Result<T, RecvError> {
        let result = self.made[self.next].recv()?;
        self.next = (self.next + 1) % self.made.len();
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads_and_end_where_they_end() {
        for threads in [1, 2, 3, 7] {
            let make = |step: u64| (step < 20).then_some(step * step);
            let mut results = InOrder::start("squares", threads, 0, 5, &make).unwrap();
            for step in 5..20 {
                assert_eq!(results.take(), Ok(step * step));
            }
            assert!(results.take().is_err());
        }
    }
}
