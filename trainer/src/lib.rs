//! The trainer: everything that knows tensors. One process works on one task on one device.
//!
//! - [`nets`] builds networks whose activations are applied by the caller, site by site;
//! - [`activation`], [`sites`], [`units`], [`dapa`], [`running`], [`scoring`], [`penalty`] and
//!   [`projection`] are the methods' mathematics;
//! - [`fused`] is the masked activation and the optimizers' steps in C++, [`self_check`] shows that
//!   the former is right on a machine's devices;
//! - [`data`], [`optim`], [`schedule`], [`loss`], [`ema`], [`precision`] and [`metrics`] are what
//!   every stage of training shares;
//! - [`training`] is one stage's state and its step, [`methods`] what sets the stages apart, and
//!   [`train_loop`] goes from the first step to the last;
//! - [`checkpoint`] and [`count`] read and write what survives the process, [`weights`] what other
//!   programs made;
//! - [`task`] works on one task; [`serve`] does so for a worker, [`local`] for a person.
//!
//! **Invariant:** on a CPU with a fixed number of threads, a task that was killed at any step and
//! resumed from its latest checkpoint ends in the same bytes as one that was not. So nothing here
//! draws from a hidden random state: initial weights, order and augmentation are pure functions
//! of (seed, name), (seed, epoch) and (seed, epoch, index).

pub mod activation;
pub mod allocator;
pub mod calibrate;
pub mod checkpoint;
pub mod count;
pub mod cuda;
pub mod dapa;
pub mod data;
pub mod device;
pub mod ema;
pub mod error;
pub mod fused;
pub mod host;
pub mod journal;
pub mod local;
pub mod loss;
pub mod masked;
pub mod methods;
pub mod metrics;
pub mod nets;
pub mod norms;
pub mod optim;
pub mod penalty;
pub mod precision;
pub mod probe;
pub mod projection;
pub mod ranks;
pub mod rng;
pub mod running;
pub mod schedule;
pub mod scoring;
pub mod self_check;
pub mod serve;
pub mod sites;
pub mod step_times;
pub mod task;
pub mod tensors;
pub mod train_loop;
pub mod training;
pub mod units;
pub mod weights;
