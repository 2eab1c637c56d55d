//! Stores on which a coordinator must not start, and stores on which it must.

use std::fs;

use crate::s3::S3;
use crate::sandbox::{Sandbox, finish};
use crate::weed::Weed;

#[test]
fn a_bucket_that_lets_racing_writers_win_is_refused_and_nothing_is_left_in_it() {
    let s3 = S3::start("sweeps", u64::MAX);
    let sandbox = Sandbox::new();
    let store = "s3://sweeps/team";
    let mut coordinator = sandbox.autorep();
    coordinator.args(["coordinator", "--listen", "127.0.0.1:0", "--store", store]);
    let mut doctor = sandbox.autorep();
    doctor.args(["doctor", "--store", store]);
    for command in [&mut coordinator, &mut doctor] {
        let refused = finish(s3.give(command)).expect_code(1);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains("created only once"), "{said}");
        assert!(said.contains("SeaweedFS"), "what to use instead: {said}");
    }
    let left = fs::read_dir(s3.object("sweeps", "team/probe"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
}

#[test]
fn a_bucket_that_may_not_be_written_to_is_refused_with_the_right_that_is_missing() {
    let Some(weed) = Weed::start() else { return };
    let sandbox = Sandbox::new();
    let store = "s3://sweeps/team";
    let arguments = ["coordinator", "--listen", "127.0.0.1:0", "--store", store];
    let mut command = sandbox.autorep();
    command.args(arguments).envs(weed.variables_of_reader());
    let refused = finish(&mut command).expect_code(1).stderr;
    println!("{refused}");
    for said in ["may not", "s3:PutObject", store] {
        assert!(refused.contains(said), "{said:?} is not in {refused}");
    }
}
