//! What holds for every text.

use std::fs;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::{good, good_files};
use crate::manifest::{parse, render};
use crate::plan::Plan;

/// Every mapping of a YAML value, as text with its keys in a given order.
fn shuffled(value: &Json, order: &mut impl FnMut(usize) -> usize) -> String {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<(&String, &Json)> = map.iter().collect();
            let mut text = Vec::new();
            while !entries.is_empty() {
                let (key, below) = entries.swap_remove(order(entries.len()) % entries.len());
                text.push(format!("{key:?}: {}", shuffled(below, order)));
            }
            format!("{{{}}}", text.join(", "))
        }
        Json::Array(list) => {
            let elements: Vec<String> = list
                .iter()
                .map(|element| shuffled(element, order))
                .collect();
            format!("[{}]", elements.join(", "))
        }
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => {
            other.to_string()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_does_not_depend_on_the_order_of_keys(
        choices in prop::collection::vec(any::<usize>(), 64),
        which in any::<prop::sample::Index>(),
    ) {
        let files = good_files();
        let text = fs::read_to_string(which.get(&files)).unwrap();
        let manifest = good(&text);
        let value: Json = serde_yaml::from_str(&text).unwrap();
        let mut index = 0;
        let other = shuffled(&value, &mut |_| {
            index += 1;
            choices[index % choices.len()]
        });
        let reordered = good(&other);
        prop_assert_eq!(&reordered, &manifest);
        prop_assert_eq!(Plan::expand(&reordered).digest(), Plan::expand(&manifest).digest());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        check_positions(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_the_parser_panic(
        text in "([a-z]{1,6}|[:\\-\\[\\]{},&*!|>'\"%@`#?~\\n\\t ]|[0-9.e+-]{1,4}|spec|grid){0,60}",
    ) {
        check_positions(&text);
    }

    #[test]
    fn no_change_to_a_good_manifest_makes_the_parser_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        cut in 0usize..20,
        insert in "[ -~\\n]{0,12}",
    ) {
        let files = good_files();
        let text: Vec<char> = fs::read_to_string(which.get(&files)).unwrap().chars().collect();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        let changed: String = text[..start]
            .iter()
            .copied()
            .chain(insert.chars())
            .chain(text[end..].iter().copied())
            .collect();
        check_positions(&changed);
    }
}

/// Parses a text and holds its problems to what all problems must be.
fn check_positions(text: &str) {
    if let Err(problems) = parse(text) {
        assert!(!problems.is_empty());
        assert!(problems.is_sorted());
        for problem in &problems {
            assert!(problem.line >= 1 && problem.column >= 1, "{problem}");
            assert!(!problem.message.contains('\n'), "{problem}");
        }
        assert!(!render(&problems, "x.yaml", text).is_empty());
    }
}
