//! The settings of a manifest's net: every family's together, of which a net takes its own.

use serde::{Deserialize, Serialize};

use super::{
    CifarResnet, Efficientnet, Family, FullActivation, ImagenetResnet, Lite, NetSpec, Pool,
    WideResnet,
};

/// A family with the settings of every family, as a manifest gives them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetSettings {
    /// The family.
    pub name: Family,
    /// See [`CifarResnet::width`] and [`ImagenetResnet::width`].
    pub width: u32,
    /// See [`CifarResnet::stem_relu`].
    pub stem_relu: bool,
    /// See [`WideResnet::depth`].
    pub depth: u32,
    /// See [`WideResnet::widen`].
    pub widen: u32,
    /// See [`WideResnet::final_relu`].
    pub final_relu: bool,
    /// See [`ImagenetResnet::stem_pool`].
    pub stem_pool: Pool,
    /// See [`Efficientnet::se_sites`].
    pub se_sites: bool,
    /// See [`FullActivation`]; `None` for the family's own default.
    pub activation: Option<FullActivation>,
}

/// The keys of the settings.
pub const NET_SETTINGS: [&str; 8] = [
    "width",
    "stem_relu",
    "depth",
    "widen",
    "final_relu",
    "stem_pool",
    "se_sites",
    "activation",
];

impl Family {
    /// Whether the family has the setting with this key.
    pub fn has(self, setting: &str) -> bool {
        let own: &[&str] = match self {
            Self::Resnet9 | Self::Resnet18 | Self::Resnet34 => &["width", "stem_relu"],
            Self::WideResnet => &["depth", "widen", "final_relu"],
            Self::ImagenetResnet18 | Self::ImagenetResnet50 => &["width", "stem_pool"],
            Self::EfficientnetB0 | Self::EfficientnetB1 | Self::EfficientnetB2 => {
                &["se_sites", "activation"]
            }
            Self::EfficientnetLite0 => &["activation"],
        };
        own.contains(&setting)
    }

    /// The net that a manifest gets which names the family alone.
    pub const fn default_settings(self) -> NetSettings {
        NetSettings {
            name: self,
            width: 64,
            stem_relu: false,
            depth: 22,
            widen: 8,
            final_relu: false,
            stem_pool: Pool::Max,
            se_sites: true,
            activation: None,
        }
    }
}

impl NetSettings {
    /// The same with another value of one setting, both as a manifest writes them.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, String> {
        if !self.name.has(key) {
            let own = NET_SETTINGS.into_iter().filter(|key| self.name.has(key));
            let own: Vec<&str> = own.collect();
            let name = self.name.name();
            return Err(format!("no such setting: {name} has {}", own.join(", ")));
        }
        let value = serde_json::from_str(value)
            .unwrap_or_else(|_no_number| serde_json::Value::String(value.to_owned()));
        let mut settings = serde_json::to_value(self).map_err(|error| error.to_string())?;
        settings[key] = value;
        serde_json::from_value(settings).map_err(|error| format!("{key}: {error}"))
    }

    /// The net: the family with its own settings. The others have no effect.
    pub fn spec(&self) -> NetSpec {
        let cifar = || CifarResnet {
            width: self.width,
            stem_relu: self.stem_relu,
        };
        let imagenet = || ImagenetResnet {
            width: self.width,
            stem_pool: self.stem_pool,
        };
        let efficientnet = || Efficientnet {
            se_sites: self.se_sites,
            activation: self.activation.unwrap_or(FullActivation::Relu),
        };
        match self.name {
            Family::Resnet9 => NetSpec::Resnet9(cifar()),
            Family::Resnet18 => NetSpec::Resnet18(cifar()),
            Family::Resnet34 => NetSpec::Resnet34(cifar()),
            Family::WideResnet => NetSpec::WideResnet(WideResnet {
                depth: self.depth,
                widen: self.widen,
                final_relu: self.final_relu,
            }),
            Family::ImagenetResnet18 => NetSpec::ImagenetResnet18(imagenet()),
            Family::ImagenetResnet50 => NetSpec::ImagenetResnet50(imagenet()),
            Family::EfficientnetB0 => NetSpec::EfficientnetB0(efficientnet()),
            Family::EfficientnetB1 => NetSpec::EfficientnetB1(efficientnet()),
            Family::EfficientnetB2 => NetSpec::EfficientnetB2(efficientnet()),
            Family::EfficientnetLite0 => NetSpec::EfficientnetLite0(Lite {
                activation: self.activation.unwrap_or(FullActivation::Published),
            }),
        }
    }
}

/// Why a wide ResNet cannot have this depth.
pub(crate) fn depth_problem(depth: u32) -> Option<String> {
    if depth >= 10 && depth % 6 == 4 {
        return None;
    }
    let below = depth.saturating_sub(4) / 6 * 6 + 4;
    let near = [below, below + 6];
    let near = near.iter().find(|near| **near >= 10).unwrap_or(&10);
    Some(format!(
        "expected a depth of four more than a multiple of six, such as {near}, found {depth}"
    ))
}
