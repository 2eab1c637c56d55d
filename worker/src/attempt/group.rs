//! What an attempt knows of the other workers that hold its lease, where there are some.

use std::time::Duration;

use autorep_core::lease::{BadRendezvous, LeasePart, Rendezvous};
use autorep_proto::v1;
use tokio::time::Instant;

use crate::fleet::{Says, Terms};
use crate::task::Task;

/// Where the ranks of a group on one machine meet: nothing is open to others.
const MEET_AT: &str = "127.0.0.1";

/// This worker's place among those that hold a lease. One that is alone is its own leader.
#[derive(Debug)]
pub(super) struct Group {
    part: LeasePart,
    nodes: u32,
    /// Where the ranks meet, once that is known.
    place: Option<Rendezvous>,
    /// A member is to stop, and waits for its leader to give the lease back.
    is_leaving: bool,
    /// A leader is to give the lease back because a member is to stop.
    is_parting: bool,
    /// Ranks of other workers were lost: their own workers know why, and have until then to say so.
    pub(super) blames_until: Option<Instant>,
}

impl Group {
    pub(super) fn of(task: &Task) -> Self {
        Self {
            part: task.part,
            nodes: task.nodes,
            place: None,
            is_leaving: false,
            is_parting: false,
            blames_until: None,
        }
    }

    pub(super) const fn is_member(&self) -> bool {
        !self.part.is_leaders()
    }

    /// The ranks of this worker, which runs so many, in the group: the first, and how many there are in
    /// all. Each of the others runs as many.
    pub(super) const fn ranks(&self, here: u32) -> (u32, u32) {
        (self.part.node * here, self.nodes * here)
    }

    /// Where this worker's ranks are told to meet: the host, and the port, which is 0 where rank 0 is
    /// one of them and chooses it. A number of IPv6 without its brackets: they are an address's, and
    /// nothing that is looked up.
    pub(super) fn meets_at(&self, advertised: &str) -> (String, u32) {
        let (host, port) = match &self.place {
            Some(place) if self.is_member() => (place.host(), place.port().into()),
            Some(_) | None if self.nodes == 1 => (MEET_AT, 0),
            Some(_) | None => (advertised, 0),
        };
        (host.trim_matches(['[', ']']).to_owned(), port)
    }

    /// Rank 0 is this worker's and listens on `port`.
    pub(super) fn listens(&mut self, advertised: &str, port: u32) -> Result<(), BadRendezvous> {
        if self.nodes > 1 {
            let port = u16::try_from(port).unwrap_or(0);
            self.place = Some(Rendezvous::new(advertised, port)?);
        }
        Ok(())
    }

    /// A renewal was answered: whether a member knows from now on where its ranks meet.
    pub(super) fn is_invited_by(&mut self, answer: &v1::RenewResponse) -> bool {
        let place = answer.rendezvous.parse().ok();
        if !self.is_member() || self.place.is_some() || place.is_none() {
            return false;
        }
        self.place = place;
        true
    }

    /// Whether the ranks of this worker can meet the others.
    pub(super) const fn can_meet(&self) -> bool {
        !self.is_member() || self.place.is_some()
    }

    /// A member asks its leader for a checkpoint and the end of the lease.
    pub(super) const fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// A leader gives the lease back. Returns whether this is new.
    pub(super) const fn part_ways(&mut self) -> bool {
        let is_new = !self.is_parting;
        self.is_parting = true;
        is_new
    }

    pub(super) const fn is_parting(&self) -> bool {
        self.is_parting
    }

    /// This worker's ranks have lost others, and say no more than that. If those are another worker's,
    /// that one says why, or is lost itself and its part of the lease expires; either ends the lease
    /// before this worker has to speak.
    pub(super) fn blame(&mut self, failed: &v1::TrainerFailed, terms: Terms) {
        if failed.lost_ranks && self.nodes > 1 {
            self.blames_until = Some(Instant::now() + terms.lease_ttl + terms.renew_every);
        }
    }

    /// What the next renewal says.
    pub(super) fn says(&self, progress: Option<v1::Progress>) -> Says {
        let place = self.place.as_ref().filter(|_| !self.is_member());
        Says {
            progress: progress.filter(|_| !self.is_member()),
            rendezvous: place.map(ToString::to_string).unwrap_or_default(),
            leaving: self.is_leaving,
        }
    }

    /// How long to wait before the next renewal: shorter where the answer is waited for.
    pub(super) fn renews_after(&self, terms: Terms, is_waiting: bool) -> Duration {
        if self.is_member() && is_waiting {
            terms.renew_every / 4
        } else {
            terms.renew_every
        }
    }
}

#[cfg(test)]
mod tests {
    use autorep_core::digest::Digest;
    use autorep_core::id::{Generation, TaskId};
    use autorep_core::lease::LeaseClaim;

    use super::*;

    fn group(node: u32, nodes: u32) -> Group {
        let claim = LeaseClaim {
            task: TaskId(Digest::of(b"task")),
            generation: Generation(1),
        };
        Group {
            part: LeasePart { claim, node },
            nodes,
            place: None,
            is_leaving: false,
            is_parting: false,
            blames_until: None,
        }
    }

    fn invited(rendezvous: &str) -> v1::RenewResponse {
        v1::RenewResponse {
            rendezvous: rendezvous.to_owned(),
            ..v1::RenewResponse::default()
        }
    }

    #[test]
    fn ranks_are_numbered_worker_by_worker() {
        assert_eq!(group(0, 1).ranks(2), (0, 2));
        assert_eq!(
            [0, 1, 2].map(|node| group(node, 3).ranks(4)),
            [(0, 12), (4, 12), (8, 12)]
        );
    }

    #[test]
    fn a_leader_says_where_its_rank_0_listens_and_members_go_there() {
        let mut leader = group(0, 2);
        assert_eq!(leader.says(None).rendezvous, "");
        assert_eq!(leader.meets_at("here"), ("here".to_owned(), 0));
        assert_eq!(
            leader.meets_at("[fd00::7]"),
            ("fd00::7".to_owned(), 0),
            "as it is looked up"
        );
        leader.listens("here", 4711).unwrap();
        let said = leader.says(None).rendezvous;
        assert_eq!(said, "here:4711");

        let mut member = group(1, 2);
        assert!(!member.can_meet());
        assert!(!member.is_invited_by(&invited("")));
        assert!(member.is_invited_by(&invited(&said)));
        assert!(!member.is_invited_by(&invited(&said)), "once is enough");
        assert_eq!(member.meets_at("there"), ("here".to_owned(), 4711));
        assert_eq!(member.says(None).rendezvous, "");
    }

    #[test]
    fn a_worker_that_is_alone_opens_nothing_to_others() {
        let mut alone = group(0, 1);
        assert_eq!(alone.meets_at("here"), (MEET_AT.to_owned(), 0));
        alone.listens("here", 4711).unwrap();
        assert_eq!(alone.says(None).rendezvous, "");
    }
}
