//! What the disk can do, beside which every durable figure is to be read.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::process::median;

/// Between two samples: seldom enough to be no load.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the time of a 4 KiB append with fdatasync again and again, while something else is
/// measured: a shared disk is another one every second.
pub(crate) struct Disk {
    stop: Arc<AtomicBool>,
    sampling: JoinHandle<Result<Vec<Duration>>>,
}

impl Disk {
    /// Begins, with a file in `folder`.
    pub(crate) fn watch(folder: &Path) -> Result<Self> {
        let mut file = File::create(folder.join("fdatasync"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sampling = thread::spawn(move || {
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                file.write_all(&[7; 4096])?;
                file.sync_data()?;
                times.push(began.elapsed());
                thread::sleep(PAUSE);
            }
            Ok(times)
        });
        Ok(Self { stop, sampling })
    }

    /// The median, in milliseconds.
    pub(crate) fn fdatasync_ms(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.sampling.join();
        let times = times.map_err(|_panic| anyhow!("sampling the disk failed"))??;
        Ok(millis(median(times)))
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
