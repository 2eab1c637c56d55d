//! The JSON Schema of manifests, for editors, made from the table of fields.

use serde_json::{Map, Value, json};

use super::check::{ARM_FIELDS, MAX_ARMS, MAX_AXIS_VALUES, RANGE_KEYS, SCALES};
use super::fields::{Fallback, Field, Kind, SECTIONS, Section, axis_fields};

/// The JSON Schema (draft 2020-12) of manifests. It accepts every manifest that
/// [`super::parse`] accepts; what depends on several keys at once only `parse` checks.
pub fn json_schema() -> Value {
    let Some(root) = SECTIONS.first() else {
        return Value::Bool(false);
    };
    let mut schema = section_schema(root);
    if let Value::Object(map) = &mut schema {
        map.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        map.insert("title".to_owned(), json!("autorep sweep manifest"));
    }
    schema
}

fn section_schema(section: &'static Section) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in section.fields() {
        properties.insert(field.key.to_owned(), field_schema(field));
        if field.default == Fallback::Required && !may_be_an_axis(section, field) {
            required.push(json!(field.key));
        }
    }
    for child in section.children() {
        properties.insert(child.key().to_owned(), section_schema(child));
        if needed(child) {
            required.push(json!(child.key()));
        }
    }
    // A mapping without needed keys may also be left empty, which YAML reads as null.
    let kind = if required.is_empty() {
        json!(["object", "null"])
    } else {
        json!("object")
    };
    json!({
        "type": kind,
        "description": section.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Whether an axis may stand in for a field that is required otherwise.
fn may_be_an_axis(section: &Section, field: &Field) -> bool {
    let name = format!("{}.{}", section.key(), field.key);
    super::fields::axis_field(&name).is_some()
}

/// Whether a manifest without this section cannot be good.
fn needed(section: &'static Section) -> bool {
    section
        .fields()
        .any(|field| field.default == Fallback::Required && !may_be_an_axis(section, field))
        || section.children().any(needed)
}

fn field_schema(field: &Field) -> Value {
    let mut schema = value_schema(field.kind);
    if let Value::Object(map) = &mut schema {
        map.insert("description".to_owned(), json!(field.doc));
        let default = match field.default {
            Fallback::Required => None,
            Fallback::Switch(value) => Some(json!(value)),
            Fallback::Count(value) => Some(json!(value)),
            Fallback::Number(value) => Some(json!(value)),
            Fallback::Choice(name) => Some(json!(name)),
            Fallback::Seconds(seconds) => Some(json!(format!("{seconds}s"))),
            Fallback::Derived(words) => {
                map.insert(
                    "description".to_owned(),
                    json!(format!("{} Default: {words}.", field.doc)),
                );
                None
            }
        };
        if let Some(default) = default {
            map.insert("default".to_owned(), default);
        }
    }
    schema
}

fn value_schema(kind: Kind) -> Value {
    match kind {
        Kind::SweepName => json!({
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
            "minLength": 1,
            "maxLength": 63,
        }),
        Kind::OwnerName => value_schema(Kind::SweepName),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Text => json!({ "type": "string", "minLength": 1, "maxLength": 64 }),
        Kind::Memory => json!({ "type": "string", "pattern": "^[0-9]+ *(MiB|GiB|TiB)$" }),
        Kind::Labels => json!({
            "type": "array",
            "minItems": 1,
            "uniqueItems": true,
            "items": { "type": "string", "pattern": "^[A-Za-z0-9_./-]+=[A-Za-z0-9_./-]+$" },
        }),
        Kind::WeightsFile => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        Kind::Sha256 => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
        Kind::Exactly(text) => json!({ "const": text }),
        Kind::Choice(names) => json!({ "enum": names }),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number(range) => {
            let min = if range.min_fits {
                "minimum"
            } else {
                "exclusiveMinimum"
            };
            let max = if range.max_fits {
                "maximum"
            } else {
                "exclusiveMaximum"
            };
            json!({ "type": "number", min: range.min, max: range.max })
        }
        Kind::Duration { whole, .. } => {
            let pattern = if whole {
                "^[0-9.]+ *(s|m|h)$"
            } else {
                "^[0-9.]+ *(ms|s|m|h)$"
            };
            json!({ "type": "string", "pattern": pattern })
        }
        Kind::Budgets => budgets_schema(),
        Kind::Seeds => seeds_schema(),
        Kind::Grid => grid_schema(),
        Kind::Arms => arms_schema(),
    }
}

fn budgets_schema() -> Value {
    let budget = json!({
        "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string", "pattern": "^[0-9.]+ *[kKmM%]?$" },
        ],
    });
    json!({
        "anyOf": [
            { "type": "array", "minItems": 1, "uniqueItems": true, "items": budget },
            {
                "type": "object",
                "properties": {
                    "from": budget,
                    "to": budget,
                    "points": { "type": "integer", "minimum": 2 },
                    "refine": {
                        "type": "object",
                        "properties": {
                            "first": { "type": "integer", "minimum": 2 },
                            "until": { "type": "number", "minimum": 0 },
                        },
                        "required": ["first"],
                        "additionalProperties": false,
                    },
                },
                "required": ["from", "to", "points"],
                "additionalProperties": false,
            },
        ],
    })
}

fn seeds_schema() -> Value {
    let seed = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    json!({
        "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "array", "minItems": 1, "uniqueItems": true, "items": seed },
            {
                "type": "object",
                "properties": {
                    "min": { "type": "integer", "minimum": 1 },
                    "max": { "type": "integer", "minimum": 1 },
                    "until": { "type": "number", "minimum": 0.5, "exclusiveMaximum": 1 },
                },
                "required": ["min", "max"],
                "additionalProperties": false,
            },
        ],
    })
}

/// The keys of an arm are those of `spec` with the same names, and a name.
fn arms_schema() -> Value {
    let mut properties = Map::new();
    properties.insert("name".to_owned(), value_schema(Kind::SweepName));
    for section in SECTIONS {
        match section.path {
            "spec" => {
                for field in section.fields().filter(|it| ARM_FIELDS.contains(&it.key)) {
                    properties.insert(field.key.to_owned(), field_schema(field));
                }
            }
            "spec.replace" | "spec.finetune" => {
                let schema = section_schema(section);
                properties.insert(section.key().to_owned(), schema);
            }
            _ => {}
        }
    }
    json!({
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_ARMS,
        "items": {
            "type": "object",
            "properties": properties,
            "required": ["name"],
            "additionalProperties": false,
        },
    })
}

fn grid_schema() -> Value {
    let axes: Map<String, Value> = axis_fields()
        .map(|axis| (axis.name(), axis_schema(axis.field)))
        .collect();
    json!({
        "type": ["object", "null"],
        "properties": axes,
        "additionalProperties": false,
    })
}

fn axis_schema(field: &Field) -> Value {
    let value = value_schema(field.kind);
    let list = json!({
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_AXIS_VALUES,
        "uniqueItems": true,
        "items": value,
    });
    let shapes = if matches!(field.kind, Kind::Count { .. } | Kind::Number(_)) {
        let [from, to, steps, scale] = RANGE_KEYS;
        let range = json!({
            "type": "object",
            "properties": {
                from: value,
                to: value,
                steps: { "type": "integer", "minimum": 2, "maximum": MAX_AXIS_VALUES },
                scale: { "enum": SCALES, "default": SCALES[0] },
            },
            "required": [from, to, steps],
            "additionalProperties": false,
        });
        json!([list, range])
    } else {
        json!([list])
    };
    json!({ "description": field.doc, "anyOf": shapes })
}
