//! Tests that need more than one crate; they are in `tests/it`. The library is empty: it is here
//! because a package needs a target.
