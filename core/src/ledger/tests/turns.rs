//! Whose turn it is: priorities, fair shares, caps and needs.

use super::*;
use crate::offer::{Offer, Requirements};

/// Submits a sweep with tasks of its own: seeds from `seed` on, three of them.
#[track_caller]
fn submit(checked: &mut Checked, name: &str, seed: u64, edit: impl FnOnce(&mut Terms)) {
    let plan = tiny_plan(&[seed, seed + 1, seed + 2], &[100]);
    let mut submission = submission(name, plan, 2);
    edit(&mut submission.terms);
    checked.submit(submission);
}

fn owned(owner: &str) -> impl FnOnce(&mut Terms) {
    let owner: OwnerName = owner.parse().unwrap();
    |terms| terms.owner = owner
}

/// The sweeps whose tasks `count` new workers get.
fn granted(checked: &mut Checked, from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|number| {
            let grant = checked.acquire(&format!("w{number}"), 0);
            grant.sweep.to_string()
        })
        .collect()
}

#[test]
fn the_sweep_of_the_higher_priority_goes_first_though_it_came_later() {
    let mut checked = Checked::new();
    submit(&mut checked, "early", 0, |_| {});
    submit(&mut checked, "urgent", 10, |terms| terms.priority = 5);
    submit(&mut checked, "whenever", 20, |terms| terms.priority = -5);
    assert_eq!(
        granted(&mut checked, 0, 7),
        [
            "urgent", "urgent", "urgent", "early", "early", "early", "whenever"
        ]
    );
}

#[test]
fn owners_share_workers_whatever_number_of_sweeps_they_have() {
    let mut checked = Checked::new();
    submit(&mut checked, "a1", 0, owned("ann"));
    submit(&mut checked, "a2", 10, owned("ann"));
    submit(&mut checked, "b1", 20, owned("bob"));
    assert_eq!(
        granted(&mut checked, 0, 6),
        ["a1", "b1", "a2", "b1", "a1", "b1"]
    );
}

#[test]
fn who_comes_late_gets_the_next_workers_until_shares_are_even() {
    let mut checked = Checked::new();
    submit(&mut checked, "a", 0, owned("ann"));
    assert_eq!(granted(&mut checked, 0, 2), ["a", "a"]);
    submit(&mut checked, "b", 10, owned("bob"));
    assert_eq!(granted(&mut checked, 2, 3), ["b", "b", "a"]);
}

#[test]
fn a_weight_of_two_gets_twice_as_much() {
    let quotas = Quotas {
        owners: [(
            "ann".parse().unwrap(),
            Quota {
                weight: 2,
                cap: None,
            },
        )]
        .into(),
        ..Quotas::default()
    };
    let mut checked = Checked::new();
    checked.ledger = checked.ledger.with_quotas(quotas);
    submit(&mut checked, "a1", 0, owned("ann"));
    submit(&mut checked, "a2", 10, owned("ann"));
    submit(&mut checked, "b1", 20, owned("bob"));
    let all = granted(&mut checked, 0, 6);
    let bobs = all.iter().filter(|sweep| *sweep == "b1").count();
    assert_eq!(bobs, 2, "{all:?}");
}

#[test]
fn an_owner_gets_no_more_leases_than_the_cap_and_the_next_when_one_ends() {
    let quotas = Quotas {
        others: Quota {
            cap: Some(2),
            weight: 1,
        },
        ..Quotas::default()
    };
    let mut checked = Checked::new();
    checked.ledger = checked.ledger.with_quotas(quotas);
    submit(&mut checked, "a", 0, owned("ann"));
    let first = checked.acquire("w0", 0).claim;
    checked.acquire("w1", 0);
    let nothing = Acquired::Nothing { idle: false };
    assert_eq!(checked.try_acquire("w2", 0), nothing);
    checked.complete(first);
    checked.acquire("w2", 0);
    assert_eq!(checked.try_acquire("w3", 0), nothing);
}

#[test]
fn a_task_goes_only_to_a_worker_that_has_what_its_sweep_needs() {
    let mut checked = Checked::new();
    submit(&mut checked, "gpu", 0, |terms| {
        terms.needs = Requirements {
            gpus: 1,
            gpu_type: "h100".to_owned(),
            ..Requirements::default()
        };
    });
    submit(&mut checked, "any", 10, |_| {});
    // The sweep that came first is passed over by a worker that cannot do it.
    assert_eq!(granted(&mut checked, 0, 3), ["any"; 3]);
    let nothing = Acquired::Nothing { idle: false };
    assert_eq!(checked.try_acquire("w3", 0), nothing);
    let offer = Offer {
        gpus: 1,
        gpu_type: "NVIDIA H100 80GB HBM3".to_owned(),
        ..Offer::default()
    };
    let decision = checked.ledger.acquire(&worker("g"), &offer, 0);
    let Acquired::Granted(grant) = checked.apply(decision) else {
        panic!("expected a lease");
    };
    assert_eq!(grant.sweep.as_str(), "gpu");
    let needs = checked.ledger.needs_of_ready();
    assert_eq!(needs.len(), 1, "of the sweep that has tasks ready");
}

#[test]
fn a_task_of_two_sweeps_counts_once_for_an_owner_and_once_for_each() {
    let mut checked = Checked::new();
    submit(&mut checked, "a1", 0, owned("ann"));
    submit(&mut checked, "a2", 0, owned("ann"));
    submit(&mut checked, "b1", 0, owned("bob"));
    checked.acquire("w0", 0);
    let leases = |owner: &str| checked.ledger.owner_leases(&owner.parse().unwrap());
    assert_eq!((leases("ann"), leases("bob"), leases("eve")), (1, 1, 0));
}

#[test]
fn a_sweep_submitted_again_has_its_new_terms_at_once() {
    let mut checked = Checked::new();
    submit(&mut checked, "a", 0, owned("ann"));
    let held = checked.acquire("w0", 0).claim;
    submit(&mut checked, "a", 0, owned("bob"));
    let leases = |checked: &Checked, owner: &str| {
        let owner = owner.parse().unwrap();
        checked.ledger.owner_leases(&owner)
    };
    assert_eq!((leases(&checked, "ann"), leases(&checked, "bob")), (0, 1));
    checked.complete(held);
    assert_eq!((leases(&checked, "ann"), leases(&checked, "bob")), (0, 0));
}

#[test]
fn demand_counts_a_task_of_two_sweeps_once_and_none_of_a_paused_one() {
    let mut checked = Checked::new();
    let on_gpus = Requirements {
        gpus: 1,
        ..Requirements::default()
    };
    submit(&mut checked, "a", 0, |_| {});
    submit(&mut checked, "same", 0, |_| {});
    submit(&mut checked, "gpu", 10, |terms| {
        terms.needs = on_gpus.clone();
    });
    checked.acquire("w", 0);
    let any = Requirements::default();
    let demand = |checked: &Checked, needs| {
        let demand = checked.ledger.demand()[needs];
        (demand.ready, demand.leased)
    };
    // Three baselines each: their replacements wait for them.
    assert_eq!(demand(&checked, &any), (2, 1));
    assert_eq!(demand(&checked, &on_gpus), (3, 0));
    assert_eq!(checked.ledger.ready_of(TaskKind::Baseline), 5);
    assert_eq!(checked.ledger.ready_of(TaskKind::Replace), 0);
    let pause = checked.ledger.pause(&"gpu".parse().unwrap(), true);
    checked.apply(pause.unwrap());
    assert_eq!(demand(&checked, &on_gpus), (0, 0));
}
