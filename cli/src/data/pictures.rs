//! `autorep data check` of data sets of one JPEG per image.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use anyhow::Context as _;
use autorep_core::data::{Check, DataRoot, DataSet, Part};
use autorep_data::shards::{INDEX_FILE, Index};
use autorep_data::{Bucket, OpenError, Pictures, verify};

/// What a check found: lines for stdout, and every problem, each a line for stderr.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) text: String,
    pub(super) problems: Vec<String>,
}

/// Lists both parts, decodes every picture and, if they lie in shards, verifies every shard.
pub(super) fn report(set: DataSet, folder: &Path, check: Check) -> Result<Report, OpenError> {
    let workers = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let mut text = String::new();
    let mut problems = Vec::new();
    for part in Part::ALL {
        let (pictures, wrong) = Pictures::list(set, part, folder, check)?;
        let listed = wrong.len();
        problems.extend(wrong.iter().map(ToString::to_string));
        let bad = verify::pictures(&pictures, workers);
        let counts = pictures.per_class();
        let least = counts.iter().min().copied().unwrap_or(0);
        let most = counts.iter().max().copied().unwrap_or(0);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} {}: {} images in {} classes of {least} to {most}; {} do not decode, {listed} other \
             problems",
            set.name(),
            part.name(),
            pictures.len(),
            counts.len(),
            bad.len(),
        );
        problems.extend(
            bad.iter()
                .map(|bad| format!("{}: {}", bad.name, bad.problem)),
        );
    }
    if let Ok(bytes) = fs::read(folder.join(INDEX_FILE)) {
        let index = Index::parse(set, INDEX_FILE, &bytes)?;
        for part in Part::ALL {
            let bad = verify::shards(&index, part, folder, workers);
            let _ = writeln!(
                text,
                "{} {}: {} shards; {} are not as the index says",
                set.name(),
                part.name(),
                index.part(part).len(),
                bad.len(),
            );
            problems.extend(
                bad.iter()
                    .map(|bad| format!("{}: {}", bad.name, bad.problem)),
            );
        }
    }
    Ok(Report { text, problems })
}

/// As [`report`] for a set in a bucket: each shard is fetched once, to a temporary folder.
pub(super) fn report_bucket(set: DataSet, url: &str, check: Check) -> anyhow::Result<Report> {
    let bucket = Bucket::open(url)?;
    let (index, _) = Index::in_bucket(set, &bucket)?;
    let work = tempfile::Builder::new()
        .prefix("autorep-check-")
        .tempdir()
        .context("make a temporary folder")?;
    let workers = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let mut text = String::new();
    let mut problems = Vec::new();
    for part in Part::ALL {
        let (pictures, wrong) = Pictures::list_bucket(set, part, &bucket, None, check)?;
        problems.extend(wrong.iter().map(ToString::to_string));
        let checked = verify::bucket(set, &index, part, &bucket, work.path(), workers);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} {}: {} images in {} classes, {} do not decode; {} shards, {} are not as the index \
             says; {} other problems",
            set.name(),
            part.name(),
            pictures.len(),
            pictures.classes().len(),
            checked.pictures.len(),
            index.part(part).len(),
            checked.shards.len(),
            wrong.len(),
        );
        let bad = checked.shards.iter().chain(&checked.pictures);
        problems.extend(bad.map(|bad| format!("{}: {}", bad.name, bad.problem)));
    }
    Ok(Report { text, problems })
}

/// Verifies that the classes and the numbers of pictures are the published ones. Opens none.
pub fn verify_listed(set: DataSet, place: &DataRoot) -> Result<(), OpenError> {
    let check = Check::Published;
    for part in Part::ALL {
        match place {
            DataRoot::Folder(folder) => Pictures::open(set, part, folder, check)?,
            DataRoot::Bucket(url) => {
                Pictures::open_bucket(set, part, &Bucket::open(url)?, None, check)?
            }
        };
    }
    Ok(())
}
