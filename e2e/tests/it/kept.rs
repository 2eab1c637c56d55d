//! What is left of a sweep's checkpoints when everything that nothing can reach is deleted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use autorep_core::digest::Digest;

use crate::crew::Crew;
use crate::kill::kinds;
use crate::store::folders;

/// Pins, collects, takes the pin back, collects again; what is wrong with what is kept, if anything
/// is. `look` gives a folder with the store's `tasks` as they are when it is called.
pub(crate) fn tidy(crew: &mut Crew<'_>, look: impl Fn(&str) -> PathBuf) -> Result<(), String> {
    let kinds = kinds(crew.sandbox());
    let searches = kinds.iter().filter(|(_, kind)| *kind == "replace");
    let searches: Vec<&str> = searches.map(|(task, _)| task.as_str()).collect();
    let [search] = searches[..] else {
        return Err(format!("expected one search: {kinds:#?}"));
    };
    let kept = |name: &str| -> Result<Vec<String>, String> {
        let whole = whole_checkpoints(&look(name))?;
        let label = |(folder, task): (String, String)| format!("{}/{folder}", kinds[&task]);
        let mut kept: Vec<String> = whole.into_iter().map(label).collect();
        kept.sort_unstable();
        Ok(kept)
    };
    let collect = ["gc", "--min-age", "0s"];
    crew.person(&["pin", search]);
    crew.person(&collect);
    let with_pin = kept("with-pin")?;
    crew.person(&["pin", search, "--remove"]);
    crew.person(&collect);
    let without_pin = kept("without-pin")?;
    let expected = ["baseline/out-net", "finetune/out-net", "replace/out-b450"];
    if with_pin != expected {
        return Err(format!("with a pin these are kept: {with_pin:#?}"));
    }
    if without_pin != expected[..2] {
        return Err(format!("without one these are kept: {without_pin:#?}"));
    }
    Ok(())
}

/// All checkpoints of a store by their folder and task. Each has a manifest object, and with it
/// exactly the parts that the manifest lists, with their digests. What a folder keeps of an upload
/// in pieces that was not finished (`NAME#1`) is no object: no listing shows it.
fn whole_checkpoints(store: &Path) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for task in folders(&store.join("tasks")) {
        for checkpoint in folders(&task).iter().flat_map(|it| folders(it)) {
            let objects = objects(&checkpoint);
            if objects.is_empty() {
                continue;
            }
            check_whole(&checkpoint, objects)?;
            found.push((name_of(&checkpoint), name_of(&task)));
        }
    }
    Ok(found)
}

/// By their names, the objects of a checkpoint.
fn objects(checkpoint: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(checkpoint).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !name_of(path).contains('#'))
        .map(|path| (name_of(&path), fs::read(path).unwrap()))
        .collect()
}

fn check_whole(checkpoint: &Path, mut objects: BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let shown = format!("{}: {:?}", checkpoint.display(), objects.keys());
    let Some(manifest) = objects.remove("manifest.json") else {
        return Err(format!("no manifest in {shown}"));
    };
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for part in manifest["parts"].as_array().unwrap() {
        let name = part["name"].as_str().unwrap();
        let Some(content) = objects.remove(name) else {
            return Err(format!("no {name} in {shown}"));
        };
        if part["sha256"] != Digest::of(&content).to_string() {
            return Err(format!("another {name} in {shown}"));
        }
    }
    if objects.is_empty() {
        Ok(())
    } else {
        Err(format!("more than its parts in {shown}"))
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
