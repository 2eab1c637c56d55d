//! What the disk can do, beside which every durable figure is to be read.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::median;

/// The median time of a 4 KiB append with fdatasync, in milliseconds.
pub(crate) fn fdatasync_ms(folder: &Path) -> Result<f64> {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path)?;
    let block = [7; 4096];
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(millis(median(times)))
}

pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
