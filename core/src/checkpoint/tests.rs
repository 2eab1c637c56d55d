use super::*;

fn manifest(names: &[&str]) -> CheckpointManifest {
    CheckpointManifest {
        task: TaskId(Digest::of(b"task")),
        generation: Generation(1),
        role: CheckpointRole::Output("net".to_owned()),
        step: 10,
        parts: names
            .iter()
            .map(|name| Part {
                name: (*name).to_owned(),
                bytes: 1,
                sha256: Digest::of(b"x"),
            })
            .collect(),
    }
}

fn named(manifest: &CheckpointManifest) -> (CheckpointRef, Vec<u8>) {
    let text = serde_json::to_vec(manifest).unwrap();
    let checkpoint = CheckpointRef {
        task: manifest.task,
        generation: manifest.generation,
        role: manifest.role.clone(),
        step: manifest.step,
        manifest: Digest::of(&text),
    };
    (checkpoint, text)
}

#[test]
fn a_manifest_is_good_when_its_digest_its_subject_and_its_part_names_are() {
    let good = manifest(&["state.json", "tensors.safetensors"]);
    let (checkpoint, text) = named(&good);
    assert_eq!(CheckpointManifest::read(&checkpoint, &text), Ok(good));
}

#[test]
fn a_changed_byte_is_found_by_the_digest() {
    let (checkpoint, mut text) = named(&manifest(&["state.json"]));
    let last = text.len() - 3;
    text[last] ^= 1;
    assert!(CheckpointManifest::read(&checkpoint, &text).is_err());
}

#[test]
fn a_manifest_of_another_checkpoint_is_refused() {
    let (checkpoint, text) = named(&manifest(&["state.json"]));
    let other = CheckpointRef {
        step: 11,
        ..checkpoint
    };
    assert!(CheckpointManifest::read(&other, &text).is_err());
}

#[test]
fn part_names_that_could_leave_the_folder_or_hide_in_it_are_refused() {
    let bad = [
        "",
        ".",
        "..",
        ".hidden",
        "../x",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "a b",
        "ü",
        MANIFEST_OBJECT,
    ];
    for name in bad {
        let (checkpoint, text) = named(&manifest(&[name]));
        assert!(
            CheckpointManifest::read(&checkpoint, &text).is_err(),
            "{name:?}"
        );
    }
    for names in [&["b", "a"], &["a", "a"]] {
        let (checkpoint, text) = named(&manifest(names));
        assert!(
            CheckpointManifest::read(&checkpoint, &text).is_err(),
            "{names:?}"
        );
    }
}
