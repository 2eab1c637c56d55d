//! One number for a whole front.

/// The area of the unit square that points dominate, each a pair (ReLU share, accuracy) of shares
/// of one: the set of all (x, y) with a point at most x to the left and at least y high. The
/// reference point is (1, 0). Points may come in any order and may dominate one another; shares
/// are clamped to 0..1 and pairs that are not numbers are left out.
///
/// ```
/// use autorep_core::front::hypervolume;
/// assert_eq!(hypervolume(&[]), 0.0);
/// assert_eq!(hypervolume(&[(0.0, 1.0)]), 1.0);
/// assert_eq!(hypervolume(&[(0.5, 0.75), (0.25, 0.5)]), 0.25 * 0.5 + 0.5 * 0.75);
/// ```
pub fn hypervolume(points: &[(f64, f64)]) -> f64 {
    let mut steps: Vec<(f64, f64)> = points
        .iter()
        .filter(|(share, accuracy)| !share.is_nan() && !accuracy.is_nan())
        .map(|(share, accuracy)| (share.clamp(0.0, 1.0), accuracy.clamp(0.0, 1.0)))
        .collect();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut area = 0.0;
    let mut height = 0.0_f64;
    let mut reached = 0.0;
    for (share, accuracy) in steps {
        area += (share - reached) * height;
        reached = share;
        height = height.max(accuracy);
    }
    area + (1.0 - reached) * height
}
