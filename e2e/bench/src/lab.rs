//! A coordinator with a sweep and workers.

use std::path::Path;

use anyhow::Result;
use autorep_proto::v1;
use autorep_proto::v1::lab_client::LabClient;
use futures::future::try_join_all;
use tempfile::TempDir;

use crate::process::{Coordinator, folder};
use crate::sweep;
use crate::worker::Worker;

pub(crate) struct Lab {
    pub(crate) folder: TempDir,
    pub(crate) coordinator: Coordinator,
    relu_total: u64,
}

impl Lab {
    /// A coordinator on an empty store, to which a manifest is submitted.
    pub(crate) async fn start(autorep: &Path, manifest: &str) -> Result<Self> {
        let relu_total = sweep::relu_total()?;
        let folder = folder()?;
        let store = folder.path().join("store");
        let coordinator = Coordinator::start(autorep, &store)?;
        let mut lab = Self {
            folder,
            coordinator,
            relu_total,
        };
        let request = v1::SubmitRequest {
            manifest: manifest.to_owned(),
            dry_run: false,
            rehearsal: None,
        };
        let channel = lab.coordinator.channel().await?;
        LabClient::new(channel).submit(request).await?;
        Ok(lab)
    }

    /// Workers with a connection each, registered.
    pub(crate) async fn workers(&mut self, count: usize) -> Result<Vec<Worker>> {
        let mut workers = Vec::with_capacity(count);
        while workers.len() < count {
            let some = (count - workers.len()).min(64);
            let mut begun = Vec::with_capacity(some);
            for at in 0..some {
                let name = format!("w{}", workers.len() + at);
                let channel = self.coordinator.channel().await?;
                begun.push(Worker::register(channel, name, self.relu_total));
            }
            let known = try_join_all(begun).await?;
            workers.extend(known.into_iter().map(|(worker, _ttl)| worker));
        }
        Ok(workers)
    }

    /// Does the baselines, after which every other grid point can be worked on.
    pub(crate) async fn open_up(&self, worker: &mut Worker) -> Result<()> {
        for _ in 0..5 {
            if let Some(held) = worker.acquire().await? {
                worker.complete(&held).await?;
            }
        }
        Ok(())
    }
}
