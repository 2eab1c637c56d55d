//! Dying where it was asked for.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::{MARK_ENV, POINT_ENV, Point};

/// How long an answer that is handed over may take to leave the process.
const ANSWER_LEAVES: Duration = Duration::from_millis(50);

/// Where to die, and the file that says that this has been done.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Order {
    point: OsString,
    mark: PathBuf,
}

impl Order {
    fn from_environment() -> Option<Self> {
        Some(Self {
            point: std::env::var_os(POINT_ENV)?,
            mark: std::env::var_os(MARK_ENV)?.into(),
        })
    }

    /// Whether to die now: only one caller is told so, whichever process it is in.
    fn is_due(&self, point: Point) -> bool {
        self.point == point.name() && File::create_new(&self.mark).is_ok()
    }
}

pub(crate) fn reached(point: Point) {
    static ORDER: OnceLock<Option<Order>> = OnceLock::new();
    // Other threads must not go past the point while this one dies at it.
    static DYING: Mutex<()> = Mutex::new(());
    let Some(order) = ORDER.get_or_init(Order::from_environment) else {
        return;
    };
    let _alone = DYING.lock().unwrap_or_else(PoisonError::into_inner);
    if !order.is_due(point) {
        return;
    }
    if point.name().ends_with("after-answer") {
        std::thread::sleep(ANSWER_LEAVES);
    }
    // It cannot fail: the signal is to this process itself.
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_dies_at_its_point_alone_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let order = Order {
            point: "worker-after-part".into(),
            mark: folder.path().join("mark"),
        };
        assert!(!order.is_due(Point::WorkerBeforePart));
        assert!(!order.mark.exists());
        assert!(order.is_due(Point::WorkerAfterPart));
        assert!(!order.is_due(Point::WorkerAfterPart));
    }
}
