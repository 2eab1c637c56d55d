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

#[test]
fn the_place_of_an_object_is_read_from_its_key_and_nothing_else_is_one() {
    let task = TaskId(Digest::of(b"task"));
    for role in [
        CheckpointRole::Resume,
        CheckpointRole::Output("b-100".to_owned()),
    ] {
        let step = if role == CheckpointRole::Resume {
            120
        } else {
            0
        };
        let place = Place {
            task,
            generation: Generation(7),
            role,
            step,
        };
        let key = format!("{}/{MANIFEST_OBJECT}", place.folder());
        assert_eq!(Place::of(&key), Some(place));
    }
    for other in [
        format!("tasks/{task}/g7/trainer.log"),
        format!("tasks/{task}/g7/resume-x/a"),
        format!("tasks/{task}/g7/resume-1"),
        format!("tasks/{task}/g7/resume-1/a/b"),
        format!("tasks/{task}/7/resume-1/a"),
        "tasks/abc/g7/resume-1/a".to_owned(),
        "state/manifest/1".to_owned(),
    ] {
        assert_eq!(Place::of(&other), None, "{other}");
    }
}
