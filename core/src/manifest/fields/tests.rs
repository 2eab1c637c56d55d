use super::*;

#[test]
fn every_default_is_a_value_that_its_field_may_have() {
    for axis in axis_fields() {
        if let Some(value) = axis.field.default.value() {
            assert!(axis.fits(&value), "{}: {value}", axis.name());
        }
    }
}

#[test]
fn every_listed_choice_is_a_variant_that_can_be_put() {
    let manifest = crate::manifest::parse(crate::manifest::tests::SMALLEST).unwrap();
    for axis in axis_fields() {
        let Kind::Choice(names) = axis.field.kind else {
            continue;
        };
        for name in names {
            let mut settings = manifest.settings();
            let value = AxisValue::Choice((*name).to_owned());
            assert!(
                (axis.put)(&mut settings, &value).is_some(),
                "{}={name}",
                axis.name()
            );
        }
    }
}

#[test]
fn every_axis_changes_a_setting_and_none_the_same_one() {
    let manifest = crate::manifest::parse(crate::manifest::tests::SMALLEST).unwrap();
    let before = manifest.settings();
    let mut seen = Vec::new();
    for axis in axis_fields() {
        let other = match axis.field.kind {
            Kind::Switch => vec![AxisValue::Switch(true), AxisValue::Switch(false)],
            Kind::Count { min, max } => vec![AxisValue::Count(min), AxisValue::Count(max)],
            Kind::Number(range) => vec![AxisValue::Number((range.min + range.max) / 3.0)],
            Kind::Choice(names) => names
                .iter()
                .map(|name| AxisValue::Choice((*name).to_owned()))
                .collect(),
            kind @ (Kind::SweepName
            | Kind::OwnerName
            | Kind::Whole { .. }
            | Kind::Text
            | Kind::Memory
            | Kind::Labels
            | Kind::Exactly(_)
            | Kind::WeightsFile
            | Kind::Sha256
            | Kind::Duration { .. }
            | Kind::Budgets
            | Kind::Seeds
            | Kind::Grid
            | Kind::Arms) => panic!("{} is an axis of {kind:?}", axis.name()),
        };
        let mut changed = before.clone();
        for value in &other {
            (axis.put)(&mut changed, value).unwrap();
            if changed != before {
                break;
            }
        }
        assert_ne!(changed, before, "{}", axis.name());
        assert!(
            !seen.contains(&changed),
            "{} changes what another axis does",
            axis.name()
        );
        seen.push(changed);
    }
}

#[test]
fn axes_are_found_by_their_names_and_keys_are_there_once() {
    for axis in axis_fields() {
        let found = axis_field(&axis.name()).unwrap();
        assert!(std::ptr::eq(found.field, axis.field), "{}", axis.name());
    }
    for section in SECTIONS {
        let keys: Vec<&str> = section
            .fields()
            .map(|field| field.key)
            .chain(section.children().map(Section::key))
            .collect();
        let distinct: std::collections::BTreeSet<&&str> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len(), "{}", section.path);
    }
}
