//! Lists the pictures of a data set that lies in folders.
//!
//! The order of pictures is part of what a data set's name means: by class (classes sorted by the
//! bytes of their names), then by the bytes of the file's name up to its last dot. It does not
//! depend on the file system or on the order of listing.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use autorep_core::data::{Part, Tree};

use crate::error::OpenError;

/// Where Tiny-ImageNet's archive puts everything.
const TINY_FOLDER: &str = "tiny-imagenet-200";
const TINY_CLASSES: &str = "wnids.txt";
const TINY_LABELS: &str = "val_annotations.txt";

/// One picture as a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FileEntry {
    pub(crate) label: u32,
    /// The file's name without its folder.
    pub(crate) name: Box<str>,
}

/// The pictures of a part as files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Files {
    /// The folder of the data set.
    root: PathBuf,
    tree: Tree,
    part: Part,
    pub(crate) classes: Vec<String>,
    pub(crate) entries: Vec<FileEntry>,
}

impl Files {
    /// Lists the part in `folder`, with every problem on the way; `None` if nothing of the data
    /// set is there.
    pub(crate) fn list(tree: Tree, part: Part, folder: &Path) -> Option<(Self, Vec<OpenError>)> {
        let mut problems = Vec::new();
        let root = root(tree, folder)?;
        let classes = class_names(tree, &root, &mut problems);
        let mut files = Self {
            root,
            tree,
            part,
            classes,
            entries: Vec::new(),
        };
        match (tree, part) {
            (Tree::TinyImagenet, Part::Test) => files.list_annotated(&mut problems),
            _ => files.list_classes(&mut problems),
        }
        files.sort(&mut problems);
        Some((files, problems))
    }

    /// The folder of the part.
    fn folder(&self) -> PathBuf {
        part_folder(&self.root, self.part)
    }

    /// The folder of one class's pictures.
    fn class_folder(&self, class: &str) -> PathBuf {
        match (self.tree, self.part) {
            (Tree::TinyImagenet, Part::Train) => self.folder().join(class).join("images"),
            (Tree::TinyImagenet, Part::Test) => self.folder().join("images"),
            (Tree::ClassFolders, _) => self.folder().join(class),
        }
    }

    /// The path of a picture.
    pub(crate) fn path(&self, entry: &FileEntry) -> PathBuf {
        let class = self.classes.get(entry.label as usize);
        self.class_folder(class.map_or("", String::as_str))
            .join(&*entry.name)
    }

    /// The picture's key in a shard: its class and the name of its file up to the last dot, with
    /// other dots replaced, because a key ends at its first dot.
    pub(crate) fn key(&self, entry: &FileEntry) -> String {
        let class = self.classes.get(entry.label as usize);
        let class = class.map_or("", String::as_str);
        format!("{class}/{}", stem(&entry.name)).replace('.', "_")
    }

    fn list_classes(&mut self, problems: &mut Vec<OpenError>) {
        let known: BTreeMap<&str, u32> = self.classes.iter().map(String::as_str).zip(0..).collect();
        let folder = self.folder();
        let found = names(&folder, Kind::Folder, problems);
        for class in found
            .iter()
            .filter(|class| !known.contains_key(class.as_str()))
        {
            problems.push(OpenError::UnknownClass {
                place: folder.clone(),
                class: class.clone(),
                classes: known.len(),
                of: self.lister(),
            });
        }
        let mut entries = Vec::new();
        for (class, label) in &known {
            let pictures = names(&self.class_folder(class), Kind::Picture, problems);
            entries.extend(pictures.into_iter().map(|name| FileEntry {
                label: *label,
                name: name.into(),
            }));
        }
        self.entries = entries;
    }

    /// What lists the classes, for messages.
    const fn lister(&self) -> &'static str {
        match self.tree {
            Tree::ClassFolders => "the folder train",
            Tree::TinyImagenet => TINY_CLASSES,
        }
    }

    /// Tiny-ImageNet's validation pictures: a line `NAME <tab> CLASS <tab> box` for each.
    fn list_annotated(&mut self, problems: &mut Vec<OpenError>) {
        let file = self.folder().join(TINY_LABELS);
        let mut there: BTreeMap<String, bool> =
            names(&self.class_folder(""), Kind::Picture, problems)
                .into_iter()
                .map(|name| (name, false))
                .collect();
        let Some(text) = read_text(&file, problems) else {
            return;
        };
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let mut cells = line.split('\t');
            let (Some(name), Some(class)) = (cells.next(), cells.next()) else {
                problems.push(OpenError::Annotation {
                    file: file.clone(),
                    line: number,
                    expected: "NAME and CLASS with a tab between them",
                    found: line.chars().take(80).collect(),
                });
                continue;
            };
            let Ok(label) = self
                .classes
                .binary_search_by(|known| known.as_str().cmp(class))
            else {
                problems.push(OpenError::UnknownClass {
                    place: file.clone(),
                    class: class.chars().take(80).collect(),
                    classes: self.classes.len(),
                    of: TINY_CLASSES,
                });
                continue;
            };
            let Some(listed) = there.get_mut(name) else {
                problems.push(OpenError::Unlisted {
                    path: file.clone(),
                    what: "it lists a picture that is not in the folder images",
                });
                continue;
            };
            *listed = true;
            self.entries.push(FileEntry {
                label: u32::try_from(label).unwrap_or(u32::MAX),
                name: name.into(),
            });
        }
        for (name, _) in there.iter().filter(|(_, listed)| !**listed) {
            problems.push(OpenError::Unlisted {
                path: self.class_folder("").join(name),
                what: "val_annotations.txt does not give its class",
            });
        }
    }

    fn sort(&mut self, problems: &mut Vec<OpenError>) {
        self.entries.sort_by(|left, right| {
            let order = |entry: &FileEntry| (entry.label, stem(&entry.name).replace('.', "_"));
            order(left)
                .cmp(&order(right))
                .then_with(|| left.name.cmp(&right.name))
        });
        for pair in self.entries.windows(2) {
            let keys = [&pair[0], &pair[1]].map(|entry| self.key(entry));
            if keys[0] == keys[1] {
                problems.push(OpenError::SameKey {
                    folder: self.folder(),
                    key: keys[0].clone(),
                });
            }
        }
    }
}

/// How many classes the tree lists and where.
pub(crate) fn lists_classes_in(tree: Tree, folder: &Path) -> PathBuf {
    let root = root(tree, folder).unwrap_or_else(|| folder.to_owned());
    match tree {
        Tree::ClassFolders => root.join("train"),
        Tree::TinyImagenet => root.join(TINY_CLASSES),
    }
}

/// Whether a folder holds a data set of this tree, or shards of one. Reads none of it.
pub fn is_there(tree: Tree, folder: &Path) -> bool {
    folder.join(crate::shards::INDEX_FILE).is_file() || root(tree, folder).is_some()
}

/// The folder that holds the tree, if there is one.
pub(crate) fn root(tree: Tree, folder: &Path) -> Option<PathBuf> {
    let candidates = match tree {
        Tree::ClassFolders => vec![folder.to_owned()],
        Tree::TinyImagenet => vec![folder.to_owned(), folder.join(TINY_FOLDER)],
    };
    candidates
        .into_iter()
        .find(|root| root.join("train").is_dir())
}

fn part_folder(root: &Path, part: Part) -> PathBuf {
    root.join(match part {
        Part::Train => "train",
        Part::Test => "val",
    })
}

fn class_names(tree: Tree, root: &Path, problems: &mut Vec<OpenError>) -> Vec<String> {
    match tree {
        // The same list for both parts, so that a label means the same class in both.
        Tree::ClassFolders => names(&root.join("train"), Kind::Folder, problems),
        Tree::TinyImagenet => {
            let text = read_text(&root.join(TINY_CLASSES), problems).unwrap_or_default();
            let mut classes: Vec<String> = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect();
            classes.sort_unstable();
            classes.dedup();
            classes
        }
    }
}

fn read_text(path: &Path, problems: &mut Vec<OpenError>) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            problems.push(unreadable(path, &error));
            None
        }
    }
}

pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> OpenError {
    let why = if error.kind() == ErrorKind::NotFound {
        "it is not there".to_owned()
    } else {
        error.to_string()
    };
    OpenError::Unreadable {
        path: path.display().to_string(),
        why,
    }
}

/// The file's name up to its last dot.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    /// By its ending: what else lies in a class's folder is no picture of the set, and a picture
    /// that is missing is noticed by the count.
    Picture,
}

/// The names in a folder, sorted by their bytes; hidden ones are left out.
fn names(folder: &Path, kind: Kind, problems: &mut Vec<OpenError>) -> Vec<String> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(unreadable(folder, &error));
            return names;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(unreadable(folder, &error));
                continue;
            }
        };
        let Ok(name) = entry.file_name().into_string() else {
            problems.push(OpenError::Unlisted {
                path: entry.path(),
                what: "its name is not UTF-8",
            });
            continue;
        };
        let fits = match kind {
            // Links to folders count; only those names are worth a look at the disk.
            Kind::Folder => entry.path().is_dir(),
            Kind::Picture => is_picture(&name),
        };
        if fits && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    names
}

/// Whether a file's name ends as that of a picture does.
pub(crate) fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ["jpeg", "jpg", "png"]
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}
