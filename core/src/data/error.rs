//! What can be wrong with a data set's files.

/// A data set's files are missing, damaged or not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Neither the file nor its gzipped form is there.
    #[error(
        "found neither {file} nor {file}.gz in the data folder of {set}: `autorep data fetch {set}` gets it, or says where it is published"
    )]
    Missing {
        /// The data set's name.
        set: &'static str,
        /// The file.
        file: String,
    },
    /// The file is there but could not be read.
    #[error("cannot read {file}: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// The operating system's reason.
        why: String,
    },
    /// The gzipped file does not decompress: it is cut short or damaged.
    #[error("{file} is not a complete gzip file: {why}; fetch it again")]
    Gzip {
        /// The file, with `.gz`.
        file: String,
        /// The decompressor's reason.
        why: String,
    },
    /// The decompressed file has another size than the published one.
    #[error("{file} should hold {expected} bytes, found {found}; fetch it again")]
    Size {
        /// The file.
        file: String,
        /// Bytes of the published file.
        expected: usize,
        /// Bytes found, as `N` or `more`.
        found: String,
    },
    /// The decompressed file has another digest than the published one.
    #[error("{file} should have the sha256 {expected}, found {found}; fetch it again")]
    Digest {
        /// The file.
        file: String,
        /// Digest of the published file.
        expected: String,
        /// Digest found.
        found: String,
    },
    /// The file does not begin as its format demands.
    #[error("{file} is not an idx file of {expected}: it begins with the bytes {found}")]
    Magic {
        /// The file.
        file: String,
        /// What its header should announce.
        expected: &'static str,
        /// Its first bytes in hexadecimal digits.
        found: String,
    },
    /// The images are not as large as the data set's.
    #[error("{file} should hold images of {expected}, found {found}")]
    Dimensions {
        /// The file.
        file: String,
        /// Rows x columns of the data set.
        expected: String,
        /// Rows x columns in the file's header.
        found: String,
    },
    /// The file ends before, or goes on after, what its format says that it holds.
    #[error("{file} should end after {expected} bytes, found {found}: it is cut short or damaged")]
    Length {
        /// The file.
        file: String,
        /// Bytes that its header or record size asks for.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// The labels are not as many as the images.
    #[error("{file} should hold {expected} labels, one per image, found {found}")]
    Labels {
        /// The file of labels.
        file: String,
        /// Images in the file of images.
        expected: usize,
        /// Labels found.
        found: usize,
    },
    /// A label names no class.
    #[error("{file} should hold labels below {classes}, found {label} at image {image}")]
    LabelOutOfRange {
        /// The file.
        file: String,
        /// The image's position in the file, counted from 0.
        image: usize,
        /// The label found.
        label: u8,
        /// Classes of the data set.
        classes: u32,
    },
    /// A class does not have the published number of images. Every data set here is balanced.
    #[error(
        "the {part} part of {set} should hold {expected} images of class {class}, found {found}; fetch it again"
    )]
    Unbalanced {
        /// The data set's name.
        set: &'static str,
        /// The part's name.
        part: &'static str,
        /// The first class that is wrong.
        class: u32,
        /// Images that each class should have.
        expected: usize,
        /// Images found.
        found: usize,
    },
    /// The caller passed another number of files than the part has. A bug, not a bad file.
    #[error("the {part} part of {set} has {expected} files, was given {found}")]
    FileCount {
        /// The data set's name.
        set: &'static str,
        /// The part's name.
        part: &'static str,
        /// Files of the part.
        expected: usize,
        /// Contents given.
        found: usize,
    },
    /// The data set is one file per image and is not read this way. A bug, not a bad file.
    #[error("{set} is one file per image; expected a data set that is packed into a few files")]
    NotPacked {
        /// The data set's name.
        set: &'static str,
    },
}
