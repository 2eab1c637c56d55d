//! Holds the operator against its composition, on any device. Tests do it with emulated kernels,
//! `autorep-trainer self-check` with what a user's machine has.

use std::fmt;

use tch::{Device, Kind, Tensor};

use super::{Call, computed_in};
use crate::activation::Mixture;
use crate::nets::Layout;
use crate::rng::Rng;

/// Which elements keep their ReLU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Masked {
    /// Every element.
    All,
    /// None, said by zeros.
    None,
    /// None, said by having no indicators.
    Absent,
    /// Some.
    Mixed,
    /// Some channels.
    ByChannel,
    /// The site, or not.
    BySite,
    /// Numbers between 0 and 1, as SNL has.
    Shares,
    /// Some, of indicators that are not trained.
    Frozen,
}

/// One comparison.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// [batch, channels, height, width]
    pub shape: [i64; 4],
    /// How the map lies in memory.
    pub layout: Layout,
    /// The indicators.
    pub masked: Masked,
    /// The polynomial's degree.
    pub degree: i64,
    /// Whether channels share a polynomial.
    pub shared: bool,
    /// The map's type.
    pub kind: Kind,
    /// Whether statistics are taken in the same pass.
    pub watched: bool,
    /// What its numbers are drawn from.
    pub seed: u64,
}

/// How far one of a case's results is off, in units of its largest value.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// The case.
    pub case: Case,
    /// Which result.
    pub of: &'static str,
    /// From the composition in f64.
    pub operator: f64,
    /// The same of the composition, in what the operator computes in.
    pub composed: f64,
    /// What is allowed.
    pub limit: f64,
}

impl Deviation {
    /// Whether it is within its limit. A number that is none is not.
    pub fn is_small(&self) -> bool {
        self.operator <= self.limit
    }

    /// In units of its limit.
    pub fn share(&self) -> f64 {
        self.operator / self.limit
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, of, .. } = self;
        write!(
            f,
            "{of} is off by {:e}, expected at most {:e} (the composition: {:e}) in {case:?}",
            self.operator, self.limit, self.composed
        )
    }
}

/// Random numbers about zero, f64 on the CPU.
pub(super) fn random(rng: &mut Rng, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let values: Vec<f64> = (0..count)
        .map(|_| (0..6).map(|_| rng.unit()).sum::<f64>() * 1.4 - 4.2)
        .collect();
    Tensor::from_slice(&values).view(shape)
}

/// The largest difference, in units of the largest value of what is wanted.
pub(super) fn distance(got: &Tensor, wanted: &Tensor) -> f64 {
    let size = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    let (got, wanted) = (got.to_kind(Kind::Double), wanted.to_kind(Kind::Double));
    size(&(got - &wanted)) / size(&wanted).max(1e-30)
}

/// Half the distance from 1 to the next larger number.
pub(super) fn rounding(kind: Kind) -> f64 {
    if kind == Kind::BFloat16 {
        (-8_f64).exp2()
    } else if kind == Kind::Half {
        (-11_f64).exp2()
    } else {
        0.0
    }
}

/// A case's numbers, rounded to the types that they have in it.
struct Numbers {
    z: Tensor,
    above: Tensor,
    keep: Option<Tensor>,
    coefficients: Tensor,
}

impl Numbers {
    fn of(case: Case, device: Device) -> Self {
        let mut rng = Rng::keyed("fused-check", &[case.seed]);
        let [_, channels, height, width] = case.shape;
        let exact = computed_in(case.kind);
        let rounded = |tensor: &Tensor, kind: Kind| tensor.to_kind(kind).to_device(device);
        let sign = |shape: &[i64], rng: &mut Rng| random(rng, shape).gt(0.0);
        let all = [channels, height, width];
        let keep = match case.masked {
            Masked::All => Some(Tensor::ones(all, (Kind::Double, Device::Cpu))),
            Masked::None => Some(Tensor::zeros(all, (Kind::Double, Device::Cpu))),
            Masked::Absent => None,
            Masked::Mixed | Masked::Frozen => Some(sign(&all, &mut rng)),
            Masked::ByChannel => Some(sign(&[channels, 1, 1], &mut rng)),
            Masked::BySite => Some(Tensor::ones([1, 1, 1], (Kind::Double, Device::Cpu))),
            Masked::Shares => Some(random(&mut rng, &all).sigmoid()),
        };
        let columns = if case.shared { 1 } else { channels };
        let coefficients = random(&mut rng, &[case.degree + 1, columns]) * 0.3;
        let z = random(&mut rng, &case.shape) * 1.5 + 0.7;
        Self {
            z: rounded(&z, case.kind),
            above: rounded(&random(&mut rng, &case.shape), case.kind),
            keep: keep.map(|keep| rounded(&keep, exact)),
            coefficients: rounded(&coefficients, exact),
        }
    }
}

const NAMES: [&str; 6] = [
    "the result",
    "the gradient at the input",
    "the gradient at the indicators",
    "the gradient at the coefficients",
    "the mean",
    "the variance",
];

/// The results under [`NAMES`], of maps in `kind` and everything else in what that is computed in;
/// those that the case has not are `None`.
fn outcome(
    case: Case,
    numbers: &Numbers,
    kind: Kind,
    form: impl FnOnce(&Call<'_>) -> Tensor,
) -> [Option<Tensor>; 6] {
    let exact = computed_in(kind);
    let map = |tensor: &Tensor| case.layout.arrange(&tensor.to_kind(kind));
    let leaf = |tensor: Tensor, asks: bool| tensor.detach().copy().set_requires_grad(asks);
    let z = leaf(map(&numbers.z), true);
    let coefficients = leaf(numbers.coefficients.to_kind(exact), true);
    let trained = case.masked != Masked::Frozen;
    let keep = numbers.keep.as_ref();
    let keep = keep.map(|keep| leaf(keep.to_kind(exact), trained));
    let expanded = keep.as_ref().map(|keep| {
        let size = z.size();
        keep.expand(&size[1..], false)
    });
    let watched = Tensor::zeros([2, case.shape[1]], (Kind::Double, z.device()));
    let y = form(&Call {
        z: &z,
        norm: None,
        beside: None,
        keep: expanded.as_ref(),
        coefficients: &coefficients,
        watched: case.watched.then_some(&watched),
    });
    let leaves: Vec<&Tensor> = [
        Some(&z),
        keep.as_ref().filter(|_| trained),
        Some(&coefficients),
    ]
    .into_iter()
    .flatten()
    .collect();
    let above = map(&numbers.above);
    let gradients = Tensor::run_backward(&[&(&y * &above).sum(exact)], &leaves, false, false);
    let both = gradients.into_iter().zip(&leaves);
    let mut gradients = both.map(|(gradient, leaf)| {
        if gradient.defined() {
            gradient
        } else {
            leaf.zeros_like()
        }
    });
    let at_z = gradients.next();
    let at_keep = if leaves.len() == 3 {
        gradients.next()
    } else {
        None
    };
    let at_coefficients = gradients.next();
    let row = |at| case.watched.then(|| watched.select(0, at));
    [
        Some(y.detach()),
        at_z,
        at_keep,
        at_coefficients,
        row(0),
        row(1),
    ]
}

/// The composition, as [`Call::activation`].
fn composed(call: &Call<'_>) -> Tensor {
    let mixture = match call.keep {
        Some(keep) => Mixture::new(keep, call.coefficients),
        None => Mixture::polynomial(call.coefficients),
    };
    if let Some(watched) = call.watched {
        let x = call.z.detach();
        let over = &[0_i64, 2, 3][..];
        let mean = x.mean_dim(over, false, x.kind());
        let both = Tensor::stack(&[mean, x.var_dim(over, true, false)], 0);
        tch::no_grad(|| watched.shallow_clone().copy_(&both));
    }
    mixture.composed(call.z)
}

/// Compares one case on a device. In what the operator computes in it may be off by a millionth, or by
/// four times what the composition is itself, where rounding is larger: in sums of a whole map that
/// nearly cancel. Maps in fewer bits may be off by their own rounding beyond that.
pub fn compare(
    case: Case,
    device: Device,
    operator: impl FnOnce(&Call<'_>) -> Tensor,
) -> Vec<Deviation> {
    let numbers = Numbers::of(case, device);
    let exact = outcome(case, &numbers, Kind::Double, composed);
    let other = outcome(case, &numbers, computed_in(case.kind), composed);
    let own = outcome(case, &numbers, case.kind, operator);
    let small: f64 = if case.kind == Kind::Double {
        1e-12
    } else {
        1e-6
    };
    let mut all = Vec::new();
    for (at, of) in NAMES.into_iter().enumerate() {
        let (Some(exact), Some(other), Some(own)) = (&exact[at], &other[at], &own[at]) else {
            continue;
        };
        let composed = distance(other, exact);
        let rounding = if at < 2 { rounding(case.kind) } else { 0.0 };
        all.push(Deviation {
            case,
            of,
            operator: distance(own, exact),
            composed,
            limit: rounding + small.max(4.0 * composed),
        });
    }
    all
}

/// Shapes with maps that do and do not fill a block, of one and of many images, with planes of odd and
/// of even sizes, and one that is large enough for neighbours to be read together.
const SHAPES: [[i64; 4]; 8] = [
    [1, 1, 1, 1],
    [1, 3, 5, 7],
    [4, 8, 6, 6],
    [3, 64, 9, 9],
    [2, 600, 2, 3],
    [5, 17, 1, 1],
    [2, 5, 40, 33],
    [9, 16, 64, 64],
];

const MASKS: [Masked; 8] = [
    Masked::All,
    Masked::None,
    Masked::Absent,
    Masked::Mixed,
    Masked::ByChannel,
    Masked::BySite,
    Masked::Shares,
    Masked::Frozen,
];

/// What is compared: every shape, layout, mask and type of map, with the rest by turns; of the largest
/// shape one mask.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let large = shape == SHAPES[7];
        for layout in [Layout::Planes, Layout::ChannelsLast] {
            for masked in MASKS {
                if large && masked != Masked::Shares {
                    continue;
                }
                for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half] {
                    // Neither three, five nor seven divides what is gone through here.
                    let seed = cases.len() as u64;
                    cases.push(Case {
                        shape,
                        layout,
                        masked,
                        degree: (seed % 3).cast_signed(),
                        shared: seed.is_multiple_of(5),
                        kind,
                        // The variance of one element is none.
                        watched: shape != SHAPES[0] && seed.is_multiple_of(7),
                        seed,
                    });
                }
            }
        }
    }
    cases
}
