//! Named tensors: the form in which weights, optimizer buffers and indicators are saved, compared
//! and restored.

use tch::Tensor;

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
