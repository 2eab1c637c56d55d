//! What workers have and what tasks need.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What one worker trains on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Offer {
    /// Ranks that it can run at a time: GPUs, or processes on the CPU where it was told how many. Zero
    /// for a worker that trains on the CPU and was not told.
    pub gpus: u32,
    /// The GPUs' name, as their driver gives it; empty if there is none or it is not known.
    pub gpu_type: String,
    /// Memory of one GPU in MiB; zero if it is not known.
    pub gpu_memory_mib: u64,
    /// The machine's memory in MiB, or its container's where that is less; zero if it is not known.
    pub memory_mib: u64,
    /// What else is true of it, as `key=value`.
    pub labels: BTreeSet<String>,
}

/// What a task needs of its worker, or of each of its workers. The default needs nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Requirements {
    /// GPUs per task, over all of its workers: its ranks. Zero for tasks that may run on a CPU.
    pub gpus: u32,
    /// Workers that the task is spread over, each with as many of the GPUs; at least one, and one
    /// where no GPUs are asked for.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub nodes: u32,
    /// A part of the GPUs' name, in any case; empty for any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gpu_type: String,
    /// Memory of one GPU in MiB, at least.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gpu_memory_mib: u64,
    /// The worker's memory in MiB, at least.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_mib: u64,
    /// What else must be true of the worker, as `key=value`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
}

impl Default for Requirements {
    /// Any one worker.
    fn default() -> Self {
        Self {
            gpus: 0,
            nodes: 1,
            gpu_type: String::new(),
            gpu_memory_mib: 0,
            memory_mib: 0,
            labels: BTreeSet::new(),
        }
    }
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_one(number: &u32) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Requirements {
    /// GPUs that each of the task's workers must have.
    pub fn gpus_per_node(&self) -> u32 {
        self.gpus / self.nodes.max(1)
    }

    /// Whether the task is for several workers at a time.
    pub const fn is_for_a_group(&self) -> bool {
        self.nodes > 1
    }

    /// Whether a worker has all that is needed of one.
    pub fn are_met_by(&self, offer: &Offer) -> bool {
        offer.gpus >= self.gpus_per_node()
            && contains(&offer.gpu_type, &self.gpu_type)
            && offer.gpu_memory_mib >= self.gpu_memory_mib
            && offer.memory_mib >= self.memory_mib
            && self.labels.is_subset(&offer.labels)
    }

    /// Whether there are as many workers as are needed at a time.
    pub fn are_met_among<'a>(&self, offers: impl Iterator<Item = &'a Offer>) -> bool {
        let nodes = self.nodes as usize;
        let able = offers.filter(|offer| self.are_met_by(offer));
        able.take(nodes).count() == nodes
    }

    /// The single needs that none of the offers meets, or too few of them, in words; where each is
    /// met but no offer meets them all, the whole.
    pub fn unmet_by<'a>(&self, offers: &(impl Iterator<Item = &'a Offer> + Clone)) -> Vec<String> {
        if self.are_met_among(offers.clone()) {
            return Vec::new();
        }
        let singles = self.singles();
        if singles.is_empty() {
            return Vec::new(); // Any worker will do; that none is there says nothing of the needs.
        }
        let unmet: Vec<String> = (singles.iter())
            .filter(|single| !single.are_met_among(offers.clone()))
            .map(ToString::to_string)
            .collect();
        if unmet.is_empty() {
            vec![format!("{self} together")]
        } else {
            unmet
        }
    }

    /// Each need on its own.
    fn singles(&self) -> Vec<Self> {
        let nothing = Self {
            nodes: self.nodes,
            ..Self::default()
        };
        let alone = |edit: &dyn Fn(&mut Self)| {
            let mut single = nothing.clone();
            edit(&mut single);
            single
        };
        let mut singles = vec![
            alone(&|it| it.gpus = self.gpus),
            alone(&|it| it.gpu_type.clone_from(&self.gpu_type)),
            alone(&|it| it.gpu_memory_mib = self.gpu_memory_mib),
            alone(&|it| it.memory_mib = self.memory_mib),
        ];
        singles.extend((self.labels.iter()).map(|label| {
            alone(&|it| {
                it.labels.insert(label.clone());
            })
        }));
        singles.retain(|single| *single != nothing);
        singles
    }
}

/// What a label must be, in words that follow "expected".
pub const LABEL: &str =
    "a label such as zone=a: letters, digits, dashes, underscores, dots and slashes around one =";

/// Whether a text is a label: `key=value`, at most 128 bytes.
pub fn is_label(text: &str) -> bool {
    let plain = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    };
    let parts = text.split_once('=');
    text.len() <= 128 && parts.is_some_and(|(key, value)| plain(key) && plain(value))
}

/// Whether `name` has `part` in it, whatever their case.
fn contains(name: &str, part: &str) -> bool {
    name.to_lowercase().contains(&part.to_lowercase())
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a worker has is said in the words in which it is asked for.
        let same = Requirements {
            gpus: self.gpus,
            nodes: 1,
            gpu_type: self.gpu_type.clone(),
            gpu_memory_mib: self.gpu_memory_mib,
            memory_mib: self.memory_mib,
            labels: self.labels.clone(),
        };
        fmt::Display::fmt(&same, f)
    }
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut needs = Vec::new();
        if self.gpus > 0 {
            needs.push(format!("gpus: {}", self.gpus));
        }
        if self.nodes > 1 {
            needs.push(format!("nodes: {}", self.nodes));
        }
        if !self.gpu_type.is_empty() {
            needs.push(format!("gpu_type: {}", self.gpu_type));
        }
        if self.gpu_memory_mib > 0 {
            needs.push(format!("gpu_memory: {}MiB", self.gpu_memory_mib));
        }
        if self.memory_mib > 0 {
            needs.push(format!("memory: {}MiB", self.memory_mib));
        }
        needs.extend(self.labels.iter().map(|label| format!("label {label}")));
        if needs.is_empty() {
            return f.write_str("nothing");
        }
        f.write_str(&needs.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|&label| label.to_owned()).collect()
    }

    fn h100() -> Offer {
        Offer {
            gpus: 1,
            gpu_type: "NVIDIA H100 80GB HBM3".to_owned(),
            gpu_memory_mib: 81_559,
            memory_mib: 128 << 10,
            labels: labels(&["zone=a", "spot=yes"]),
        }
    }

    fn needs() -> Requirements {
        Requirements {
            gpus: 1,
            nodes: 1,
            gpu_type: "h100".to_owned(),
            gpu_memory_mib: 40 << 10,
            memory_mib: 64 << 10,
            labels: labels(&["zone=a"]),
        }
    }

    #[test]
    fn a_group_needs_its_share_of_the_gpus_of_each_of_as_many_workers() {
        let group = Requirements {
            gpus: 8,
            nodes: 2,
            ..Requirements::default()
        };
        let with = |gpus| Offer { gpus, ..h100() };
        assert!(group.are_met_by(&with(4)));
        assert!(!group.are_met_by(&with(3)));
        let unmet = |offers: &[Offer]| group.unmet_by(&offers.iter());
        assert_eq!(unmet(&[with(4), with(3)]), ["gpus: 8, nodes: 2"]);
        assert_eq!(unmet(&[with(8), with(4)]), [""; 0]);
    }

    #[test]
    fn needs_that_were_written_down_before_there_were_groups_are_those_of_one_worker() {
        let old = r#"{"gpus":1,"gpu_type":"h100"}"#;
        let read: Requirements = serde_json::from_str(old).unwrap();
        assert_eq!((read.gpus, read.nodes), (1, 1));
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
    }

    #[test]
    fn a_worker_must_have_every_single_thing_that_is_needed() {
        assert!(needs().are_met_by(&h100()));
        assert!(Requirements::default().are_met_by(&Offer::default()));
        assert!(!needs().are_met_by(&Offer::default()));
        let lacking: [fn(&mut Offer); 5] = [
            |it| it.gpus = 0,
            |it| it.gpu_type = "NVIDIA A100".to_owned(),
            |it| it.gpu_memory_mib = 16 << 10,
            |it| it.memory_mib = 0,
            |it| it.labels = BTreeSet::new(),
        ];
        for lack in lacking {
            let mut offer = h100();
            lack(&mut offer);
            assert!(!needs().are_met_by(&offer), "{offer:?}");
        }
    }

    #[test]
    fn what_nobody_offers_is_named_and_nothing_else() {
        let unmet = |needs: &Requirements, offers: &[Offer]| needs.unmet_by(&offers.iter());
        assert_eq!(unmet(&needs(), &[h100()]), [""; 0]);
        let a100 = Offer {
            gpu_type: "NVIDIA A100".to_owned(),
            ..h100()
        };
        assert_eq!(
            unmet(&needs(), std::slice::from_ref(&a100)),
            ["gpu_type: h100"]
        );
        let elsewhere = Offer {
            labels: labels(&["zone=b"]),
            ..h100()
        };
        assert_eq!(
            unmet(&needs(), &[a100, elsewhere]),
            [
                "gpus: 1, gpu_type: h100, gpu_memory: 40960MiB, memory: 65536MiB, label zone=a together"
            ]
        );
        assert_eq!(unmet(&Requirements::default(), &[]), [""; 0]);
    }
}
