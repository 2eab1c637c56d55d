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
}
