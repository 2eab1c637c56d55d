//! The network between coordinators and everybody else: it loses, repeats, delays and reorders.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use autorep_proto::status::Refusal;
use tokio::time::{sleep, timeout};

use crate::observer::Sent;
use crate::wire::{Answer, Request};
use crate::world::{World, spawn};

/// Who cannot be heard by whom.
#[derive(Debug, Default)]
pub(crate) struct Partitions(Mutex<BTreeMap<String, Cut>>);

/// What does not get through between one peer and the coordinators.
#[derive(Clone, Copy, Default, Debug)]
struct Cut {
    requests: bool,
    answers: bool,
}

/// The peer that stands for all.
const EVERYBODY: &str = "*";

impl Partitions {
    fn of(&self, peer: &str) -> Cut {
        let cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = cuts.get(peer).copied().unwrap_or_default();
        let all = cuts.get(EVERYBODY).copied().unwrap_or_default();
        Cut {
            requests: one.requests || all.requests,
            answers: one.answers || all.answers,
        }
    }

    fn set(&self, peer: String, cut: Cut) {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.insert(peer, cut);
    }

    /// Everybody hears everybody.
    pub(crate) fn heal(&self) {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.clear();
    }
}

/// Cuts one worker or all off, in one direction or both, and heals again.
pub(crate) async fn cut_now_and_then(world: Arc<World>) {
    for _ in 0..world.profile.partitions {
        sleep(world.chance.ms(1, world.profile.fault_ms / 2)).await;
        if world.is_calm() {
            return;
        }
        let peer = if world.chance.permille(300) {
            EVERYBODY.to_owned()
        } else {
            crate::worker::machine(world.chance.below(world.profile.workers))
        };
        let both = world.chance.permille(500);
        let requests = both || world.chance.permille(500);
        let cut = Cut {
            requests,
            answers: both || !requests,
        };
        world.note(format_args!("network: {peer} is cut off: {cut:?}"));
        world.partitions.set(peer, cut);
        sleep(world.chance.ms(1, 3 * world.profile.lease_ttl_ms())).await;
        world.note("network: heals");
        world.partitions.heal();
    }
}

/// Calls whatever coordinator can be reached, and waits for the answer at most `within`.
pub(crate) async fn call(
    world: &Arc<World>,
    peer: &str,
    request: Request,
    within: Duration,
) -> Result<Answer, Refusal> {
    let profile = &world.profile;
    let sent = world.observer.sent(world, &request);
    if world.fault(profile.duplicate) {
        // The same request once more, some time later; nobody waits for its answer.
        let (inside, peer, request) = (Arc::clone(world), peer.to_owned(), request.clone());
        let sent = sent.again(world);
        spawn(world, async move {
            let world = inside;
            sleep(world.chance.ms(1, 20_000)).await;
            drop(deliver(&world, &peer, request, sent).await);
        });
    }
    let answer = if world.chance.permille(500) {
        // The caller's end ends the call.
        let delivery = deliver(world, peer, request.clone(), sent);
        timeout(within, delivery).await.ok()
    } else {
        let spawned = world;
        let (world, peer, request) = (Arc::clone(world), peer.to_owned(), request.clone());
        let delivery = tokio::spawn(async move { deliver(&world, &peer, request, sent).await });
        match timeout(within, delivery).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(panic)) => {
                spawned.violate("nothing panics", panic);
                None
            }
            Err(_elapsed) => None,
        }
    };
    let answer =
        answer.unwrap_or_else(|| Err(Refusal::Unavailable("no answer in time".to_owned())));
    if let Err(refusal) = &answer {
        world.note(format_args!("{peer}: {} -> {refusal}", request.line()));
    }
    answer
}

/// One request on its way there, and its answer on its way back.
async fn deliver(
    world: &Arc<World>,
    peer: &str,
    request: Request,
    sent: Sent,
) -> Result<Answer, Refusal> {
    travel(world).await;
    if world.partitions.of(peer).requests || world.fault(world.profile.drop_request) {
        world.note(format_args!("network: {peer}: {} is lost", request.line()));
        drop(sent);
        return std::future::pending().await;
    }
    if world.fault(world.profile.reset) {
        return Err(Refusal::Unavailable("connection reset".to_owned()));
    }
    let Some(coordinator) = world.coordinators.reach(world) else {
        return Err(Refusal::Unavailable("connection refused".to_owned()));
    };
    let epoch = coordinator.epoch;
    world.note(format_args!(
        "{peer}: {} reaches {epoch}{sent}",
        request.line()
    ));
    let delivery = world.observer.delivered(world, &request, &sent);
    let answer = request.clone().serve(&coordinator.services).await;
    if !coordinator.is_alive() {
        // Its last words never left the machine.
        return Err(Refusal::Unavailable("connection reset".to_owned()));
    }
    world
        .observer
        .answered(world, &coordinator, &request, &delivery, &answer);
    drop(sent);
    travel(world).await;
    if world.partitions.of(peer).answers || world.fault(world.profile.drop_answer) {
        world.note(format_args!(
            "network: {peer}: the answer to {} is lost",
            request.line()
        ));
        return std::future::pending().await;
    }
    if world.fault(world.profile.reset) {
        return Err(Refusal::Unavailable("connection reset".to_owned()));
    }
    answer
}

async fn travel(world: &World) {
    let last = if world.fault(world.profile.slow_call) {
        15_000
    } else {
        20
    };
    sleep(world.chance.ms(1, last)).await;
}
