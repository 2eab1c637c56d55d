//! How many files and connections this process may have open at a time.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not for connections of callers: the store's own, files, listeners.
const OTHERS: u64 = 512;

/// Raises the limit to the highest that this process may have, for many systems begin with 1024. It then
/// has room for `wanted` connections, or for as many as are returned: whoever accepts more has none left
/// for the store.
pub fn for_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let limit = getrlimit(Resource::Nofile).current;
    let room = room(limit, wanted);
    if room < wanted {
        tracing::warn!(
            limit,
            wanted,
            room,
            "expected room for all connections that may be, found open files for fewer: more are \
             closed at once; raise the hard limit (ulimit -Hn, LimitNOFILE) if as many are to be served"
        );
    }
    room
}

fn room(limit: Option<u64>, wanted: usize) -> usize {
    let Some(limit) = limit else {
        return wanted;
    };
    let room = limit.saturating_sub(OTHERS).max(limit / 2);
    usize::try_from(room).map_or(wanted, |room| room.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit {
            // Other tests may have files open.
            current: before.maximum.map(|most| most - 1),
            ..before
        };
        setrlimit(Resource::Nofile, low).unwrap();
        let room = for_connections(20_000);
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.current, before.maximum);
        assert_eq!(room, super::room(before.maximum, 20_000));
    }

    #[test]
    fn connections_leave_descriptors_for_the_store() {
        let wanted = 20_000;
        let found = [Some(1 << 20), None, Some(4096), Some(600)].map(|limit| room(limit, wanted));
        assert_eq!(found, [wanted, wanted, 4096 - 512, 300]);
    }
}
