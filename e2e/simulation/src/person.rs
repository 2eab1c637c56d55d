//! A person who submits sweeps, extends them, stops them and changes their mind.

use std::sync::Arc;
use std::time::Duration;

use autorep_core::strategy::Strategy;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::time::sleep;

use crate::network::call;
use crate::profile::{Budgets, HoldingBack};
use crate::wire::{Answer, Request};
use crate::world::World;

/// Where the person sits, for the network.
pub(crate) const PERSON: &str = "person";

/// The two sweeps, which have tasks in common.
pub(crate) const SWEEPS: [&str; 2] = ["a", "b"];

/// The budgets and seeds that each is submitted with, now fewer, now more. The last is what it ends
/// with.
const VARIANTS: [(&str, &str); 4] = [
    ("[1K]", "[0]"),
    ("[1K, 3K]", "[0]"),
    ("[3K]", "[0, 1]"),
    ("[1K, 3K]", "[0, 1]"),
];

/// What their manifests say about the wait after a first failure.
pub(crate) const BACKOFF_MS: u64 = 2000;

/// Epochs of a search that is stopped at rungs, one step each.
const SEARCH_EPOCHS: u64 = 4;

/// A manifest.
fn manifest(world: &World, sweep: &str, variant: usize) -> String {
    let attempts = world.profile.attempts;
    let keep = if world.profile.keep_front {
        ", keep: front"
    } else {
        ""
    };
    let sweeps = &world.profile.sweeps;
    let strategy = sweeps.strategy.name();
    let holds_back = sweep == "a" || world.profile.sweeps.holding_back == HoldingBack::Both;
    let (epochs, halving) = if world.profile.sweeps.halving {
        let grid = "
  grid: { replace.penalty: [1.0e-4, 2.0e-4, 3.0e-4] }";
        let halving = "
  halving: { grace: 1 }
  grid: { replace.penalty: [1.0e-4, 2.0e-4, 3.0e-4] }";
        (SEARCH_EPOCHS, if holds_back { halving } else { grid })
    } else {
        (1, "")
    };
    let backoff_s = BACKOFF_MS / 1000;
    let (budgets, seeds) = VARIANTS[variant.min(VARIANTS.len() - 1)];
    let can_be_refined = holds_back && (sweeps.strategy == Strategy::Descent || !sweeps.halving);
    let budgets = match (sweeps.budgets, budgets) {
        (Budgets::Refined, "[1K, 3K]") if can_be_refined => {
            "{ from: 1K, to: 3K, points: 4, refine: { first: 2, until: 0 } }"
        }
        (Budgets::Refined | Budgets::Listed, listed) => listed,
    };
    let training = if sweeps.budgets == Budgets::Refined && holds_back {
        "\n  under_trained: { epochs: 1 }"
    } else {
        ""
    };
    let limit = match sweeps.limit_ms {
        0 => String::new(),
        limit_ms => format!("\n  limit: {{ gpu_hours: {} }}", limit_ms as f64 / 3.6e6),
    };
    let resources = match world.profile.nodes(sweep) {
        1 => String::new(),
        nodes => format!("\n  resources: {{ gpus: {nodes}, nodes: {nodes} }}"),
    };
    let seeds = match (world.profile.sweeps.adaptive && holds_back, seeds) {
        (true, "[0]") => "{ min: 1, max: 2 }",
        (true, _) => "{ min: 2, max: 3 }",
        (false, seeds) => seeds,
    };
    format!(
        "
apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: {sweep} }}
spec:
  data: {{ name: fashion-mnist, train_limit: 1000 }}
  net: {{ name: resnet9, width: 8 }}
  strategy: {strategy}
  budgets: {budgets}
  seeds: {seeds}
  baseline: {{ epochs: 1 }}
  replace: {{ epochs: {epochs} }}
  finetune: {{ epochs: 1 }}
  retry: {{ attempts: {attempts}, backoff: {backoff_s}s }}
  checkpoint: {{ every: 7s{keep} }}{halving}{training}{limit}{resources}
"
    )
}

/// Gives orders for as long as there are some.
pub(crate) async fn live(world: &Arc<World>) {
    let first = submission(world, "a", world.chance.below(3));
    order(world, first).await;
    for _ in 0..world.profile.orders {
        sleep(world.chance.ms(1, 30_000)).await;
        let sweep = world.chance.pick(&SWEEPS).copied().unwrap_or("a");
        let name = sweep.to_owned();
        let request = match world.chance.below(8) {
            0..=2 => submission(world, sweep, world.chance.below(4)),
            3 => Request::Pause(v1::PauseRequest { sweep: name }),
            4 => Request::Resume(v1::ResumeRequest { sweep: name }),
            5 => Request::Cancel(v1::CancelRequest { sweep: name }),
            6 => Request::List(v1::ListRequest {}),
            _ => Request::Front(v1::WatchFrontRequest {
                sweep: name,
                follow: false,
            }),
        };
        order(world, request).await;
    }
}

fn submission(world: &World, sweep: &str, variant: u64) -> Request {
    let variant = usize::try_from(variant).unwrap_or(0);
    Request::Submit(v1::SubmitRequest {
        manifest: manifest(world, sweep, variant),
        dry_run: false,
        rehearsal: None,
    })
}

/// Repeats an order until it is answered, or for as long as a person is patient.
pub(crate) async fn order(world: &Arc<World>, request: Request) -> Option<Answer> {
    for _ in 0..20 {
        match call(world, PERSON, request.clone(), Duration::from_secs(20)).await {
            Ok(answer) => return Some(answer),
            Err(refusal) if refusal.is_transient() => {
                let wait = if world.is_calm() {
                    Duration::from_millis(500)
                } else {
                    world.chance.ms(100, 5000)
                };
                sleep(wait).await;
            }
            Err(Refusal::UnknownSweep(_) | Refusal::NotReady(_)) => return None,
            Err(refusal) => {
                world.violate("a person's right order is taken", refusal);
                return None;
            }
        }
    }
    None
}

/// Gives an order until it is answered.
pub(crate) async fn insist(world: &Arc<World>, request: Request) -> Answer {
    loop {
        if let Some(answer) = order(world, request.clone()).await {
            return answer;
        }
    }
}

/// The manifest that a sweep ends with.
pub(crate) fn last_manifest(world: &World, sweep: &str) -> String {
    manifest(world, sweep, VARIANTS.len() - 1)
}
