//! Checks that cannot run on this machine say so where a person sees it.

use std::fs::OpenOptions;
use std::io::Write as _;

/// The file that collects what was left out; `make test` prints it at its end.
const LIST_ENV: &str = "AUTOREP_LEFT_OUT";

/// Says that this test checks nothing here, and why.
pub(crate) fn say(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("LEFT OUT {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os(LIST_ENV) {
        let mut list = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}
