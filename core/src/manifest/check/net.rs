//! Settings of the net that its family does not have or cannot have.

use super::{Checker, GivenValue};
use crate::manifest::AxisValue;
use crate::net::{Family, NET_SETTINGS, depth_problem};

impl Checker {
    /// A setting must be one that some net of the grid has. One that others lack has no effect
    /// on them.
    pub(super) fn net_settings(&mut self) {
        let families = self.families();
        if families.is_empty() {
            return;
        }
        for key in NET_SETTINGS {
            let field = format!("net.{key}");
            let path = format!("spec.{field}");
            if families.iter().any(|family| family.has(key)) {
                continue;
            }
            let message = no_setting(key, families[0]);
            if self.places.contains_key(&path) {
                self.problem(self.place(&path), &path, message);
            } else if let Some(axis) = self.axes.iter().find(|axis| axis.field.name() == field) {
                let place = axis.place;
                self.problem(place, &format!("spec.grid.{field}"), message);
            } else {
                continue;
            }
            self.broken.insert(path);
        }
        if families.contains(&Family::WideResnet) {
            self.depths();
        }
    }

    /// The families of the grid's nets.
    fn families(&self) -> Vec<Family> {
        let names = self.values("net.name");
        Family::ALL
            .into_iter()
            .filter(|family| {
                let own = AxisValue::Choice(family.name().to_owned());
                names.iter().any(|name| name.value == own)
            })
            .collect()
    }

    /// A family of the grid that does not have the setting at this path.
    pub(super) fn family_without(&self, field: &str) -> Option<Family> {
        let key = field.strip_prefix("net.")?;
        if !NET_SETTINGS.contains(&key) {
            return None;
        }
        self.families().into_iter().find(|family| !family.has(key))
    }

    fn depths(&mut self) {
        for GivenValue { value, place, path } in self.values("net.depth") {
            let AxisValue::Count(depth) = value else {
                continue;
            };
            if let Some(message) = depth_problem(u32::try_from(depth).unwrap_or(u32::MAX)) {
                self.problem(place, &path, message);
                self.broken.insert("spec.net.depth".to_owned());
            }
        }
    }
}

/// Why a net of this family cannot have this setting.
pub(super) fn no_setting(key: &str, family: Family) -> String {
    let having = Family::ALL.into_iter().filter(|family| family.has(key));
    let having: Vec<&str> = having.map(Family::name).collect();
    format!(
        "is no setting of {}: remove it, it belongs to {}",
        family.name(),
        having.join(", ")
    )
}
