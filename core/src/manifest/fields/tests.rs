use super::*;

#[test]
fn every_default_is_a_value_that_its_field_may_have() {
    for axis in axis_fields() {
        if let Some(value) = axis.field.default.value() {
            assert!(axis.fits(&value), "{}: {value}", axis.name());
        }
    }
}
