//! The pictures of one part of a data set, wherever they lie, in the set's one order.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use autorep_core::data::{Check, DataSet, Layout, Part, Tree};

use crate::bucket::{Bucket, BucketShards, CacheSettings};
use crate::error::OpenError;
use crate::folders::{self, Files};
use crate::shards::{
    INDEX_FILE, Index, LocalShards, PICTURE_LIMIT, ReadShard, ShardEntry, UnderWay, is_tar,
};

/// The pictures of one part. Cheap to keep: it holds names and places, not pictures.
#[derive(Debug)]
pub struct Pictures {
    set: DataSet,
    part: Part,
    places: Places,
}

#[derive(Debug)]
enum Places {
    Files(Files),
    Shards {
        files: Vec<String>,
        images: Vec<Place>,
        classes: Vec<String>,
        reader: Arc<dyn ReadShard>,
    },
}

/// Pictures' files that are being read, or will be when they are needed.
pub enum Reading {
    /// These images, from a disk.
    Later(Vec<usize>),
    /// Asked for already.
    UnderWay(UnderWay),
}

impl fmt::Debug for Reading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(images) => formatter.debug_tuple("Later").field(images).finish(),
            Self::UnderWay(_) => formatter.write_str("UnderWay"),
        }
    }
}

/// A picture's place in a shard.
#[derive(Clone, Copy, Debug)]
struct Place {
    shard: u32,
    label: u32,
    offset: u64,
    bytes: u64,
}

impl Pictures {
    /// Lists a part in the data set's folder: from the index of its shards if there is one, else
    /// from its folders. Opens no picture.
    pub fn open(set: DataSet, part: Part, folder: &Path, check: Check) -> Result<Self, OpenError> {
        let (pictures, mut problems) = Self::list(set, part, folder, check)?;
        if problems.is_empty() {
            Ok(pictures)
        } else {
            Err(problems.swap_remove(0))
        }
    }

    /// As [`Self::open`], with every problem instead of the first.
    pub fn list(
        set: DataSet,
        part: Part,
        folder: &Path,
        check: Check,
    ) -> Result<(Self, Vec<OpenError>), OpenError> {
        let index_path = folder.join(INDEX_FILE);
        match fs::read(&index_path) {
            Ok(bytes) => {
                let index = Index::parse(set, &index_path.display().to_string(), &bytes)?;
                let found = |file: &str| fs::metadata(folder.join(file)).map(|it| it.len());
                let place = |file: &str| folder.join(file).display().to_string();
                let mut problems = sizes(index.part(part), found, place);
                let reader = Arc::new(LocalShards::new(folder.to_owned()));
                let pictures = Self::of_index(set, part, index, reader);
                problems.extend(pictures.problems(check, &index_path));
                return Ok((pictures, problems));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(folders::unreadable(&index_path, &error)),
        }
        let missing = |layout| OpenError::Missing {
            set: set.name(),
            folder: folder.to_owned(),
            layout,
        };
        let Layout::Pictures(tree) = set.layout() else {
            return Err(missing("a set of pictures"));
        };
        let listed = Files::list(tree, part, folder);
        let (files, mut problems) = listed.ok_or_else(|| match tars(folder) {
            0 => missing(in_words(tree)),
            shards => OpenError::NoIndex {
                set: set.name(),
                place: folder.display().to_string(),
                shards,
            },
        })?;
        let pictures = Self {
            set,
            part,
            places: Places::Files(files),
        };
        let lister = folders::lists_classes_in(tree, folder);
        problems.extend(pictures.problems(check, &lister));
        Ok((pictures, problems))
    }

    /// Lists a part in a bucket from the index of its shards. Whole shards are brought to this
    /// machine's disk from now on, as far as `cache` has room. Opens no picture.
    pub fn open_bucket(
        set: DataSet,
        part: Part,
        bucket: &Bucket,
        cache: Option<&CacheSettings>,
        check: Check,
    ) -> Result<Self, OpenError> {
        let (pictures, mut problems) = Self::list_bucket(set, part, bucket, cache, check)?;
        if problems.is_empty() {
            Ok(pictures)
        } else {
            Err(problems.swap_remove(0))
        }
    }

    /// As [`Self::open_bucket`], with every problem instead of the first.
    pub fn list_bucket(
        set: DataSet,
        part: Part,
        bucket: &Bucket,
        cache: Option<&CacheSettings>,
        check: Check,
    ) -> Result<(Self, Vec<OpenError>), OpenError> {
        let (index, there) = Index::in_bucket(set, bucket)?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let found = |file: &str| there.get(file).copied().ok_or_else(gone);
        let place = |file: &str| format!("{}/{file}", bucket.name());
        let mut problems = sizes(index.part(part), found, place);
        // Shards that are not those of the index are not worth a download.
        let cache = cache.filter(|_| problems.is_empty());
        let reader = BucketShards::new(bucket.clone(), index.part(part), cache);
        let reader = reader.map_err(|error| OpenError::Unreachable {
            place: bucket.name().to_owned(),
            why: error.to_string(),
        })?;
        let pictures = Self::of_index(set, part, index, Arc::new(reader));
        problems.extend(pictures.problems(check, Path::new(&place(INDEX_FILE))));
        Ok((pictures, problems))
    }

    /// Waits until no more whole shards are being brought to this machine's disk.
    pub fn settle(&self) {
        if let Places::Shards { reader, .. } = &self.places {
            reader.settle();
        }
    }

    /// The pictures of a part that an index places in shards.
    pub fn of_index(set: DataSet, part: Part, index: Index, reader: Arc<dyn ReadShard>) -> Self {
        let shards = index.part(part);
        let images = (0..)
            .zip(shards)
            .flat_map(|(shard, entry)| {
                let places = entry.images.iter();
                places.map(move |&(offset, bytes, label)| Place {
                    shard,
                    label,
                    offset,
                    bytes,
                })
            })
            .collect();
        let files = shards.iter().map(|shard| shard.file.clone()).collect();
        Self {
            set,
            part,
            places: Places::Shards {
                files,
                images,
                classes: index.classes,
                reader,
            },
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.places {
            Places::Files(files) => files.entries.len(),
            Places::Shards { images, .. } => images.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the classes, in the order of labels.
    pub fn classes(&self) -> &[String] {
        match &self.places {
            Places::Files(files) => &files.classes,
            Places::Shards { classes, .. } => classes,
        }
    }

    /// The class of a picture: a position in [`Self::classes`]. `image` is below [`Self::len`].
    pub fn label(&self, image: usize) -> u32 {
        match &self.places {
            Places::Files(files) => files.entries[image].label,
            Places::Shards { images, .. } => images[image].label,
        }
    }

    /// What to call a picture in messages: its path, or its shard with its place in it.
    pub fn name(&self, image: usize) -> String {
        match &self.places {
            Places::Files(files) => files.path(&files.entries[image]).display().to_string(),
            Places::Shards {
                files,
                images,
                reader,
                ..
            } => {
                let place = images[image];
                let file = &files[place.shard as usize];
                let member = member_name(&**reader, file, place.offset);
                let offset = place.offset;
                member.map_or_else(
                    || format!("{file} at byte {offset}"),
                    |member| format!("{member} at byte {offset} of {file}"),
                )
            }
        }
    }

    /// The key of a picture that lies in folders; one in a shard is known by its position.
    pub(crate) fn key(&self, image: usize) -> String {
        match &self.places {
            Places::Files(files) => files.key(&files.entries[image]),
            Places::Shards { images, .. } => format!("{:05}/{image:08}", images[image].label),
        }
    }

    /// The bytes of a picture's file.
    pub fn read(&self, image: usize) -> io::Result<Vec<u8>> {
        match &self.places {
            Places::Files(files) => read_limited(&files.path(&files.entries[image])),
            Places::Shards {
                files,
                images,
                reader,
                ..
            } => {
                let (file, offset, bytes) = images[image].range(files);
                reader.read(file, offset, bytes)
            }
        }
    }

    /// The bytes of several pictures' files, in the order asked for.
    pub fn read_many(&self, wanted: &[usize]) -> Vec<io::Result<Vec<u8>>> {
        match &self.places {
            Places::Files(_) => wanted.iter().map(|image| self.read(*image)).collect(),
            Places::Shards {
                files,
                images,
                reader,
                ..
            } => {
                let ranges: Vec<_> = wanted
                    .iter()
                    .map(|image| images[*image].range(files))
                    .collect();
                reader.read_many(&ranges)
            }
        }
    }

    /// Begins to read several pictures' files. Those in a bucket are asked for at once, so that
    /// they come while others are decoded; those on a disk are read by [`Self::finish`].
    pub fn begin(&self, wanted: &[usize]) -> Reading {
        let under_way = match &self.places {
            Places::Files(_) => None,
            Places::Shards {
                files,
                images,
                reader,
                ..
            } => {
                let ranges: Vec<_> = wanted
                    .iter()
                    .map(|image| images[*image].range(files))
                    .collect();
                reader.begin(&ranges)
            }
        };
        under_way.map_or_else(|| Reading::Later(wanted.to_vec()), Reading::UnderWay)
    }

    /// Waits for what [`Self::begin`] began, and gives it in the order asked for.
    pub fn finish(&self, reading: Reading) -> Vec<io::Result<Vec<u8>>> {
        match reading {
            Reading::Later(wanted) => self.read_many(&wanted),
            Reading::UnderWay(finish) => finish(),
        }
    }

    /// Pictures by class.
    pub fn per_class(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes().len()];
        for image in 0..self.len() {
            if let Some(count) = counts.get_mut(self.label(image) as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// What is wrong with the numbers of classes and pictures.
    fn problems(&self, check: Check, lister: &Path) -> Vec<OpenError> {
        let mut problems = Vec::new();
        let (expected, found) = (self.set.classes(), self.classes().len());
        let fits = match check {
            Check::Published => found == expected as usize,
            Check::Format => (1..=expected as usize).contains(&found),
        };
        if !fits {
            problems.push(OpenError::Classes {
                place: lister.to_owned(),
                expected,
                found,
            });
        }
        let wrong = |class: String, expected: usize, found: usize| OpenError::Images {
            set: self.set.name(),
            part: self.part.name(),
            class,
            expected,
            found,
        };
        let whole = self.set.images(self.part) as usize;
        if check == Check::Published && self.len() != whole {
            problems.push(wrong(String::new(), whole, self.len()));
        }
        if let (Check::Published, true, Some(each)) = (check, fits, self.balance()) {
            let classes = self.classes().iter().zip(self.per_class());
            let unequal = classes.filter(|(_, count)| *count != each);
            problems.extend(
                unequal.map(|(class, count)| wrong(format!(" of class {class}"), each, count)),
            );
        }
        if check == Check::Format && self.is_empty() {
            problems.push(wrong(String::new(), whole, 0));
        }
        problems
    }

    /// Pictures of each class in the published part, where they are equally many.
    fn balance(&self) -> Option<usize> {
        let equal = (self.set, self.part) != (DataSet::Imagenet, Part::Train);
        equal.then(|| (self.set.images(self.part) / self.set.classes()) as usize)
    }
}

impl Place {
    fn range<'a>(&self, files: &'a [String]) -> (&'a str, u64, usize) {
        // The index was checked: no picture is larger than memory.
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        (&files[self.shard as usize], self.offset, bytes)
    }
}

/// A tree in words.
const fn in_words(tree: Tree) -> &'static str {
    match tree {
        Tree::ClassFolders => "train/CLASS/*.JPEG and val/CLASS/*.JPEG",
        Tree::TinyImagenet => {
            "wnids.txt, train/CLASS/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt"
        }
    }
}

/// A picture's file, which is no larger than a picture in a shard may be.
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(PICTURE_LIMIT + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PICTURE_LIMIT {
        let text = format!("expected a picture of at most {PICTURE_LIMIT} bytes, found more");
        return Err(io::Error::other(text));
    }
    Ok(bytes)
}

/// The name in the header before a member's bytes.
fn member_name(reader: &dyn ReadShard, file: &str, offset: u64) -> Option<String> {
    let header = reader.read(file, offset.checked_sub(512)?, 100).ok()?;
    let name = header.split(|byte| *byte == 0).next()?;
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Whether the shards of a part are as long as the index says. `found` is the size of a file and
/// `place` what to call it.
fn sizes(
    shards: &[ShardEntry],
    found: impl Fn(&str) -> io::Result<u64>,
    place: impl Fn(&str) -> String,
) -> Vec<OpenError> {
    let problem = |shard: &ShardEntry| match found(&shard.file) {
        Ok(bytes) if bytes == shard.bytes => None,
        Ok(bytes) => Some(OpenError::Shard {
            file: place(&shard.file),
            problem: format!(
                "expected {} bytes, found {bytes}: it is cut short or another shard",
                shard.bytes
            ),
        }),
        Err(error) => Some(folders::unreadable(Path::new(&place(&shard.file)), &error)),
    };
    shards.iter().filter_map(problem).collect()
}

/// How many tar files lie in a folder.
fn tars(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_tar(name)).count()
}
