//! Manifests: what people write.

use autorep_core::ledger::{Ledger, Submission};
use autorep_core::manifest::{self, Manifest};
use autorep_core::plan::{Plan, PlanSummary};
use std::sync::Arc;

/// Plans up to here are expanded too.
const TASKS: u64 = 300;

pub(crate) fn body(input: &[u8]) {
    let manifest = match manifest::parse_bytes(input) {
        Ok(manifest) => manifest,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            if let Ok(text) = std::str::from_utf8(input) {
                assert!(!manifest::render(&problems, "manifest", text).is_empty());
            }
            return;
        }
    };
    let stored = serde_json::to_vec(&manifest).expect("a manifest has a stored form");
    let back: Manifest = serde_json::from_slice(&stored).expect("a stored manifest is read");
    assert_eq!(back, manifest, "a stored manifest comes back the same");
    let text = std::str::from_utf8(input).expect("what was parsed is text");
    if manifest::parse_within(text, TASKS).is_ok() {
        expand(&manifest);
    }
}

/// A good manifest's plan is one that the ledger takes.
fn expand(manifest: &Manifest) {
    let plan = Plan::expand(manifest);
    assert!(plan.tasks.len() as u64 <= TASKS, "a plan beyond its limit");
    assert_eq!(plan.digest(), Plan::expand(manifest).digest());
    let _summary = PlanSummary::new(manifest, &plan);
    let submission = Submission {
        sweep: manifest.name.clone(),
        plan: Arc::new(plan),
        terms: manifest.terms(0, 0),
    };
    let taken = Ledger::new(1000).submit(submission);
    assert!(taken.is_ok(), "a plan that the ledger refuses: {taken:?}");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![crate::fleet::MANIFEST.into(), EVERYTHING.into()]
}

/// Most sections in one text.
const EVERYTHING: &str = "\
apiVersion: autorep/v1
kind: Sweep
metadata: { name: everything }
spec:
  data: { name: cifar10, augment: true, train_limit: 2K, validation: 500 }
  net: { name: resnet18 }
  budgets: [10K, 12.5%, 0.5M]
  seeds: [3, 1]
  baseline: { epochs: 2, lr: 0.1 }
  arms:
    - { name: one, replace: { epochs: 2 } }
    - { name: two, replace: { epochs: 1, degree: 1 } }
  grid:
    replace.penalty: { from: 1.0e-5, to: 1.0e-3, steps: 3, scale: log }
    finetune.lr: [0.1, 0.01]
  retry: { attempts: 3, backoff: 1m }
  resources: { gpus: 1 }
  checkpoint: { every: 90s }
";
