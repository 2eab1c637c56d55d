//! What can be wrong with a data set of pictures.

use std::path::PathBuf;

/// The pictures of a data set are missing, incomplete or not what they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing to read.
    #[error(
        "expected {set} in {} as {layout}, or as tar shards with their {index}; found neither: \
         put its files there, as docs/data.md says",
        folder.display(),
        index = crate::shards::INDEX_FILE
    )]
    Missing {
        /// The data set's name.
        set: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
        /// Its layout as files, in words.
        layout: &'static str,
    },
    /// There are shards, but no index.
    #[error(
        "expected {index} beside the {shards} tar files in {place}, found none: their images have \
         no order that is the data set's; unpack them into folders and pack those with `autorep \
         data shard {set}`, which writes it",
        index = crate::shards::INDEX_FILE
    )]
    NoIndex {
        /// The data set's name.
        set: &'static str,
        /// The folder or the place in a bucket.
        place: String,
        /// How many tar files lie there.
        shards: usize,
    },
    /// There is nothing in the bucket.
    #[error(
        "expected {index} of {set} in {place}, found none; `autorep data shard {set} --from DIR \
         --to {place}` writes it",
        index = crate::shards::INDEX_FILE
    )]
    NotInBucket {
        /// The data set's name.
        set: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// The set is not one of pictures.
    #[error(
        "expected a set of one JPEG per image in {place}, found {set}, which cannot be read from \
         a bucket; put it into a folder (`autorep data fetch {set}`) and name that with --data"
    )]
    OnlyInFolders {
        /// The data set's name.
        set: &'static str,
        /// The place in a bucket.
        place: String,
    },
    /// The bucket does not answer as it should.
    #[error("cannot read from {place}: {why}")]
    Unreachable {
        /// The place in the bucket.
        place: String,
        /// The store's reason.
        why: String,
    },
    /// A file or folder is there but cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// The operating system's or the store's reason.
        why: String,
    },
    /// There are not as many classes as in the data set.
    #[error("{}: expected {expected} classes, found {found}", place.display())]
    Classes {
        /// The folder or file that lists them.
        place: PathBuf,
        /// Classes of the data set.
        expected: u32,
        /// Classes found.
        found: usize,
    },
    /// A class is named that is not among the set's classes.
    #[error("{}: the class {class:?} is not one of the {classes} of {of}", place.display())]
    UnknownClass {
        /// Where it is named.
        place: PathBuf,
        /// The name.
        class: String,
        /// How many classes there are.
        classes: usize,
        /// What lists them.
        of: &'static str,
    },
    /// A line of an annotation file does not say what it should.
    #[error("{}:{line}: expected {expected}, found {found:?}", file.display())]
    Annotation {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What it should say.
        expected: &'static str,
        /// What it says.
        found: String,
    },
    /// A picture that is listed is not there, or one that is there is not listed.
    #[error("{}: {what}", path.display())]
    Unlisted {
        /// The picture.
        path: PathBuf,
        /// Which of the two.
        what: &'static str,
    },
    /// Two pictures would have one key.
    #[error(
        "{}: two pictures have the key {key:?} (the class and the file's name up to its last dot, \
         other dots as _); rename one",
        folder.display()
    )]
    SameKey {
        /// The part's folder.
        folder: PathBuf,
        /// The key.
        key: String,
    },
    /// There are not as many pictures as in the published part.
    #[error("the {part} part of {set}: expected {expected} images{class}, found {found}")]
    Images {
        /// The data set's name.
        set: &'static str,
        /// The part's name.
        part: &'static str,
        /// ` of class NAME`, or nothing for the whole part.
        class: String,
        /// Images of the published part.
        expected: usize,
        /// Images found.
        found: usize,
    },
    /// The index of shards is not one, or not of this set.
    #[error(
        "{path}: expected {expected}, found {found}; make the shards anew with `autorep data shard`"
    )]
    Index {
        /// The index.
        path: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// A shard is not what the index or its format says.
    #[error("{file}: {problem}")]
    Shard {
        /// The shard.
        file: String,
        /// What is wrong.
        problem: String,
    },
}
