//! Named tensors: the form in which weights, optimizer buffers and indicators are saved, compared
//! and restored.

use tch::{Device, Kind, Tensor};

/// Tensors with their keys in a checkpoint, in a fixed order. They share storage with the live
/// ones: copying into them restores.
pub type Named = Vec<(String, Tensor)>;

/// Copies that later training steps leave alone.
pub fn snapshot(named: &Named) -> Named {
    named
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.detach().copy()))
        .collect()
}

/// The same tensors under keys that start with `prefix`.
pub fn with_prefix(prefix: &str, named: Named) -> Named {
    named
        .into_iter()
        .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
        .collect()
}

/// Handles of the same tensors.
pub fn shared(named: &Named) -> Named {
    named
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .collect()
}

/// A number that the tensors' bits decide: equal tensors have equal ones, others hardly ever.
pub fn bits(named: &Named) -> u64 {
    let sums: Vec<Tensor> = named
        .iter()
        .filter(|(_, tensor)| tensor.numel() > 0)
        .map(|(_, tensor)| {
            let flat = tensor.detach().contiguous().flatten(0, -1);
            // Everything that is saved is in one of these or in whole numbers.
            let kind = flat.kind();
            let whole = if kind == Kind::Float {
                flat.view_dtype(Kind::Int)
            } else if kind == Kind::Double {
                flat.view_dtype(Kind::Int64)
            } else {
                flat
            };
            whole.sum(Kind::Int64)
        })
        .collect();
    if sums.is_empty() {
        return 0;
    }
    let sums = Tensor::stack(&sums, 0).to_device(Device::Cpu);
    let sums = Vec::<i64>::try_from(sums).expect("sums are one-dimensional i64");
    let mixed = |all: u64, sum: i64| {
        (all ^ sum.cast_unsigned())
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(17)
    };
    sums.into_iter().fold(0, mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_bit_and_two_tensors_in_each_others_place_change_the_number() {
        let named = |first: f32, second: f32| {
            let tensor = |value: f32| Tensor::from_slice(&[value, 1.0]);
            vec![
                ("a".to_owned(), tensor(first)),
                ("b".to_owned(), tensor(second)),
            ]
        };
        let number = bits(&named(0.5, 0.25));
        assert_eq!(number, bits(&named(0.5, 0.25)));
        let next = f32::from_bits(0.5_f32.to_bits() + 1);
        assert_ne!(number, bits(&named(next, 0.25)));
        assert_ne!(number, bits(&named(0.25, 0.5)));
    }
}
