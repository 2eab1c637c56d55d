//! Holds the schema and the parser together.

use std::fs;

use serde_json::Value as Json;

use super::{SMALLEST, good, good_files};
use crate::manifest::fields::{SECTIONS, Section};
use crate::manifest::{json_schema, parse};

/// Whether a value meets a schema, for the keywords that ours uses; patterns are left to editors.
fn meets(schema: &Json, value: &Json, path: &str) -> Result<(), String> {
    let schema = schema.as_object().ok_or(format!("{path}: no schema"))?;
    for (keyword, rule) in schema {
        let met = match keyword.as_str() {
            "items" => {
                for element in value.as_array().into_iter().flatten() {
                    meets(rule, element, path)?;
                }
                true
            }
            "properties" => {
                for (key, below) in value.as_object().into_iter().flatten() {
                    match rule.get(key) {
                        Some(rule) => meets(rule, below, &format!("{path}.{key}"))?,
                        None => return Err(format!("{path}: unknown key {key}")),
                    }
                }
                true
            }
            "anyOf" => {
                let mut options = rule.as_array().unwrap().iter();
                options.any(|option| meets(option, value, path).is_ok())
            }
            "additionalProperties" => *rule == Json::Bool(false),
            _ => meets_keyword(keyword, rule, value),
        };
        if !met {
            return Err(format!("{path}: {value} is not {keyword} {rule}"));
        }
    }
    Ok(())
}

/// Whether a value meets a keyword that has no schema below it.
fn meets_keyword(keyword: &str, rule: &Json, value: &Json) -> bool {
    let number = || value.as_f64().zip(rule.as_f64());
    let length = || {
        let list = value.as_array().map(|list| list.len() as u64);
        list.zip(rule.as_u64())
    };
    match keyword {
        "type" => {
            let names = rule
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![rule.clone()]);
            let mut names = names.iter().map(|name| name.as_str().unwrap());
            names.any(|name| has_type(name, value))
        }
        "const" => value == rule,
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => number().is_none_or(|(number, least)| number >= least),
        "maximum" => number().is_none_or(|(number, most)| number <= most),
        "exclusiveMinimum" => number().is_none_or(|(number, least)| number > least),
        "exclusiveMaximum" => number().is_none_or(|(number, most)| number < most),
        "minItems" => length().is_none_or(|(length, least)| length >= least),
        "maxItems" => length().is_none_or(|(length, most)| length <= most),
        "required" => value.as_object().is_none_or(|map| {
            let mut keys = rule.as_array().unwrap().iter();
            keys.all(|key| map.contains_key(key.as_str().unwrap()))
        }),
        "$schema" | "title" | "description" | "default" | "pattern" | "minLength" | "maxLength"
        | "uniqueItems" => true,
        other => panic!("unknown keyword {other}"),
    }
}

fn has_type(name: &str, value: &Json) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn the_schema_accepts_what_the_parser_accepts() {
    let schema = json_schema();
    let mut texts: Vec<String> = good_files()
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    texts.push(SMALLEST.to_owned());
    for text in texts {
        good(&text);
        let value: Json = serde_yaml::from_str(&text).unwrap();
        meets(&schema, &value, "").unwrap();
    }
}

#[test]
fn the_schema_refuses_slips_of_keys_and_values() {
    let schema = json_schema();
    let slips = [
        ("epochs: 2", "epoch: 2"),
        ("budgets: [10%]", "budgets: []"),
        ("name: resnet9", "name: resnet8"),
        ("epochs: 3", "epochs: 3, penalty: -1"),
        ("kind: Sweep", "kind: Job"),
    ];
    for (right, wrong) in slips {
        let text = SMALLEST.replace(right, wrong);
        let value: Json = serde_yaml::from_str(&text).unwrap();
        assert!(meets(&schema, &value, "").is_err(), "{wrong}");
        assert!(parse(&text).is_err(), "{wrong}");
    }
}

#[test]
fn every_field_of_the_table_is_described_in_the_schema_and_no_other() {
    let schema = json_schema();
    for section in SECTIONS {
        let mut below = &schema;
        for key in section.path.split('.').filter(|key| !key.is_empty()) {
            below = &below["properties"][key];
        }
        assert_eq!(below["description"], section.doc, "{}", section.path);
        assert_eq!(below["additionalProperties"], false, "{}", section.path);
        let mut keys: Vec<&str> = section.fields().map(|field| field.key).collect();
        keys.extend(section.children().map(Section::key));
        keys.sort_unstable();
        let found: Vec<&String> = below["properties"].as_object().unwrap().keys().collect();
        assert_eq!(found, keys, "{}", section.path);
        for field in section.fields() {
            let described = below["properties"][field.key]["description"].as_str();
            assert!(
                described.is_some_and(|text| text.starts_with(field.doc)),
                "{}",
                field.key
            );
        }
    }
}
