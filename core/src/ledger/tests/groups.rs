//! Tasks for several workers: leased to all or to nobody, and ended for all.

use super::*;
use crate::id::WorkerId;
use crate::lease::LeasePart;
use crate::offer::Offer;

static GPU: Offer = Offer {
    gpus: 1,
    gpu_type: String::new(),
    gpu_memory_mib: 0,
    memory_mib: 0,
    labels: std::collections::BTreeSet::new(),
};

/// Submits a sweep whose tasks need two workers with a GPU each.
#[track_caller]
fn submit_group(checked: &mut Checked, name: &str, edit: impl FnOnce(&mut Terms)) {
    let mut submission = submission(name, tiny_plan(&[0], &[100, 50]), 2);
    (submission.terms.needs.gpus, submission.terms.needs.nodes) = (2, 2);
    edit(&mut submission.terms);
    checked.submit(submission);
}

/// Submits a sweep of tasks for one worker, none of which another sweep has.
#[track_caller]
fn submit_single(checked: &mut Checked, name: &str, edit: impl FnOnce(&mut Terms)) {
    let mut submission = submission(name, tiny_plan(&[7, 8, 9], &[100]), 2);
    edit(&mut submission.terms);
    checked.submit(submission);
}

/// The first of these workers asks while they all wait, each with a GPU; two are there that have one.
fn ask(checked: &mut Checked, names: &[&str], patient: bool, now_ms: u64) -> Acquired {
    let workers: Vec<WorkerId> = names.iter().map(|name| worker(name)).collect();
    let waiting: Vec<Asker<'_>> = (workers.iter())
        .map(|worker| Asker {
            worker,
            offer: &GPU,
            patient,
        })
        .collect();
    let company = Company {
        waiting: &waiting,
        there: &[&GPU, &GPU],
    };
    let decision = checked.ledger.acquire_among(waiting[0], company, now_ms);
    checked.apply(decision)
}

#[track_caller]
fn lease(checked: &mut Checked, names: &[&str], now_ms: u64) -> Grant {
    match ask(checked, names, true, now_ms) {
        Acquired::Granted(grant) => *grant,
        other @ (Acquired::Kept | Acquired::Nothing { .. }) => panic!("{other:?}"),
    }
}

fn node(claim: LeaseClaim, node: u32) -> LeasePart {
    LeasePart { claim, node }
}

#[track_caller]
fn renew(checked: &mut Checked, part: LeasePart, now_ms: u64) -> Renewal {
    let decision = checked.ledger.renew(part, now_ms).unwrap();
    checked.apply(decision)
}

#[test]
fn a_task_for_two_workers_is_leased_to_both_in_one_event_or_to_nobody() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    assert_eq!(ask(&mut checked, &["a"], true, 0), Acquired::Kept);
    assert_eq!(checked.ledger.lease_count(), 0);
    let before = checked.events.len();
    let grant = lease(&mut checked, &["b", "a", "c"], 0);
    assert_eq!((&*grant.members, grant.ranks), (&[worker("a")][..], 1));
    assert_eq!(checked.events.len(), before + 1);
    let held = |name: &str| checked.ledger.held_by(&worker(name));
    let task = Some(grant.claim.task);
    assert_eq!([held("a"), held("b"), held("c")], [task, task, None]);
}

#[test]
fn a_worker_that_alone_asks_gets_no_task_for_two() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    let decision = checked.ledger.acquire(&worker("a"), &GPU, 0);
    assert_eq!(decision.outcome, Acquired::Nothing { idle: false });
}

#[test]
fn who_is_kept_takes_no_other_work_and_who_is_let_go_takes_it_and_joins_when_idle() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |terms| terms.priority = 1);
    submit_single(&mut checked, "s", |_| {});
    assert_eq!(ask(&mut checked, &["a"], true, 0), Acquired::Kept);
    let Acquired::Granted(other) = ask(&mut checked, &["a"], false, 0) else {
        panic!("who is let go takes what there is");
    };
    assert_eq!(other.sweep.as_str(), "s");
    // The others of `s` wait for their baselines: all that is left for who is let go is the group.
    for name in ["x", "y"] {
        checked.acquire(name, 0);
    }
    let Acquired::Granted(grant) = ask(&mut checked, &["b", "c"], false, 0) else {
        panic!("who is idle joins");
    };
    assert_eq!(
        (grant.sweep.as_str(), &*grant.members),
        ("g", &[worker("c")][..])
    );
}

#[test]
fn nobody_is_kept_for_a_group_of_which_too_few_are_there() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    let a = worker("a");
    let asker = Asker {
        worker: &a,
        offer: &GPU,
        patient: true,
    };
    let company = Company {
        waiting: &[asker],
        there: &[&GPU, &Offer::default()],
    };
    let decision = checked.ledger.acquire_among(asker, company, 0);
    assert_eq!(decision.outcome, Acquired::Nothing { idle: false });
}

#[test]
fn a_worker_with_earlier_work_of_its_own_is_no_member() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    submit_single(&mut checked, "s", |terms| {
        terms.priority = 1;
        terms.needs.labels = ["zone=a".to_owned()].into();
    });
    let labelled = Offer {
        labels: ["zone=a".to_owned()].into(),
        ..GPU.clone()
    };
    let (a, b) = (worker("a"), worker("b"));
    let asker = |worker, offer| Asker {
        worker,
        offer,
        patient: true,
    };
    let waiting = [asker(&a, &GPU), asker(&b, &labelled)];
    let company = Company {
        waiting: &waiting,
        there: &[&GPU, &labelled],
    };
    let decision = checked.ledger.acquire_among(waiting[0], company, 0);
    assert_eq!(decision.outcome, Acquired::Kept);
    let decision = checked.ledger.acquire_among(waiting[1], company, 0);
    let Acquired::Granted(grant) = decision.outcome else {
        panic!("it has work of its own");
    };
    assert_eq!(grant.sweep.as_str(), "s");
}

#[test]
fn a_lease_lives_for_as_long_as_every_part_of_it_is_renewed() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    let claim = lease(&mut checked, &["a", "b"], 0).claim;
    assert_eq!(renew(&mut checked, node(claim, 0), 900), Renewal::Continue);
    assert_eq!(renew(&mut checked, node(claim, 1), 800), Renewal::Continue);
    assert_eq!(checked.ledger.expire(799 + TTL_MS).outcome, 0);
    let expired = checked.ledger.expire(800 + TTL_MS);
    assert_eq!(checked.apply(expired), 1);
    let failures = checked.ledger.task(claim.task).unwrap().failures();
    let [lost] = failures else {
        panic!("one attempt has failed, not two: {failures:?}");
    };
    assert_eq!((&lost.worker, lost.attempt), (&worker("b"), 1));
    // The leader hears that its lease is gone, the member that it is to stop.
    let refusal = checked.ledger.renew(claim, 0).unwrap_err();
    assert_eq!(refusal, stale(1, 1).into());
    assert_eq!(renew(&mut checked, node(claim, 1), 0), Renewal::Stop);
}

#[test]
fn a_members_failure_ends_the_attempt_for_all_with_its_class_and_once() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    let claim = lease(&mut checked, &["a", "b"], 0).claim;
    let failure = |class| report(class);
    let out = checked
        .ledger
        .fail(node(claim, 1), failure(FailureClass::OutOfMemory), 0)
        .unwrap();
    assert_eq!(checked.apply(out), AfterFailure::WillRetry);
    // What the leader says afterwards is the same failure.
    let before = checked.ledger.clone();
    let again = checked
        .ledger
        .fail(claim, failure(FailureClass::TrainerCrashed), 0)
        .unwrap();
    assert_eq!(checked.apply(again), AfterFailure::WillRetry);
    assert_eq!(checked.ledger, before);
    let [failed] = checked.ledger.task(claim.task).unwrap().failures() else {
        panic!("expected one failure");
    };
    assert_eq!(
        (failed.class, &failed.worker),
        (FailureClass::OutOfMemory, &worker("b"))
    );
    assert!(!checked.ledger.holds(&worker("a")));
}

#[test]
fn a_member_that_stops_gives_the_lease_back_for_all_at_no_cost() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    let claim = lease(&mut checked, &["a", "b"], 0).claim;
    let release = checked.ledger.release(node(claim, 1)).unwrap();
    assert_eq!(checked.apply(release), Release::Released);
    assert_eq!(state(&checked, claim), StateName::Ready);
    let again = lease(&mut checked, &["c", "a"], 0);
    assert_eq!((again.attempt, again.claim.generation), (1, Generation(2)));
    // What the member says late is of an older lease.
    let refusal = checked.ledger.renew(node(claim, 1), 0).unwrap_err();
    assert_eq!(refusal, stale(1, 2).into());
}

#[test]
fn a_member_that_asks_again_ends_the_lease_and_counts_only_if_it_had_joined() {
    for joined in [false, true] {
        let mut checked = Checked::new();
        submit_group(&mut checked, "g", |_| {});
        let claim = lease(&mut checked, &["a", "b"], 0).claim;
        if joined {
            renew(&mut checked, node(claim, 1), 0);
        }
        assert_eq!(
            ask(&mut checked, &["b"], true, 0),
            Acquired::Nothing { idle: false }
        );
        assert_eq!(state(&checked, claim), StateName::Ready);
        let failures = checked.ledger.task(claim.task).unwrap().failures();
        assert_eq!(failures.len(), usize::from(joined));
    }
}

#[test]
fn a_part_that_a_lease_does_not_have_is_refused() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    let claim = lease(&mut checked, &["a", "b"], 0).claim;
    let none = NotHeld::NoPart { node: 2, nodes: 2 };
    let ledger = &checked.ledger;
    assert_eq!(ledger.renew(node(claim, 2), 0).unwrap_err(), none.into());
    let crashed = report(FailureClass::TrainerCrashed);
    let refusal = ledger.fail(node(claim, 2), crashed, 0).unwrap_err();
    assert_eq!(refusal, none.into());
    assert_eq!(ledger.release(node(claim, 2)).unwrap_err(), none.into());
}

#[test]
fn a_group_counts_for_its_owner_as_often_as_it_has_workers() {
    let mut checked = Checked::new();
    let quota = Quota {
        cap: Some(3),
        weight: 1,
    };
    let mut quotas = Quotas::default();
    quotas.owners.insert("ann".parse().unwrap(), quota);
    checked.ledger = checked.ledger.with_quotas(quotas);
    let owned = |terms: &mut Terms| terms.owner = "ann".parse().unwrap();
    submit_group(&mut checked, "g", owned);
    let claim = lease(&mut checked, &["a", "b"], 0).claim;
    checked.complete(claim);
    let ann: OwnerName = "ann".parse().unwrap();
    lease(&mut checked, &["a", "b"], 0);
    assert_eq!(checked.ledger.owner_leases(&ann), 2);
    // A second group would make four.
    assert_eq!(
        ask(&mut checked, &["c", "d"], true, 0),
        Acquired::Nothing { idle: false }
    );
    submit_single(&mut checked, "s", owned);
    assert_eq!(lease(&mut checked, &["c"], 0).sweep.as_str(), "s");
    assert_eq!(checked.ledger.owner_leases(&ann), 3);
}

#[test]
fn after_a_restart_every_part_of_a_lease_lives_for_a_whole_time() {
    let mut checked = Checked::new();
    submit_group(&mut checked, "g", |_| {});
    let claim = lease(&mut checked, &["a", "b"], 0).claim;
    let ledger = random::restored(&checked.ledger, &checked.records, 5000);
    assert_eq!(ledger.expire(4999 + TTL_MS).outcome, 0);
    assert_eq!(ledger.holder(node(claim, 1)), Some(&worker("b")));
    let renewal = ledger.renew(node(claim, 1), 5000).unwrap();
    assert_eq!(renewal.outcome, Renewal::Continue);
}

#[test]
fn a_lease_that_was_written_down_before_there_were_groups_has_one_worker() {
    let old = r#"{"generation":3,"state":{"leased":{"worker":"w"}}}"#;
    let record: TaskRecord = serde_json::from_str(old).unwrap();
    let RecordedState::Leased { worker, members } = &record.state else {
        panic!("{record:?}");
    };
    assert_eq!((worker.0.as_str(), members.len()), ("w", 0));
    assert_eq!(serde_json::to_string(&record).unwrap(), old);
}
