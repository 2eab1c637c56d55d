//! Checkpoint manifests: what a worker reads from the store before it reads parts.

use autorep_core::checkpoint::{
    CheckpointManifest, CheckpointRef, CheckpointRole, MAX_PARTS, Part, STATE_PART, TENSORS_PART,
};
use autorep_core::digest::Digest;
use autorep_core::id::{Generation, TaskId};
use autorep_proto::v1;

pub(crate) fn body(input: &[u8]) {
    // The reference that the input would have to have: a wrong one never gets further than here.
    let said =
        serde_json::from_slice::<CheckpointManifest>(input).unwrap_or_else(|_none| example());
    let reference = CheckpointRef {
        task: said.task,
        generation: said.generation,
        role: said.role,
        step: said.step,
        manifest: Digest::of(input),
    };
    // References come over the wire, which refuses some.
    let Ok(reference) = CheckpointRef::try_from(v1::CheckpointRef::from(reference)) else {
        return;
    };
    let Ok(manifest) = CheckpointManifest::read(&reference, input) else {
        return;
    };
    assert!(manifest.parts.len() <= MAX_PARTS);
    for part in &manifest.parts {
        let path = std::path::Path::new("folder").join(&part.name);
        let inside = path.parent() == Some(std::path::Path::new("folder"));
        assert!(inside && path.file_name().is_some(), "{:?}", part.name);
    }
    let again = serde_json::to_vec(&manifest).expect("a manifest has a stored form");
    let of_again = CheckpointRef {
        manifest: Digest::of(&again),
        ..reference.clone()
    };
    assert_eq!(
        CheckpointManifest::read(&of_again, &again).as_ref(),
        Ok(&manifest)
    );
    let other = CheckpointRef {
        step: !reference.step,
        ..reference
    };
    assert!(CheckpointManifest::read(&other, input).is_err());
}

fn example() -> CheckpointManifest {
    let part = |name: &str| Part {
        name: name.to_owned(),
        bytes: 1 << 20,
        sha256: Digest::of(name.as_bytes()),
    };
    CheckpointManifest {
        task: TaskId(Digest::of(b"task")),
        generation: Generation(7),
        role: CheckpointRole::Resume,
        step: 120,
        parts: vec![part(STATE_PART), part(TENSORS_PART)],
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let output = CheckpointManifest {
        role: CheckpointRole::Output("b1000".to_owned()),
        ..example()
    };
    [example(), output]
        .iter()
        .map(|manifest| serde_json::to_vec_pretty(manifest).expect("a manifest has a stored form"))
        .collect()
}
