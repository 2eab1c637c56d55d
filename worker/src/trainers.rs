//! The trainers of one attempt: one, or one for each rank of a group that this worker runs.
//!
//! A group is all or nothing. Once one of its ranks has failed or is gone, the others are ended at
//! once, and the group has failed in the way of the rank that did so first. A rank that only lost
//! another one says so; then it is that other one's word or end that counts, and its own only if none
//! comes.

use std::time::Duration;

use autorep_proto::v1::{self, trainer_command::Command, trainer_event::Event};
use futures::future::{FutureExt as _, select_all};
use tokio::time::Instant;

use crate::trainer_process::{End, Launch, Said, SpawnError, TrainerProcess};
use crate::wait::at;

/// How long ranks may live after rank 0, and how long the cause of a lost rank is waited for.
const LINGER: Duration = Duration::from_secs(5);

/// One trainer of the group.
#[derive(Debug)]
struct Rank {
    process: TrainerProcess,
    /// Its place; absent for a trainer that is alone.
    place: Option<v1::RankGroup>,
    /// What it is told once it is known where the group meets.
    waits: Option<v1::StartTask>,
    /// Whether it has said how its part ended.
    has_concluded: bool,
    is_over: bool,
}

impl Rank {
    /// Whether it is the one that reports.
    fn leads(&self) -> bool {
        self.place.as_ref().is_none_or(|place| place.rank == 0)
    }

    /// In words that begin a sentence.
    fn name(&self) -> String {
        match &self.place {
            None => "the trainer".to_owned(),
            Some(place) => format!("rank {} of {}", place.rank, place.ranks),
        }
    }
}

/// Running trainers. Dropping them kills the processes.
#[derive(Debug)]
pub(crate) struct Trainers {
    ranks: Vec<Rank>,
    /// What a rank said that has lost another.
    lost: Option<v1::TrainerFailed>,
    /// How the rank ended that decides how the group has.
    end: Option<End>,
    /// That rank.
    decides: Option<usize>,
    /// Whether it is settled how the group ends: what ends now does so because of that.
    is_settled: bool,
    /// When those that are left are killed.
    overdue: Option<Instant>,
}

impl Trainers {
    /// Starts a trainer for each task of `starts`: one alone, or those of a group's ranks that are
    /// this worker's, with rank 0 first if it is among them. Ranks whose port is 0 are told their task
    /// when rank 0 has said where it listens.
    pub(crate) fn spawn(launch: &Launch, starts: Vec<v1::StartTask>) -> Result<Self, SpawnError> {
        let mut ranks = Vec::new();
        for start in starts {
            let place = start.group.clone();
            let number = place.as_ref().map_or(0, |place| place.rank);
            let own = match number {
                0 => launch.clone(),
                number => Launch {
                    log: launch.log.with_extension(format!("{number}.log")),
                    ..launch.clone()
                },
            };
            let process = TrainerProcess::spawn(&own)?;
            let knows = place.as_ref().is_none_or(|it| it.rank == 0 || it.port > 0);
            let waits = if knows {
                process.tell(Command::Start(start));
                None
            } else {
                Some(start)
            };
            ranks.push(Rank {
                process,
                place,
                waits,
                has_concluded: false,
                is_over: false,
            });
        }
        Ok(Self {
            ranks,
            lost: None,
            end: None,
            decides: None,
            is_settled: false,
            overdue: None,
        })
    }

    /// Sends a command to rank 0, which the others follow.
    pub(crate) fn tell(&self, command: Command) {
        let Some(leads) = self.ranks.iter().find(|rank| rank.leads()) else {
            let command = match command {
                Command::Start(_) => "start",
                Command::CheckpointNow(_) => "checkpoint-now",
                Command::Stop(_) => "stop",
            };
            tracing::debug!(command, "rank 0 is another worker's: left out");
            return;
        };
        leads.process.tell(command);
    }

    /// Ends the processes at once. [`Self::next`] still tells how that went.
    pub(crate) fn kill(&mut self) {
        self.is_settled = true;
        for rank in self.ranks.iter_mut().filter(|rank| !rank.is_over) {
            rank.process.kill();
        }
    }

    /// The next thing the trainers say. Cancel safe; not to be called after [`Said::Ended`].
    pub(crate) async fn next(&mut self) -> Said {
        loop {
            if self.ranks.iter().all(|rank| rank.is_over) {
                return self.last_word();
            }
            let Some((from, said)) = self.heard().await else {
                self.overdue = None;
                self.kill();
                continue;
            };
            if let Some(said) = self.hear(from, said) {
                return said;
            }
        }
    }

    /// What a living rank says next, and which; nothing if none does in time.
    async fn heard(&mut self) -> Option<(usize, Said)> {
        let living = self.ranks.iter_mut().enumerate();
        let living = living.filter(|(_, rank)| !rank.is_over);
        let any = select_all(living.map(|(at, rank)| {
            let next = rank.process.next();
            next.map(move |said| (at, said)).boxed()
        }));
        tokio::select! {
            (heard, _, _) = any => Some(heard),
            () = at(self.overdue) => None,
        }
    }

    /// What is left to say when every process is gone.
    fn last_word(&mut self) -> Said {
        if let Some(failed) = self.lost.take() {
            return Said::Event(Event::Failed(failed));
        }
        Said::Ended(self.end.take().unwrap_or_default())
    }

    /// What a rank's word or end means for the group.
    fn hear(&mut self, from: usize, said: Said) -> Option<Said> {
        let leads = self.ranks[from].leads();
        match said {
            Said::Ended(end) => {
                self.ended(from, end);
                None
            }
            Said::Event(Event::Failed(failed)) => self.failed(from, failed),
            Said::Event(Event::Meeting(meeting)) if leads => {
                self.introduce(meeting.port);
                Some(Said::Event(Event::Meeting(meeting)))
            }
            Said::Event(event) if leads => {
                self.ranks[from].has_concluded |=
                    matches!(event, Event::Done(_) | Event::Stopped(_));
                Some(Said::Event(event))
            }
            Said::Event(_) => {
                let rank = self.ranks[from].name();
                tracing::debug!(rank, "only rank 0 is listened to");
                None
            }
        }
    }

    /// Tells the ranks that wait where rank 0 listens.
    fn introduce(&mut self, port: u32) {
        for rank in &mut self.ranks {
            let Some(mut start) = rank.waits.take() else {
                continue;
            };
            if let Some(group) = &mut start.group {
                group.port = port;
            }
            rank.process.tell(Command::Start(start));
        }
    }

    fn failed(&mut self, from: usize, failed: v1::TrainerFailed) -> Option<Said> {
        self.ranks[from].has_concluded = true;
        if self.is_settled {
            return None;
        }
        let message = match &self.ranks[from].place {
            None => failed.message,
            Some(_) => format!("{}: {}", self.ranks[from].name(), failed.message),
        };
        let failed = v1::TrainerFailed { message, ..failed };
        if failed.lost_ranks {
            if self.lost.is_none() {
                self.lost = Some(failed);
                self.decides = Some(from);
                self.overdue = Some(Instant::now() + LINGER);
            }
            return None;
        }
        self.settle(from);
        Some(Said::Event(Event::Failed(failed)))
    }

    fn ended(&mut self, from: usize, mut end: End) {
        let rank = &mut self.ranks[from];
        rank.is_over = true;
        let leads = rank.leads();
        let well = end.status.is_some_and(|status| status.success());
        let fine = rank.has_concluded || (!leads && well);
        end.who = rank.name();
        if !fine && !self.is_settled {
            self.settle(from);
        }
        // Where rank 0 is another worker's, that no rank has failed is all there is to say.
        let is_led_here = self.ranks.iter().any(Rank::leads);
        let speaks = leads || !is_led_here;
        if self.decides == Some(from) || (speaks && self.decides.is_none()) {
            self.end = Some(end);
        }
        if leads && self.overdue.is_none() {
            self.overdue = Some(Instant::now() + LINGER);
        }
    }

    /// The group ends as this rank does.
    fn settle(&mut self, by: usize) {
        self.lost = None;
        self.decides = Some(by);
        self.is_settled = true;
        for (at, rank) in self.ranks.iter_mut().enumerate() {
            if at != by && !rank.is_over {
                rank.process.kill();
            }
        }
    }
}
