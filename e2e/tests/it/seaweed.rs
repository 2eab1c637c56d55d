//! Sweeps whose state and checkpoints lie in a bucket of SeaweedFS.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions};
use tokio::runtime::Runtime;

use crate::crew::{Crew, Setting};
use crate::daemons::{coordinator_on, end_well};
use crate::kill::{Lived, Remote, live_through, live_through_all, steps, tiny};
use crate::moody::Moody;
use crate::sandbox::{Running, Sandbox, finish, program};
use crate::store::{csv, outputs};
use crate::sweep::TINY;
use crate::weed::Weed;

#[test]
fn of_many_writers_that_race_to_create_an_object_one_wins_and_its_object_stays() {
    const WRITERS: u8 = 8;
    const OBJECTS: u8 = 12;
    let Some(weed) = Weed::start() else { return };
    let bucket = weed.bucket("races");
    let runtime = Runtime::new().unwrap();
    let key = |object: u8| Path::from(format!("race/{object}"));
    let write = |object, writer| {
        let (bucket, key) = (Arc::clone(&bucket), key(object));
        runtime.spawn(async move {
            let options = PutOptions::from(PutMode::Create);
            let body = vec![writer; 10_000];
            match bucket.put_opts(&key, body.into(), options).await {
                Ok(_) => Some((object, writer)),
                Err(Error::AlreadyExists { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        })
    };
    let all = (0..OBJECTS).flat_map(|object| (0..WRITERS).map(move |writer| (object, writer)));
    let all: Vec<_> = all.map(|(object, writer)| write(object, writer)).collect();
    let ended = runtime.block_on(futures::future::join_all(all)).into_iter();
    let winners: Vec<_> = ended.filter_map(Result::unwrap).collect();
    assert!(
        winners.iter().map(|(object, _)| *object).eq(0..OBJECTS),
        "{winners:?}"
    );
    for (object, writer) in winners {
        let kept = async { bucket.get(&key(object)).await?.bytes().await };
        let kept = runtime.block_on(kept).unwrap();
        assert!(kept == vec![writer; 10_000], "{object}");
    }
}

#[test]
fn a_fleet_keeps_its_state_and_checkpoints_in_a_bucket_with_bad_moments() {
    let Some(weed) = Weed::start() else { return };
    let moody = Moody::before(weed.address(), 9);
    let give = |mut command: Command| -> Command {
        let endpoint = ("AWS_ENDPOINT".to_owned(), moody.endpoint());
        command.envs(weed.variables()).envs([endpoint]);
        command
    };
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &TINY.replace("[450, 40%]", "[450]"));
    let store = "s3://sweeps/team";
    let (coordinator, url) = coordinator_on(&mut give(sandbox.autorep()), store);
    let lab = |arguments: &[&str]| -> Command {
        let mut command = give(sandbox.autorep());
        command.args(arguments).env("AUTOREP_COORDINATOR", &url);
        command
    };
    finish(&mut lab(&["submit", "sweep.yaml"])).expect_code(0);
    let mut worker = lab(&["worker", "--store", store, "--threads", "1"]);
    worker.arg("--trainer").arg(program("autorep-trainer"));
    let worker = Running::start(&mut worker);
    finish(&mut lab(&["watch", "tiny"])).expect_code(0);
    let front = finish(&mut lab(&["front", "tiny", "--format", "csv"])).expect_code(0);
    assert_eq!(csv(&front.stdout).len(), 2, "{}", front.stdout);
    end_well([worker, coordinator]);
    let mut offline = lab(&["front", "tiny", "--store", store, "--format", "csv"]);
    assert_eq!(finish(&mut offline).expect_code(0).stdout, front.stdout);
    let (requests, refused) = moody.requests();
    assert!(refused > 10, "{refused} of {requests}");

    let runtime = Runtime::new().unwrap();
    runtime.block_on(weed.copy("sweeps", "team/tasks", &sandbox.path("kept")));
    let kept = outputs(&sandbox.path("kept/team"));
    let mut kinds: Vec<&str> = kept.iter().map(|output| output.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["baseline", "finetune", "replace"]);
}

#[test]
fn a_coordinator_or_worker_that_is_killed_at_any_point_on_a_bucket_loses_and_repeats_nothing() {
    let Some(weed) = Weed::start() else { return };
    let number = AtomicU32::new(0);
    live_through_all(|point| {
        let prefix = number.fetch_add(1, Ordering::Relaxed).to_string();
        let tasks = format!("{prefix}/tasks");
        let runtime = Runtime::new().unwrap();
        let remote = Remote {
            url: format!("s3://sweeps/{prefix}"),
            variables: weed.variables(),
            copy: &|folder| {
                runtime.block_on(weed.copy("sweeps", &tasks, folder));
                folder.join(&prefix)
            },
        };
        live_through(Some(&remote), point)
    });
}

/// A sweep whose store is killed twice while it is worked on, and comes back.
fn with_a_store_that_dies(store: &str, mut weed: Option<&mut Weed>) -> Lived {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", "work 40 2 4096 3\n");
    let setting = Setting {
        store: store.to_owned(),
        variables: weed.as_ref().map(|it| it.variables()).unwrap_or_default(),
        trainer: "autorep-trainer-double".to_owned(),
        lease_ttl_s: 10,
    };
    let mut crew = Crew::start(&sandbox, setting);
    crew.person(&["submit", "sweep.yaml"]);
    crew.start_worker();
    for done in [5, 60] {
        let Some(weed) = &mut weed else { break };
        crew.wait_until("work goes on", |_| {
            let steps = steps(&sandbox);
            steps.values().map(BTreeMap::len).sum::<usize>() > done
        });
        weed.kill();
        // Long enough for requests to fail and to be tried again.
        crew.look_after_for(Duration::from_secs(2));
        weed.start_again();
    }
    crew.wait_until_done("tiny");
    Lived::new(crew, true)
}

#[test]
fn a_store_that_is_killed_in_the_middle_and_comes_back_costs_time_alone() {
    let Some(mut weed) = Weed::start() else {
        return;
    };
    let lived = with_a_store_that_dies("s3://sweeps/team", Some(&mut weed));
    assert!(lived.redone().is_empty(), "{lived:#?}");
    let undisturbed = with_a_store_that_dies("store", None);
    assert_eq!(lived.front, undisturbed.front);
}
