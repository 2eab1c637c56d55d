//! A second coordinator that waits for the first one's end.

use crate::crew::{Crew, Setting};
use crate::kill::{steps, tiny};
use crate::sandbox::Sandbox;

#[test]
fn a_standby_takes_over_from_a_killed_coordinator_and_nothing_is_done_twice() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    // A second for each task: the coordinator dies in the middle of the first.
    sandbox.write("data/fashion-mnist/script", "work 20 5 4096 50\n");
    let setting = Setting {
        store: "store".to_owned(),
        variables: Vec::new(),
        trainer: "autorep-trainer-double".to_owned(),
        lease_ttl_s: 30,
    };
    let mut crew = Crew::start(&sandbox, setting);
    crew.person(&["submit", "sweep.yaml"]);
    let standby = crew.start_standby();
    crew.wait_until("the standby stands by", |crew| {
        crew.log("standby").contains("standing by")
    });
    crew.start_worker();
    crew.wait_until("a task is running", |crew| {
        crew.log("worker").contains("begins")
    });
    crew.change_coordinators(standby);
    crew.wait_until_done("tiny");
    let log = crew.log("standby");
    assert!(log.contains("taking over"), "{log}");
    let steps = steps(&sandbox);
    let twice: Vec<_> = (steps.values().flat_map(|of_task| of_task.values()))
        .filter(|times| **times > 1)
        .collect();
    assert_eq!(steps.len(), 5, "{steps:#?}");
    assert!(twice.is_empty(), "{steps:#?}");
}
