//! A teacher other than the baseline.

use super::Checker;
use super::net::no_setting;
use crate::net::{FullActivation, NET_SETTINGS, depth_problem};
use crate::recipe::Teacher;

const SECTION: &str = "spec.teacher";

impl Checker {
    /// Puts the teacher into the recipes that are distilled from it.
    pub(super) fn settle_teacher(&mut self) {
        let Some(weights) = self.teacher.whole() else {
            return;
        };
        let mut net = self.settings.teacher.clone();
        // Nothing in it is replaced: it computes what its weights were trained for.
        net.activation.get_or_insert(FullActivation::Published);
        let net = net.spec();
        let teacher = Some(Teacher { net, weights });
        let arms = self.arms.iter_mut().map(|arm| &mut arm.settings);
        for settings in arms.chain([&mut self.settings]) {
            settings.replace.distillation.teacher.clone_from(&teacher);
            settings.finetune.distillation.teacher.clone_from(&teacher);
        }
    }

    /// A teacher is a net with its weights, whole or not at all.
    pub(super) fn teacher(&mut self) {
        let name = format!("{SECTION}.name");
        let is_below = |path: &String| path.starts_with("spec.teacher.");
        if !self.places.keys().any(is_below) {
            // Without keys there is no teacher; what is no mapping has a problem of its own.
            return;
        }
        let (file, sha256) = self.weights_and_digest(SECTION);
        if !file && !sha256 {
            let message = "expected weights and weights_sha256, the teacher's file: without this \
                           section the baseline teaches";
            self.problem(self.place(SECTION), SECTION, message);
        }
        if self.misspelt.contains(&name) {
            // It has a problem already.
        } else if !self.places.contains_key(&name) {
            let message = "is missing: expected the teacher's family, as in spec.net";
            self.problem(self.place(SECTION), &name, message);
        } else if !self.broken.contains(&name) {
            self.teachers_settings();
        }
    }

    /// Its settings must be ones that its family has.
    fn teachers_settings(&mut self) {
        let family = self.settings.teacher.name;
        for key in NET_SETTINGS {
            let path = format!("{SECTION}.{key}");
            if self.places.contains_key(&path) && !family.has(key) {
                self.problem(self.place(&path), &path, no_setting(key, family));
            }
        }
        let depth = format!("{SECTION}.depth");
        if !family.has("depth") {
            return;
        }
        if let Some(message) = depth_problem(self.settings.teacher.depth) {
            self.problem(self.place(&depth), &depth, message);
        }
    }
}
