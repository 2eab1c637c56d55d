//! Cross-entropy with labels and distillation from a teacher, as batch means.

use autorep_core::recipe::Distillation;
use tch::{Reduction, Tensor};

/// The cross-entropy of `logits` `[batch, classes]` with `labels` `[batch]` (i64), of which a
/// share of `smoothing` is spread evenly over all classes; a scalar.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Tensor {
    logits.cross_entropy_loss::<&Tensor>(labels, None, Reduction::Mean, -100, smoothing)
}

/// What a loss is the sum of, each a scalar with its weight.
#[derive(Debug)]
pub struct Terms {
    /// The cross-entropy with the labels.
    pub labels: Tensor,
    /// The divergence from the teacher.
    pub teacher: Option<Tensor>,
}

impl Terms {
    /// The loss.
    pub fn sum(&self) -> Tensor {
        match &self.teacher {
            Some(teacher) => &self.labels + teacher,
            None => self.labels.shallow_clone(),
        }
    }
}

/// `ce_weight * CE + kd_weight * τ² KL(softmax(t/τ) || softmax(s/τ))`. Without a teacher's logits,
/// or with a weight of zero, the second term is left out.
pub fn distilled(
    recipe: &Distillation,
    student: &Tensor,
    teacher: Option<&Tensor>,
    labels: &Tensor,
    smoothing: f64,
) -> Terms {
    let hard = cross_entropy(student, labels, smoothing) * recipe.ce_weight;
    let Some(teacher) = teacher.filter(|_| recipe.kd_weight != 0.0) else {
        return Terms {
            labels: hard,
            teacher: None,
        };
    };
    let tau = recipe.temperature;
    let soften = |logits: &Tensor| (logits / tau).log_softmax(1, None);
    let batch = student.size()[0] as f64;
    let scale = recipe.kd_weight * tau * tau / batch;
    let soft = soften(student).kl_div(&soften(&teacher.detach()), Reduction::Sum, true);
    Terms {
        labels: hard,
        teacher: Some(soft * scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(kd_weight: f64, ce_weight: f64) -> Distillation {
        Distillation {
            temperature: 4.0,
            kd_weight,
            ce_weight,
            teacher: None,
        }
    }

    #[test]
    fn distillation_equals_the_sum_written_out() {
        let (s, t) = (
            [[1.0_f64, -2.0, 0.5], [0.0, 3.0, 1.0]],
            [[2.0, 0.0, -1.0], [1.0, 1.0, 4.0]],
        );
        let tensor = |rows: [[f64; 3]; 2]| Tensor::from_slice(&rows.concat()).view([2, 3]);
        let labels = Tensor::from_slice(&[0_i64, 2]);
        let softmax = |row: [f64; 3]| {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            row.map(|x| x.exp() / sum)
        };
        let (mut soft, mut hard) = (0.0, 0.0);
        for (row, label) in [0_usize, 1].into_iter().zip([0_usize, 2]) {
            hard -= softmax(s[row])[label].ln() / 2.0;
            let (p, q) = (
                softmax(t[row].map(|x| x / 4.0)),
                softmax(s[row].map(|x| x / 4.0)),
            );
            let kl: f64 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
            soft += 16.0 * kl / 2.0;
        }
        let (student, teacher) = (tensor(s), tensor(t));
        let got = distilled(&recipe(0.7, 0.3), &student, Some(&teacher), &labels, 0.0).sum();
        assert!((got.double_value(&[]) - (0.3 * hard + 0.7 * soft)).abs() < 1e-9);
        let got = distilled(&recipe(0.0, 1.0), &student, None, &labels, 0.0).sum();
        assert!((got.double_value(&[]) - hard).abs() < 1e-9);
        // Smoothing by 0.3 mixes in the mean of the cross-entropies with every class.
        let got = cross_entropy(&student, &labels, 0.3).double_value(&[]);
        let mut even = 0.0;
        for row in s {
            even -= softmax(row).iter().map(|p| p.ln()).sum::<f64>() / 6.0;
        }
        assert!((got - (0.7 * hard + 0.3 * even)).abs() < 1e-9);
    }

    #[test]
    fn no_gradient_reaches_the_teacher() {
        let student = Tensor::from_slice(&[1.0_f32, 2.0])
            .view([1, 2])
            .set_requires_grad(true);
        let teacher = Tensor::from_slice(&[2.0_f32, 1.0])
            .view([1, 2])
            .set_requires_grad(true);
        let labels = Tensor::from_slice(&[0_i64]);
        let terms = distilled(&recipe(1.0, 1.0), &student, Some(&teacher), &labels, 0.0);
        terms.sum().backward();
        assert!(student.grad().defined());
        assert!(!teacher.grad().defined());
    }
}
