//! What is left out of records and specs because it says nothing.

/// Whether a value is its type's default: those are not written down.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
