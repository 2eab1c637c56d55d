//! `autorep data check`: verifies every file of a data set and counts its images per class.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use autorep_core::data::{
    Check, DataError, DataRoot, DataSet, Images, Layout, Part, UNVERIFIED_ENV, decode_with,
};

use super::{CheckArgs, pictures};
use crate::exit::Exit;
use crate::output;

/// What the environment asks files to be held against; anything but the published ones is said.
pub(super) fn asked_for() -> Check {
    let check = Check::from_env_value(std::env::var(UNVERIFIED_ENV).ok().as_deref());
    if check == Check::Format {
        output::stderr(&format!(
            "warning: {UNVERIFIED_ENV}=1: only the format is checked, not that the files are the \
             published ones\n"
        ));
    }
    check
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit> {
    let set = args.set.0;
    let place = args.data.resolve()?.of(set);
    let check = asked_for();
    let unusable = || format!("{} in {place} is not usable", set.name());
    let reported = match (&place, set.layout()) {
        (DataRoot::Bucket(url), _) => Some(pictures::report_bucket(set, url, check)),
        (DataRoot::Folder(folder), Layout::Pictures(_)) => {
            Some(pictures::report(set, folder, check).map_err(anyhow::Error::from))
        }
        (DataRoot::Folder(_), Layout::Packed) => None,
    };
    if let Some(report) = reported {
        let report = report.with_context(unusable)?;
        output::stdout(report.text.as_bytes())?;
        for problem in &report.problems {
            output::stderr(&format!("{problem}\n"));
        }
        if !report.problems.is_empty() {
            let found = report.problems.len();
            return Err(anyhow!("expected none of these problems, found {found}"))
                .with_context(unusable);
        }
        return Ok(Exit::Done);
    }
    let folder = args.data.folder()?.join(set.name());
    let text = report(set, &folder, check).with_context(unusable)?;
    output::stdout(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Verifies both parts and tells their images per class.
fn report(set: DataSet, folder: &Path, check: Check) -> Result<String, DataError> {
    let mut counts = Vec::new();
    for part in Part::ALL {
        let images = read_part(set, part, folder, check)?;
        counts.push((part, images.len(), images.per_class(set.classes())));
    }
    let input = set.input();
    let mut text = format!(
        "{} in {}: {} x {} x {} images in {} classes; {}\n",
        set.name(),
        folder.display(),
        input.channels,
        input.height,
        input.width,
        set.classes(),
        match check {
            Check::Published => verified_by(set),
            Check::Format => "the format is right",
        },
    );
    let mut line = |cells: [&dyn std::fmt::Display; 3]| {
        let [first, train, test] = cells;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{first:>5}  {train:>6}  {test:>6}");
    };
    line([&"class", &counts[0].0.name(), &counts[1].0.name()]);
    for (class, (train, test)) in counts[0].2.iter().zip(&counts[1].2).enumerate() {
        line([&class, train, test]);
    }
    line([&"all", &counts[0].1, &counts[1].1]);
    Ok(text)
}

/// What [`Check::Published`] has shown about a set that passed.
pub fn verified_by(set: DataSet) -> &'static str {
    if let Layout::Pictures(_) = set.layout() {
        return "classes and images are as many as published; `autorep data check` decodes each";
    }
    let digested = Part::ALL
        .iter()
        .flat_map(|part| set.files(*part))
        .all(|file| file.sha256.is_some());
    if digested {
        "every file has the published sha256"
    } else {
        "sizes, labels and images per class are those of the published files"
    }
}

/// Verifies that the folder holds the data set as published.
pub fn verify(set: DataSet, folder: &Path) -> Result<(), DataError> {
    for part in Part::ALL {
        read_part(set, part, folder, Check::Published)?;
    }
    Ok(())
}

/// The name of the first file that is in the folder neither plain nor gzipped. Reads nothing.
pub fn missing_file(set: DataSet, folder: &Path) -> Option<&'static str> {
    if let Layout::Pictures(tree) = set.layout() {
        return (!autorep_data::is_there(tree, folder)).then_some("train and no shards.json");
    }
    Part::ALL
        .iter()
        .flat_map(|part| set.files(*part))
        .map(|file| file.name)
        .find(|name| !folder.join(name).is_file() && !folder.join(format!("{name}.gz")).is_file())
}

fn read_part(set: DataSet, part: Part, folder: &Path, check: Check) -> Result<Images, DataError> {
    decode_with(
        set,
        part,
        check,
        &mut |name| match std::fs::read(folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_set_is_counted_per_class_and_refused_as_published() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, header: &[u8], body: &[u8]| {
            std::fs::write(folder.path().join(name), [header, body].concat()).unwrap();
        };
        for (part, labels) in [("train", [3, 3, 9]), ("t10k", [0, 1, 9])] {
            write(
                &format!("{part}-images-idx3-ubyte"),
                &[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 28, 0, 0, 0, 28],
                &[0; 3 * 28 * 28],
            );
            write(
                &format!("{part}-labels-idx1-ubyte"),
                &[0, 0, 8, 1, 0, 0, 0, 3],
                &labels,
            );
        }
        let text = report(DataSet::FashionMnist, folder.path(), Check::Format).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["class", "train", "test"]);
        assert_eq!(lines[1], ["0", "0", "1"]);
        assert_eq!(lines[4], ["3", "2", "0"]);
        assert_eq!(lines[10], ["9", "1", "1"]);
        assert_eq!(lines[11], ["all", "3", "3"]);
        assert!(matches!(
            verify(DataSet::FashionMnist, folder.path()),
            Err(DataError::Size { .. })
        ));
    }

    #[test]
    fn the_first_missing_file_is_named_and_a_gzipped_one_counts_as_there() {
        let folder = tempfile::tempdir().unwrap();
        let missing = || missing_file(DataSet::FashionMnist, folder.path());
        assert_eq!(missing(), Some("train-images-idx3-ubyte"));
        std::fs::write(folder.path().join("train-images-idx3-ubyte.gz"), "").unwrap();
        assert_eq!(missing(), Some("train-labels-idx1-ubyte"));
    }
}
