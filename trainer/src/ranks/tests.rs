use std::time::Instant;

use tch::no_grad;

use super::*;
use crate::activation::Mixture;
use crate::fused;

/// Runs `body` on each rank of a group in a thread of its own; what each returns, in their order.
fn on_each<T: Send>(ranks: u32, deadline: Duration, body: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
    let place = |rank, port| Place {
        share: Share::new(rank, ranks).unwrap(),
        host: "127.0.0.1".to_owned(),
        port,
        deadline,
    };
    let first = Meeting::start(place(0, 0)).unwrap();
    let port = first.port();
    let body = &body;
    let work = |meeting: Meeting| body(&meeting.complete(Device::Cpu).unwrap());
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..ranks)
            .map(|rank| scope.spawn(move || work(Meeting::start(place(rank, port)).unwrap())))
            .collect();
        let mut all = vec![work(first)];
        all.extend(others.into_iter().map(|other| other.join().unwrap()));
        all
    })
}

/// What the end of a rank's process does to its group.
fn leave(ranks: &Ranks) {
    ranks.group.as_ref().unwrap().close();
}

const LONG: Duration = Duration::from_mins(1);

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

#[test]
fn three_ranks_sum_broadcast_agree_and_gather() {
    let all = on_each(3, LONG, |ranks| {
        let rank = i64::from(ranks.share().rank());
        let sum = Tensor::from_slice(&[1.0_f32, 10.0]) * rank;
        ranks.sum(&sum).unwrap();
        let later = Tensor::from_slice(&[rank]);
        ranks.sum(&later).unwrap();
        let first = Tensor::from_slice(&[rank + 7]);
        ranks.broadcast(&first).unwrap();
        let agreed = ranks.agree([rank, 1]).unwrap();
        let words = ranks.gather("ab".repeat(rank.try_into().unwrap()).as_bytes());
        (
            [values(&sum), values(&later), values(&first)].concat(),
            agreed,
            words.unwrap(),
        )
    });
    for (tensors, agreed, words) in all {
        assert_eq!(tensors, [3.0, 30.0, 3.0, 7.0]);
        assert_eq!(agreed, [3, 3]);
        assert_eq!(words, [b"".to_vec(), b"ab".to_vec(), b"abab".to_vec()]);
    }
}

#[test]
fn one_rank_alone_has_everything_already() {
    let ranks = Ranks::alone();
    let tensor = Tensor::from_slice(&[2.0_f32]);
    ranks.sum(&tensor).unwrap();
    ranks.sum(&tensor).unwrap();
    ranks.broadcast(&tensor).unwrap();
    assert_eq!(values(&tensor), [2.0]);
    assert_eq!(ranks.agree([4, 5]).unwrap(), [4, 5]);
    assert_eq!(ranks.gather(b"x").unwrap(), [b"x".to_vec()]);
    assert!(ranks.leads() && ranks.are_one());
}

#[test]
fn moments_of_uneven_parts_are_those_of_all_values_together() {
    let all = || {
        let numbers = Tensor::arange(14, (Kind::Double, Device::Cpu));
        numbers.square().view([7, 2])
    };
    let moments = |part: &Tensor| {
        let over = &[0_i64][..];
        let mean = part.mean_dim(over, false, Kind::Double);
        (mean, part.var_dim(over, false, false))
    };
    let parts = on_each(2, LONG, |ranks| {
        let places = ranks.share().places(7);
        let (mean, variance) = moments(&part(&all(), &places));
        let count = places.len() as f64;
        let (mean, variance, count) = ranks.moments(count, &mean, &variance).unwrap();
        [values(&mean), values(&variance), values(&count)].concat()
    });
    let (mean, variance) = moments(&all());
    let wanted = [values(&mean), values(&variance), vec![7.0, 7.0]].concat();
    for part in parts {
        for (found, wanted) in part.iter().zip(&wanted) {
            let off = (found - wanted).abs();
            assert!(off < 1e-9 * wanted.abs(), "{found} against {wanted}");
        }
    }
}

fn part(all: &Tensor, places: &std::ops::Range<usize>) -> Tensor {
    let number = |number: usize| i64::try_from(number).unwrap();
    all.narrow(0, number(places.start), number(places.len()))
        .copy()
}

/// What comes after the normalisation.
#[derive(Clone, Copy, PartialEq)]
enum Behind {
    Nothing,
    /// A masked activation, in one operator with it over ranks.
    Activation,
}

/// Batch normalisation of some images, by libtorch's own or the ranks': result, gradients of images,
/// scale and shift (and of what is behind), running mean and variance.
fn normed(ranks: &Ranks, images: &Tensor, pull: &Tensor, behind: Behind) -> Vec<Tensor> {
    let images = images.detach().set_requires_grad(true);
    let leaf = |start: f32| {
        let values: Vec<f32> = (0..3_i16).map(|at| start + f32::from(at) / 4.0).collect();
        Tensor::from_slice(&values).set_requires_grad(true)
    };
    let (scale, shift) = (leaf(0.5), leaf(-0.25));
    let (mean, variance) = (leaf(0.0).detach(), leaf(1.0).detach());
    let norm = Norm {
        scale: &scale,
        shift: &shift,
        mean: &mean,
        variance: &variance,
        updates: true,
        momentum: 0.1,
        epsilon: 1e-5,
    };
    let own = || {
        let (scale, shift) = (Some(&scale), Some(&shift));
        images.batch_norm(
            scale,
            shift,
            Some(&mean),
            Some(&variance),
            true,
            0.1,
            1e-5,
            false,
        )
    };
    let options = (Kind::Float, Device::Cpu);
    let keep = Tensor::arange(3 * 4 * 4, options).remainder(3.0).gt(0.5);
    let keep = keep.to_kind(Kind::Float).view([3, 4, 4]);
    let keep = keep.set_requires_grad(true);
    let coefficients = Tensor::arange(9, options).view([3, 3]) * 0.1;
    let coefficients = coefficients.set_requires_grad(true);
    let mixture = Mixture::new(&keep, &coefficients);
    let y = match behind {
        Behind::Nothing => ranks.batch_norm(&images, &norm).unwrap_or_else(own),
        Behind::Activation if ranks.are_one() => mixture.composed(&own()),
        Behind::Activation => {
            let norm = fused::Norm {
                gamma: &scale,
                beta: &shift,
                running_mean: &mean,
                running_variance: &variance,
                momentum: 0.1,
                epsilon: 1e-5,
                training: true,
                ranks,
            };
            mixture.apply_normalised(&images, norm, None, None)
        }
    };
    let loss = (&y * pull).sum(Kind::Float);
    let mut leaves = vec![&images, &scale, &shift];
    if behind == Behind::Activation {
        leaves.extend([&keep, &coefficients]);
    }
    let gradients = Tensor::run_backward(&[&loss], &leaves, false, false);
    let mut all = vec![y.detach()];
    all.extend(gradients);
    all.extend([mean, variance]);
    all
}

/// Some images, and what pulls at what they become.
fn images(count: i64) -> [Tensor; 2] {
    let numbers = Tensor::arange(count * 3 * 4 * 4, (Kind::Float, Device::Cpu));
    let images = (&numbers * 0.37).sin() * 3.0 + 1.0;
    [images, (numbers * 0.11).cos()].map(|all| all.view([count, 3, 4, 4]))
}

#[test]
fn batch_norm_over_ranks_is_that_of_the_whole_batch_in_result_and_gradients() {
    over_ranks_is_as_the_whole_batch(5, Behind::Nothing);
}

#[test]
fn an_activation_with_its_norm_over_ranks_is_that_of_the_whole_batch() {
    over_ranks_is_as_the_whole_batch(5, Behind::Activation);
}

#[test]
fn a_rank_without_images_takes_part_in_both() {
    over_ranks_is_as_the_whole_batch(1, Behind::Nothing);
    over_ranks_is_as_the_whole_batch(1, Behind::Activation);
}

#[test]
fn statistics_of_narrow_maps_over_ranks_are_as_exact_as_those_of_wide_ones() {
    let narrow = || images(5).map(|all| all.to_kind(Kind::BFloat16));
    let wide = || narrow().map(|all| all.to_kind(Kind::Float));
    for behind in [Behind::Nothing, Behind::Activation] {
        let [images, pull] = wide();
        let wanted = normed(&Ranks::alone(), &images, &pull, behind);
        let parts = on_each(2, LONG, |ranks| {
            let places = ranks.share().places(5);
            let [images, pull] = narrow().map(|all| part(&all, &places));
            normed(ranks, &images, &pull, behind)
        });
        for found in parts {
            for (found, wanted) in found.iter().zip(&wanted).rev().take(2) {
                for (found, wanted) in values(found).into_iter().zip(values(wanted)) {
                    assert!((found - wanted).abs() < 2e-5, "{found} against {wanted}");
                }
            }
        }
    }
}

fn over_ranks_is_as_the_whole_batch(count: u16, behind: Behind) {
    let whole = || {
        let [images, pull] = images(count.into());
        normed(&Ranks::alone(), &images, &pull, behind)
    };
    let parts = on_each(2, LONG, |ranks| {
        let places = ranks.share().places(count.into());
        let [images, pull] = images(count.into()).map(|all| part(&all, &places));
        let mut found = normed(ranks, &images, &pull, behind);
        // A rank's gradients are its own share; what it has seen are the statistics of all.
        let statistics = found.len() - 2;
        for own in &found[2..statistics] {
            ranks.sum(own).unwrap();
        }
        let wanted = whole();
        let wanted = [&wanted[0], &wanted[1]].map(|all| part(all, &places));
        let images = found.drain(..2).zip(wanted);
        let off = images.filter(|(found, _)| found.numel() > 0);
        let off = off.map(|(found, wanted)| (found - wanted).abs().max().double_value(&[]));
        (off.fold(0.0, f64::max), found)
    });
    let wanted = whole();
    for (images, channels) in parts {
        assert!(images < 2e-6, "images and gradients are off by {images}");
        for (found, wanted) in channels.iter().zip(&wanted[2..]) {
            for (found, wanted) in values(found).into_iter().zip(values(wanted)) {
                assert!((found - wanted).abs() < 2e-5, "{found} against {wanted}");
            }
        }
    }
}

#[test]
fn gradients_are_sums_over_ranks_and_zero_where_no_rank_comes() {
    let all = on_each(2, LONG, |ranks| {
        let leaf =
            |size: i64| Tensor::ones([size], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        // Larger than a first bucket, so that there are two.
        let (used, unused, large) = (leaf(2), leaf(3), leaf(FLOATS));
        let mut gradients = Gradients::of(ranks, &[&large, &unused, &used])
            .unwrap()
            .unwrap();
        let rank = f64::from(ranks.share().rank()) + 1.0;
        let mut last = Vec::new();
        for pass in [1.0, 2.0] {
            let loss = (&used * rank * pass).sum(Kind::Float) + large.sum(Kind::Float) * pass;
            let leaves = [&large, &unused, &used];
            last = gradients
                .during(|| {
                    Tensor::f_run_backward(&[&loss], &leaves[..1], true, false)?;
                    Tensor::f_run_backward(&[&loss], &leaves[2..], false, false)
                })
                .unwrap();
        }
        let [large, unused, used] = [0, 1, 2].map(|at| values(&last[at]));
        assert!(large.iter().all(|value| (value - 4.0).abs() < 1e-9));
        (unused, used, gradients.traffic)
    });
    for (unused, used, traffic) in all {
        assert_eq!(unused, [0.0, 0.0, 0.0]);
        assert_eq!(used, [6.0, 6.0]);
        assert_eq!(traffic.steps, 2);
        assert!((traffic.bytes - 2.0 * 4.0 * (FLOATS as f64 + 5.0)).abs() < 0.5);
        assert!(traffic.busy_s > 0.0 && traffic.exposed_s <= traffic.busy_s);
        assert!((0.0..=1.0).contains(&traffic.hidden()));
    }
}

const FLOATS: i64 = 300_000;

#[test]
fn a_rank_that_does_not_come_to_a_sum_in_time_fails_it_with_a_message_that_is_known() {
    let deadline = Duration::from_secs(1);
    let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = std::sync::Mutex::new(wait);
    let done = std::sync::Mutex::new(Some(done));
    let errors = on_each(2, deadline, |ranks| {
        if ranks.leads() {
            let begun = Instant::now();
            let error = ranks.sum(&Tensor::from_slice(&[1.0_f32])).unwrap_err();
            assert!(begun.elapsed() < Duration::from_secs(20));
            done.lock().unwrap().take();
            Some(error.to_string())
        } else {
            // Until the other has given up.
            let _closed = wait.lock().unwrap().recv();
            None
        }
    });
    let error = errors[0].as_ref().unwrap();
    assert!(is_lost(error), "{error}");
    assert!(
        error.contains("look for the rank that failed first"),
        "{error}"
    );
}

#[test]
fn a_rank_that_is_gone_fails_the_others_sum_long_before_the_deadline() {
    let begun = Instant::now();
    let errors = on_each(2, Duration::from_mins(10), |ranks| {
        if ranks.leads() {
            return ranks.sum(&Tensor::from_slice(&[1.0_f32])).err();
        }
        leave(ranks);
        None
    });
    assert!(errors[0].is_some());
    assert!(begun.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_panic_in_batch_norm_is_known_for_what_it_is() {
    a_panic_is_known(Behind::Nothing);
    a_panic_is_known(Behind::Activation);
}

fn a_panic_is_known(behind: Behind) {
    let panics = on_each(2, Duration::from_mins(10), |ranks| {
        if !ranks.leads() {
            leave(ranks);
            return None;
        }
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let images = Tensor::ones([2, 3, 4, 4], (Kind::Float, Device::Cpu));
            no_grad(|| normed(ranks, &images, &images, behind))
        }));
        caught.err()?.downcast_ref::<String>().cloned()
    });
    let message = panics[0].as_ref().unwrap();
    assert!(is_lost(message), "{message}");
}

#[test]
fn ranks_that_do_not_all_come_give_up_meeting_after_the_deadline() {
    let place = Place {
        share: Share::new(0, 2).unwrap(),
        host: "127.0.0.1".to_owned(),
        port: 0,
        deadline: Duration::from_secs(1),
    };
    let meeting = Meeting::start(place).unwrap();
    assert!(meeting.port() > 0);
    let error = meeting.complete(Device::Cpu).unwrap_err().to_string();
    assert!(is_lost(&error), "{error}");
}
