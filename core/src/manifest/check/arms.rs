//! Arms: ways of replacing `ReLUs` that a sweep compares over the same baselines.
//!
//! An arm is read as the sections of `spec` with its own keys laid over theirs, so that it is
//! checked by the same table and gets the same defaults.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Checker, Key, Kind, Node, Place, Refusal, SECTIONS, Settings, Value, closest, read, shown,
};
use crate::manifest::Arm;

/// The most arms of a sweep.
pub(in crate::manifest) const MAX_ARMS: usize = 100;

/// The fields of `spec` that an arm may have, too.
pub(in crate::manifest) const ARM_FIELDS: [&str; 2] = ["preset", "method"];

/// The sections of `spec` that an arm may have, too.
const ARM_SECTIONS: [&str; 2] = ["spec.replace", "spec.finetune"];

/// Whether an arm may say what this section holds.
pub(super) fn is_own(section: &str) -> bool {
    ARM_SECTIONS.contains(&section)
}

/// An arm with where its values stand.
#[derive(Clone)]
pub(super) struct GivenArm {
    pub(super) name: Option<String>,
    pub(super) settings: Settings,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) broken: BTreeSet<String>,
}

impl Checker {
    /// Reads `spec.arms`, or makes the one arm that there is without it.
    pub(super) fn arms(&mut self, root: &Node) {
        let spec = entry(root.map(), "spec").and_then(|(_, node)| node.map());
        let arms = entry(spec, "arms").filter(|(_, node)| node.value != Value::Null);
        let Some((_, node)) = arms else {
            self.arms = vec![self.as_arm(None)];
            return;
        };
        let path = "spec.arms";
        let Some(list) = node
            .list()
            .filter(|list| (1..=MAX_ARMS).contains(&list.len()))
        else {
            let found = match node.list() {
                Some(list) => format!("{} of them", list.len()),
                None => node.found(),
            };
            let expected = format!("{}, at most {MAX_ARMS}", read::expected(Kind::Arms));
            return self.refused(node.place, path, Refusal::new(&expected, &found));
        };
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (index, arm) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(entries) = arm.map() else {
                let message = format!("expected keys with values, found {}", arm.found());
                self.problem(arm.place, &path, message);
                continue;
            };
            let name = self.arm_name(&path, arm.place, entries);
            if let Some(name) = &name
                && !names.insert(name.clone())
            {
                let message = format!("the name {name} is given twice");
                self.problem(arm.place, &path, message);
            }
            self.arm(&path, spec.unwrap_or_default(), entries, name);
        }
    }

    fn as_arm(&self, name: Option<String>) -> GivenArm {
        GivenArm {
            name,
            settings: self.settings.clone(),
            places: self.places.clone(),
            broken: self.broken.clone(),
        }
    }

    /// An arm's name, by the rules for sweeps' names.
    fn arm_name(&mut self, path: &str, place: Place, entries: &[(Key, Node)]) -> Option<String> {
        let path = format!("{path}.name");
        let Some((_, node)) = entry(Some(entries), "name") else {
            let message = "is missing: expected a name for the arm";
            self.problem(place, &path, message);
            return None;
        };
        match read::sweep_name(node) {
            Ok(name) => Some(name.as_str().to_owned()),
            Err(refusal) => {
                self.refused(node.place, &path, refusal);
                None
            }
        }
    }

    fn arm(
        &mut self,
        path: &str,
        spec: &[(Key, Node)],
        entries: &[(Key, Node)],
        name: Option<String>,
    ) {
        let outer = self.as_arm(None);
        let (preset, method) = (self.preset.clone(), self.method.clone());
        self.defaults_of(entries);
        self.arms_follow = false;
        self.broken
            .retain(|path| !ARM_SECTIONS.iter().any(|own| path.starts_with(own)));
        let mut seen = BTreeSet::new();
        for (key, node) in entries {
            let known = |word: &str| ARM_SECTIONS.contains(&format!("spec.{word}").as_str());
            let word = key.text.as_str();
            if !seen.insert(word) {
                self.problem(
                    key.place,
                    &format!("{path}.{}", shown(word)),
                    "is given twice",
                );
            } else if ARM_FIELDS.contains(&word) {
                let spec = SECTIONS.iter().find(|section| section.path == "spec");
                let field = spec.and_then(|spec| spec.fields().find(|field| field.key == word));
                if let Some(field) = field {
                    self.field(field, &format!("spec.{word}"), node);
                }
            } else if word != "name" && !known(word) {
                let names = ["name", "preset", "method", "replace", "finetune"];
                let message = format!("unknown key, expected one of {}", names.join(", "));
                let mut problem = key
                    .place
                    .problem(format!("{path}.{}", shown(word)), message);
                problem.suggestion = closest(word, names).map(str::to_owned);
                self.problems.push(problem);
            }
        }
        for section in SECTIONS.iter().filter(|section| is_own(section.path)) {
            let (below, above) = (
                entry(Some(spec), section.key()),
                entry(Some(entries), section.key()),
            );
            let place = above
                .or(below)
                .map_or_else(|| self.place(path), |(key, _)| key.place);
            let merged = overlaid(
                below.map(|(_, node)| node),
                above.map(|(_, node)| node),
                place,
            );
            self.section(section, Some(&merged), place);
        }
        let arm = self.as_arm(name);
        self.arms.push(arm);
        (self.settings, self.places, self.broken) = (outer.settings, outer.places, outer.broken);
        (self.preset, self.method) = (preset, method);
        self.arms_follow = true;
    }

    /// The arms without places, by rising name.
    pub(super) fn plain_arms(&self) -> Vec<Arm> {
        let mut arms: Vec<Arm> = (self.arms.iter())
            .map(|arm| Arm {
                name: arm.name.clone(),
                replace: arm.settings.replace.clone(),
                finetune: arm.settings.finetune.clone(),
            })
            .collect();
        arms.sort_by(|left, right| left.name.cmp(&right.name));
        arms
    }

    /// Looks at every arm in turn as if its settings were the sweep's.
    pub(super) fn for_each_arm(&mut self, look: impl Fn(&mut Self)) {
        for index in 0..self.arms.len() {
            let arm = self.arms[index].clone();
            let outer = self.as_arm(None);
            // Everything else is settled by now.
            self.settings.replace = arm.settings.replace;
            self.settings.finetune = arm.settings.finetune;
            self.places = arm.places;
            self.broken
                .retain(|path| !ARM_SECTIONS.iter().any(|own| path.starts_with(own)));
            self.broken.extend(arm.broken);
            look(self);
            (self.settings, self.places, self.broken) =
                (outer.settings, outer.places, outer.broken);
        }
    }
}

/// The first entry of this name.
fn entry<'a>(entries: Option<&'a [(Key, Node)]>, name: &str) -> Option<&'a (Key, Node)> {
    entries?.iter().find(|(key, _)| key.text == name)
}

/// A section's entries with those of an arm in place of its own. What is no mapping stays as it
/// is, for the walk to refuse.
fn overlaid(below: Option<&Node>, above: Option<&Node>, place: Place) -> Node {
    let empty = |node: &Node| node.value == Value::Null;
    let mut entries: Vec<(Key, Node)> = match above {
        Some(node) if !empty(node) => match node.map() {
            Some(entries) => entries.to_vec(),
            None => return node.clone(),
        },
        _ => Vec::new(),
    };
    if let Some(below) = below.and_then(Node::map) {
        let mut others = below.to_vec();
        others.retain(|(key, _)| !entries.iter().any(|(own, _)| own.text == key.text));
        entries.append(&mut others);
    }
    Node {
        value: Value::Map(entries),
        place,
    }
}
