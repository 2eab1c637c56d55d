//! DaPa: the polynomial that replaces ReLU best for normally distributed pre-activations, channel
//! by channel, in closed form.
//!
//! For `x ~ N(μ, σ²)` the minimiser of `E[(relu(x) - g(x))²]` over polynomials of degree `s` is
//! the projection on the Hermite polynomials in `(x - μ)/σ`; with `a = μ/σ`, `φ = φ(a)`,
//! `Φ = Φ(a)`:
//!
//! | degree | coefficients |
//! |---|---|
//! | 0 | `c0 = σ (aΦ + φ)` |
//! | 1 | `c1 = Φ`, `c0 = σφ` |
//! | 2 | `c2 = φ/(2σ)`, `c1 = Φ - aφ`, `c0 = (σ/2)(1 + a²)φ` |

/// The smallest standard deviation that is told apart: a channel that barely moves would get a
/// quadratic term of unbounded size.
pub const DEVIATION_FLOOR: f64 = 1e-2;

/// What the reference's code floors the variance at.
pub const REFERENCE_VARIANCE_FLOOR: f64 = 0.5;

/// The highest degree with a closed form here.
pub const MAX_DEGREE: u32 = 2;

/// The coefficients `[c0, c1, c2]` for a channel with this mean and variance; those above
/// `degree` are zero. The deviation is floored at [`DEVIATION_FLOOR`].
pub fn coefficients(mean: f64, variance: f64, degree: u32) -> [f64; 3] {
    let sigma = variance.max(0.0).sqrt().max(DEVIATION_FLOOR);
    let a = mean / sigma;
    let (density, below) = (normal_density(a), normal_cdf(a));
    match degree {
        0 => [sigma * (a * below + density), 0.0, 0.0],
        1 => [sigma * density, below, 0.0],
        _ => [
            0.5 * sigma * (1.0 + a * a) * density,
            below - a * density,
            density / (2.0 * sigma),
        ],
    }
}

/// As the reference's code computes them: with the variance, floored at
/// [`REFERENCE_VARIANCE_FLOOR`], where the formulas have the deviation.
pub fn reference_coefficients(mean: f64, variance: f64, degree: u32) -> [f64; 3] {
    let in_place_of_sigma = variance.max(REFERENCE_VARIANCE_FLOOR);
    coefficients(mean, in_place_of_sigma * in_place_of_sigma, degree)
}

/// What a distribution of pre-activations says about its best polynomial, whatever its shape.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Moments {
    /// `E[x^k]` for k = 1 to 4.
    pub powers: [f64; 4],
    /// `E[relu(x) x^k]` for k = 0 to 2.
    pub rectified: [f64; 3],
}

impl Moments {
    /// The variance.
    pub fn variance(&self) -> f64 {
        (self.powers[1] - self.powers[0] * self.powers[0]).max(0.0)
    }
}

/// The coefficients `[c0, c1, c2]` of least squared error to ReLU under a distribution with these
/// moments. Computed in the standardised variable; a distribution on one or two points, which
/// has no unique ones, gets those of the highest degree that it determines.
pub fn least_squares(moments: &Moments, degree: u32) -> [f64; 3] {
    let mean = moments.powers[0];
    let sigma = moments.variance().sqrt().max(DEVIATION_FLOOR);
    // Moments of z = (x - mean) / sigma, by the binomial theorem.
    let raw = |k: usize| if k == 0 { 1.0 } else { moments.powers[k - 1] };
    let central = |k: usize, moment: &dyn Fn(usize) -> f64| {
        let binomials: [&[f64]; 5] = [
            &[1.0],
            &[1.0, 1.0],
            &[1.0, 2.0, 1.0],
            &[1.0, 3.0, 3.0, 1.0],
            &[1.0, 4.0, 6.0, 4.0, 1.0],
        ];
        let terms = binomials[k].iter().enumerate();
        let sum: f64 = terms
            .map(|(j, binomial)| {
                let rest = i32::try_from(k - j).unwrap_or(0);
                binomial * moment(j) * (-mean).powi(rest)
            })
            .sum();
        sum / sigma.powi(i32::try_from(k).unwrap_or(0))
    };
    let z = |k: usize| central(k, &raw);
    let r = |k: usize| central(k, &|j| moments.rectified[j]);
    let mut in_z = [0.0; 3];
    for highest in (0..=degree.min(MAX_DEGREE) as usize).rev() {
        let size = highest + 1;
        let matrix = (0..size).map(|row| (0..size).map(|column| z(row + column)).collect());
        if let Some(solution) = solve(matrix.collect(), (0..size).map(r).collect()) {
            in_z[..size].copy_from_slice(&solution);
            break;
        }
    }
    // Back to powers of x.
    let [a0, a1, a2] = in_z;
    let (b1, b2) = (a1 / sigma, a2 / (sigma * sigma));
    [a0 - b1 * mean + b2 * mean * mean, b1 - 2.0 * b2 * mean, b2]
}

/// The solution of a small symmetric system of normal equations; `None` if it is singular.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for pivot in 0..size {
        let divisor = matrix[pivot][pivot];
        if divisor.is_nan() || divisor < 1e-9 {
            return None;
        }
        for row in pivot + 1..size {
            let factor = matrix[row][pivot] / divisor;
            let (above, below) = matrix.split_at_mut(row);
            for (below, above) in below[0].iter_mut().zip(&above[pivot]) {
                *below -= factor * above;
            }
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..size).rev() {
        for column in row + 1..size {
            right[row] -= matrix[row][column] * right[column];
        }
        right[row] /= matrix[row][row];
    }
    Some(right)
}

/// The density of the standard normal distribution.
fn normal_density(a: f64) -> f64 {
    (-0.5 * a * a).exp() / std::f64::consts::TAU.sqrt()
}

/// The standard normal distribution function, to an absolute error of about 1e-15: Marsaglia's
/// series (2004, doi:10.18637/jss.v011.i04) around zero.
fn normal_cdf(a: f64) -> f64 {
    if a.abs() > 8.5 {
        return if a > 0.0 { 1.0 } else { 0.0 };
    }
    // All terms have the sign of `a` and grow until `odd` reaches a²; after 200 they are below
    // 1e-17 of the sum for every `a` that comes here.
    let (mut sum, mut term, mut odd) = (a, a, 1.0);
    for _ in 0..200 {
        odd += 2.0;
        term *= a * a / odd;
        sum += term;
    }
    (0.5 + sum * normal_density(a)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: [(f64, f64); 9] = [
        (0.0, 1.0),
        (0.5, 1.0),
        (-0.5, 1.0),
        (-2.0, 1.5),
        (2.0, 0.7),
        (0.1, 0.05),
        (-3.0, 1.0),
        (4.0, 2.5),
        (-0.02, 3.0),
    ];

    fn close(got: f64, wanted: f64, tolerance: f64) {
        assert!((got - wanted).abs() < tolerance, "{got} against {wanted}");
    }

    #[test]
    fn the_check_values_of_the_standard_normal_come_out() {
        let [c0, c1, c2] = coefficients(0.0, 1.0, 2);
        close(c0, 0.199_471_14, 1e-8);
        close(c1, 0.5, 1e-12);
        close(c2, 0.199_471_14, 1e-8);
        let [c0, c1, c2] = coefficients(0.0, 1.0, 1);
        close(c0, 0.398_942_28, 1e-8);
        close(c1, 0.5, 1e-12);
        close(c2, 0.0, 1e-15);
        close(coefficients(0.0, 1.0, 0)[0], 0.398_942_28, 1e-8);
    }

    #[test]
    fn the_distribution_function_equals_tabulated_values() {
        close(normal_cdf(0.0), 0.5, 1e-15);
        close(normal_cdf(1.0), 0.841_344_746_068_542_9, 1e-15);
        close(normal_cdf(-1.96), 0.024_997_895_148_220_43, 1e-15);
        close(normal_cdf(5.0), 0.999_999_713_348_428_1, 1e-15);
        close(normal_cdf(-9.0), 0.0, 1e-15);
    }

    /// E[f(x)] for x ~ N(mean, sigma²), by the trapezoid rule over ± 12 sigma. With a kink at a
    /// point of the grid the error is far below the tolerances here.
    fn expectation(mean: f64, sigma: f64, f: impl Fn(f64) -> f64) -> f64 {
        let step = 1e-3;
        // Points at multiples of the step from the kink at x = 0.
        let kink = -mean / sigma;
        let first = ((-12.0 - kink) / step).ceil();
        let last = ((12.0 - kink) / step).floor();
        (0..24_000)
            .map(|k| f64::from(k) + first)
            .take_while(|k| *k <= last)
            .map(|k| {
                let z = kink + k * step;
                normal_density(z) * f(mean + sigma * z) * step
            })
            .sum()
    }

    fn polynomial(c: [f64; 3], x: f64) -> f64 {
        (c[2] * x + c[1]) * x + c[0]
    }

    fn relu(x: f64) -> f64 {
        x.max(0.0)
    }

    /// At the minimum the error is orthogonal to every power up to the degree.
    #[test]
    fn the_error_is_orthogonal_to_every_power_by_numerical_integration() {
        for (mean, sigma) in GRID {
            for degree in 0..=MAX_DEGREE {
                let c = coefficients(mean, sigma * sigma, degree);
                for power in 0..=degree {
                    let product = expectation(mean, sigma, |x| {
                        let z = (x - mean) / sigma;
                        (relu(x) - polynomial(c, x)) * z.powi(i32::try_from(power).unwrap())
                    });
                    close(product / sigma, 0.0, 2e-7);
                }
            }
        }
    }

    #[test]
    fn the_mean_squared_errors_are_those_of_the_closed_form() {
        let error = |degree| {
            let c = coefficients(0.0, 1.0, degree);
            expectation(0.0, 1.0, |x| (relu(x) - polynomial(c, x)).powi(2))
        };
        close(error(2), 0.011_268, 1e-6);
        close(error(1), 0.090_845, 1e-6);
        // Relative errors at a = -1, as tabulated: 0.574 and 0.185 of E[relu(x)²].
        let relative = |degree| {
            let c = coefficients(-1.0, 1.0, degree);
            expectation(-1.0, 1.0, |x| (relu(x) - polynomial(c, x)).powi(2))
                / expectation(-1.0, 1.0, |x| relu(x).powi(2))
        };
        close(relative(1), 0.574, 5e-4);
        close(relative(2), 0.185, 5e-4);
    }

    #[test]
    fn a_channel_that_barely_moves_gets_the_floor() {
        let (none, floor) = (coefficients(0.0, 0.0, 2), coefficients(0.0, 1e-4, 2));
        assert_eq!(none.map(f64::to_bits), floor.map(f64::to_bits));
        let [_, _, c2] = coefficients(0.0, 1e-12, 2);
        close(c2, 19.947, 1e-3);
        // A channel that is always positive is passed through.
        let [c0, c1, c2] = coefficients(3.0, 1e-9, 2);
        close(c0, 0.0, 1e-300);
        close(c1, 1.0, 1e-300);
        close(c2, 0.0, 1e-300);
    }

    fn moments(expect: impl Fn(&dyn Fn(f64) -> f64) -> f64) -> Moments {
        Moments {
            powers: [1, 2, 3, 4].map(|k| expect(&|x: f64| x.powi(k))),
            rectified: [0, 1, 2].map(|k| expect(&|x: f64| relu(x) * x.powi(k))),
        }
    }

    #[test]
    fn least_squares_under_a_normal_distribution_are_the_closed_form() {
        for (mean, sigma) in [(0.0, 1.0), (0.5, 1.0), (-1.0, 1.5), (2.0, 0.7)] {
            let moments = moments(|f| expectation(mean, sigma, f));
            for degree in 0..=MAX_DEGREE {
                let got = least_squares(&moments, degree);
                let wanted = coefficients(mean, sigma * sigma, degree);
                for (got, wanted) in got.into_iter().zip(wanted) {
                    close(got, wanted, 1e-5);
                }
            }
        }
    }

    /// On a few points the error of the best polynomial is orthogonal to every power.
    #[test]
    fn least_squares_on_a_few_points_are_orthogonal_to_their_error() {
        let points = [-1.5, -0.2, 0.1, 0.7, 3.0];
        let mean = |f: &dyn Fn(f64) -> f64| points.into_iter().map(f).sum::<f64>() / 5.0;
        let moments = moments(mean);
        for degree in 0..=MAX_DEGREE {
            let c = least_squares(&moments, degree);
            for power in 0..=i32::try_from(degree).unwrap() {
                close(
                    mean(&|x| (relu(x) - polynomial(c, x)) * x.powi(power)),
                    0.0,
                    1e-9,
                );
            }
        }
        // Two points determine a line; the best parabola is that line.
        let [c0, c1, c2] = least_squares(&two_points(), 2);
        close(c0, 1.0, 1e-9);
        close(c1, 0.5, 1e-9);
        close(c2, 0.0, 1e-12);
    }

    fn two_points() -> Moments {
        moments(|f| 0.5 * (f(-2.0) + f(2.0)))
    }

    #[test]
    fn the_reference_puts_the_floored_variance_where_the_deviation_belongs() {
        // Below the floor: as a deviation of one half.
        let got = reference_coefficients(0.3, 0.01, 2);
        assert_eq!(
            got.map(f64::to_bits),
            coefficients(0.3, 0.25, 2).map(f64::to_bits)
        );
        let got = reference_coefficients(-0.5, 4.0, 2);
        assert_eq!(
            got.map(f64::to_bits),
            coefficients(-0.5, 16.0, 2).map(f64::to_bits)
        );
    }
}
