//! The operator against what it stands for, composed of tensor operations.

use std::fmt::Debug;

use super::check::distance;
use super::*;
use crate::activation::Mixture;
use crate::nets::Layout;
use crate::rng::Rng;

/// Which elements keep their ReLU.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Masked {
    All,
    None,
    Mixed,
    ByChannel,
    BySite,
    /// Numbers between 0 and 1, as SNL has.
    Shares,
}

/// What comes before the activation.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Before {
    Nothing,
    Norm,
    NormAndSum,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: [i64; 4],
    layout: Layout,
    masked: Masked,
    before: Before,
    degree: i64,
    /// Whether channels share a polynomial.
    shared: bool,
    training: bool,
    seed: u64,
}

/// A case's tensors: leaves that ask for gradients, and what is not trained.
struct Operands {
    z: Tensor,
    beside: Tensor,
    keep: Tensor,
    coefficients: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running: [Tensor; 2],
    /// The gradient at the result.
    above: Tensor,
}

fn random(rng: &mut Rng, shape: &[i64], kind: Kind) -> Tensor {
    check::random(rng, shape).to_kind(kind)
}

impl Case {
    fn operands(&self, kind: Kind) -> Operands {
        let mut rng = Rng::keyed("fused-test", &[self.seed]);
        let [_, channels, height, width] = self.shape;
        let sign = |shape: &[i64], rng: &mut Rng| random(rng, shape, kind).gt(0.0).to_kind(kind);
        let all = [channels, height, width];
        let keep = match self.masked {
            Masked::All => Tensor::ones(all, (kind, Device::Cpu)),
            Masked::None => Tensor::zeros(all, (kind, Device::Cpu)),
            Masked::Mixed => sign(&all, &mut rng),
            Masked::ByChannel => sign(&[channels, 1, 1], &mut rng),
            Masked::BySite => Tensor::ones([1, 1, 1], (kind, Device::Cpu)),
            Masked::Shares => random(&mut rng, &all, kind).sigmoid(),
        };
        let leaf = |tensor: Tensor| tensor.set_requires_grad(true);
        let map = |rng: &mut Rng| self.layout.arrange(&random(rng, &self.shape, kind));
        let columns = if self.shared { 1 } else { channels };
        let coefficients = random(&mut rng, &[self.degree + 1, columns], kind) * 0.3;
        let by_channel = |rng: &mut Rng| random(rng, &[channels], kind);
        Operands {
            z: leaf(map(&mut rng) * 1.5 + 0.7),
            beside: leaf(map(&mut rng)),
            keep: leaf(keep),
            coefficients: leaf(coefficients),
            gamma: leaf(by_channel(&mut rng)),
            beta: leaf(by_channel(&mut rng)),
            running: [by_channel(&mut rng), by_channel(&mut rng).exp()],
            above: map(&mut rng),
        }
    }
}

impl Operands {
    fn leaves(&self) -> [&Tensor; 6] {
        [
            &self.z,
            &self.beside,
            &self.keep,
            &self.coefficients,
            &self.gamma,
            &self.beta,
        ]
    }

    fn expanded(&self) -> Tensor {
        let size = self.z.size();
        self.keep.expand(&size[1..], false)
    }

    /// The operator.
    fn fused(&self, case: Case) -> Tensor {
        let keep = self.expanded();
        let [running_mean, running_variance] = &self.running;
        let norm = Norm {
            gamma: &self.gamma,
            beta: &self.beta,
            running_mean,
            running_variance,
            momentum: 0.1,
            epsilon: 1e-5,
            training: case.training,
            ranks: &Ranks::alone(),
        };
        let call = Call {
            z: &self.z,
            norm: (case.before != Before::Nothing).then_some(norm),
            beside: (case.before == Before::NormAndSum).then_some(&self.beside),
            keep: Some(&keep),
            coefficients: &self.coefficients,
            watched: None,
        };
        call.activation()
    }

    /// The same of tensor operations.
    fn composed(&self, case: Case) -> Tensor {
        let mixture = Mixture::new(&self.expanded(), &self.coefficients);
        let [mean, variance] = &self.running;
        let normalised = || {
            let (gamma, beta) = (Some(&self.gamma), Some(&self.beta));
            let running = (Some(mean), Some(variance));
            self.z.batch_norm(
                gamma,
                beta,
                running.0,
                running.1,
                case.training,
                0.1,
                1e-5,
                true,
            )
        };
        match case.before {
            Before::Nothing => mixture.composed(&self.z),
            Before::Norm => mixture.composed(&normalised()),
            Before::NormAndSum => mixture.composed(&(normalised() + &self.beside)),
        }
    }
}

/// The result, the gradients of the leaves (zeros where there is none) and the running statistics.
fn outcome(case: Case, kind: Kind, form: fn(&Operands, Case) -> Tensor) -> Vec<Tensor> {
    let operands = case.operands(kind);
    let y = form(&operands, case);
    let gradients = Tensor::f_run_backward(
        &[&(&y * &operands.above).sum(kind)],
        &operands.leaves(),
        false,
        false,
    );
    let gradients = gradients.expect("a backward pass");
    let both = gradients.into_iter().zip(operands.leaves());
    let gradients = both.map(|(gradient, leaf)| {
        if gradient.defined() {
            gradient
        } else {
            leaf.zeros_like()
        }
    });
    let running = operands.running.iter().map(Tensor::shallow_clone);
    std::iter::once(y.detach())
        .chain(gradients)
        .chain(running)
        .collect()
}

const NAMES: [&str; 9] = [
    "result",
    "input",
    "summand",
    "indicators",
    "coefficients",
    "gamma",
    "beta",
    "running mean",
    "running variance",
];

fn cases() -> Vec<Case> {
    let shapes = [
        [1, 1, 1, 1],
        [1, 3, 5, 7],
        [4, 8, 6, 6],
        [3, 64, 9, 9],
        [2, 600, 2, 3],
        [5, 17, 1, 1],
        [2, 5, 40, 33],
    ];
    let mut cases = Vec::new();
    for (at, shape) in shapes.into_iter().enumerate() {
        for layout in [Layout::Planes, Layout::ChannelsLast] {
            for masked in [
                Masked::All,
                Masked::None,
                Masked::Mixed,
                Masked::ByChannel,
                Masked::BySite,
                Masked::Shares,
            ] {
                for before in [Before::Nothing, Before::Norm, Before::NormAndSum] {
                    let seed = cases.len() as u64;
                    cases.push(Case {
                        shape,
                        layout,
                        masked,
                        before,
                        degree: (seed % 3).cast_signed(),
                        shared: seed.is_multiple_of(5),
                        // The statistics of one element are no distribution.
                        training: at != 0 && !seed.is_multiple_of(7),
                        seed,
                    });
                }
            }
        }
    }
    cases
}

/// Both in f32 against the composition in f64: the operator may be off by a millionth, or by four times
/// what the composition is itself, where rounding is larger: behind divisions by small deviations and
/// in sums of a whole map that nearly cancel.
#[test]
fn the_operator_equals_its_composition_in_f32() {
    for case in cases() {
        let exact = outcome(case, Kind::Double, Operands::composed);
        let composed = outcome(case, Kind::Float, Operands::composed);
        let fused = outcome(case, Kind::Float, Operands::fused);
        for (at, name) in NAMES.into_iter().enumerate() {
            let (own, other) = (
                distance(&fused[at], &exact[at]),
                distance(&composed[at], &exact[at]),
            );
            assert!(
                own <= 1e-6_f64.max(4.0 * other),
                "{case:?}: {name} is off by {own:e} ({other:e})"
            );
        }
    }
}

#[test]
fn gradients_of_the_operator_equal_finite_differences_in_f64() {
    let cases = cases().into_iter().filter(|case| {
        let [batch, channels, height, width] = case.shape;
        (2..120).contains(&(batch * channels * height * width))
    });
    let mut looked_at = 0;
    for case in cases.step_by(5) {
        let value = |operands: &Operands| {
            let y = operands.fused(case);
            (y * &operands.above).sum(Kind::Double)
        };
        let gradients = outcome(case, Kind::Double, Operands::fused);
        for which in 0..6 {
            let gradient = gradients[which + 1].contiguous().view([-1]);
            for at in (0..gradient.size()[0]).step_by(3) {
                let moved = |by: f64| {
                    let operands = case.operands(Kind::Double);
                    let leaf = operands.leaves()[which].detach();
                    let place = place(&leaf, at);
                    let mut element = place
                        .iter()
                        .fold(leaf, |part, index| part.select(0, *index));
                    element += by;
                    tch::no_grad(|| value(&operands)).double_value(&[])
                };
                let wanted = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                let got = gradient.double_value(&[at]);
                assert!(
                    (got - wanted).abs() < 1e-6 * (1.0 + wanted.abs()),
                    "{case:?}: {} at {at}: {got} {wanted}",
                    NAMES[which + 1]
                );
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 1_000, "{looked_at}");
}

/// The indices of the element at a place in row-major order.
fn place(tensor: &Tensor, at: i64) -> Vec<i64> {
    let mut rest = at;
    let mut indices: Vec<i64> = (tensor.size().into_iter().rev())
        .map(|size| {
            let index = rest % size;
            rest /= size;
            index
        })
        .collect();
    indices.reverse();
    indices
}

/// What autocast gives: the arithmetic is in f32, only what is read and written has fewer bits.
#[test]
fn maps_in_bfloat16_and_float16_are_computed_in_f32() {
    for kind in [Kind::BFloat16, Kind::Half] {
        for before in [Before::Nothing, Before::Norm, Before::NormAndSum] {
            let case = Case {
                shape: [3, 12, 8, 8],
                layout: Layout::ChannelsLast,
                masked: Masked::Mixed,
                before,
                degree: 2,
                shared: false,
                training: true,
                seed: 5,
            };
            // Both have what the narrow type can hold, one in that type.
            let rounded = |held_in: Kind| {
                let mut operands = case.operands(Kind::Float);
                for map in [&mut operands.z, &mut operands.beside, &mut operands.above] {
                    *map = map.detach().to_kind(kind).to_kind(held_in);
                }
                operands.z = operands.z.set_requires_grad(true);
                operands.beside = operands.beside.set_requires_grad(true);
                operands
            };
            let (few, many) = (rounded(kind), rounded(Kind::Float));
            let (got, wanted) = (few.fused(case), many.fused(case));
            assert_eq!(got.kind(), kind);
            assert!(got.equal(&wanted.to_kind(kind)), "{kind:?} {before:?}");
            let gradients = |operands: &Operands, y: &Tensor| {
                let mut leaves = operands.leaves().to_vec();
                match before {
                    Before::Nothing => leaves = vec![leaves[0], leaves[2], leaves[3]],
                    Before::Norm => drop(leaves.remove(1)),
                    Before::NormAndSum => {}
                }
                let pulled = (y * &operands.above).sum(Kind::Float);
                Tensor::run_backward(&[&pulled], &leaves, false, false)
            };
            let (got, wanted) = (gradients(&few, &got), gradients(&many, &wanted));
            for (at, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                // A map's gradient is rounded when it is stored, and read again behind a sum.
                let limit = if got.kind() == kind {
                    3.0 * check::rounding(kind)
                } else {
                    1e-5
                };
                let off = check::distance(got, wanted);
                assert!(
                    off <= limit,
                    "{kind:?} {before:?} gradient {at} is off by {off:e}"
                );
            }
        }
    }
}

/// Running averages of pre-activations start the polynomials of the reference's code.
#[test]
fn what_is_watched_is_the_mean_and_the_unbiased_variance_before_the_activation() {
    for (before, shape) in [
        (Before::Norm, [2, 3, 4, 5]),
        (Before::NormAndSum, [3, 20, 2, 2]),
    ] {
        let case = Case {
            shape,
            layout: Layout::ChannelsLast,
            masked: Masked::Mixed,
            before,
            degree: 2,
            shared: false,
            training: true,
            seed: 9,
        };
        let operands = case.operands(Kind::Double);
        let watched = Tensor::zeros([2, shape[1]], (Kind::Double, Device::Cpu));
        let [running_mean, running_variance] = &operands.running;
        let normalised = operands.z.batch_norm::<Tensor>(
            Some(operands.gamma.shallow_clone()),
            Some(operands.beta.shallow_clone()),
            None,
            None,
            true,
            0.1,
            1e-5,
            true,
        );
        let norm = Norm {
            gamma: &operands.gamma,
            beta: &operands.beta,
            running_mean,
            running_variance,
            momentum: 0.1,
            epsilon: 1e-5,
            training: true,
            ranks: &Ranks::alone(),
        };
        let sum = before == Before::NormAndSum;
        let call = Call {
            z: &operands.z,
            norm: Some(norm),
            beside: sum.then_some(&operands.beside),
            keep: None,
            coefficients: &operands.coefficients,
            watched: Some(&watched),
        };
        let _y = call.activation();
        let x = if sum {
            normalised + &operands.beside
        } else {
            normalised
        };
        let over = &[0_i64, 2, 3][..];
        let mean = x.mean_dim(over, false, Kind::Double);
        let variance = x.var_dim(over, true, false);
        assert!(distance(&watched.select(0, 0), &mean) < 1e-9);
        assert!(distance(&watched.select(0, 1), &variance) < 1e-9);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let case = Case {
        shape: [8, 24, 30, 30],
        layout: Layout::ChannelsLast,
        masked: Masked::Mixed,
        before: Before::NormAndSum,
        degree: 2,
        shared: false,
        training: true,
        seed: 3,
    };
    let of = |threads: i32| {
        tch::set_num_threads(threads);
        outcome(case, Kind::Float, Operands::fused)
    };
    let (one, two) = (of(1), of(2));
    for ((one, two), name) in one.iter().zip(&two).zip(NAMES) {
        assert!(one.equal(two), "{name}");
    }
}

#[test]
#[should_panic(expected = "expected indicators of shape [3, 4, 4]")]
fn indicators_of_another_site_are_refused() {
    let options = (Kind::Float, Device::Cpu);
    let call = Call {
        z: &Tensor::zeros([2, 3, 4, 4], options),
        norm: None,
        beside: None,
        keep: Some(&Tensor::zeros([3, 4, 5], options)),
        coefficients: &Tensor::zeros([3, 3], options),
        watched: None,
    };
    let _y = call.activation();
}
