//! Writes a checkpoint's folder so that it is complete or not there.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use autorep_core::checkpoint::{STATE_PART, TENSORS_PART};
use autorep_failpoint::{Point, reached};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;
use tch::{Kind, Tensor};

use super::{CheckpointError, METRICS_PART, pack};
use crate::metrics::EpochMetrics;
use crate::tensors::Named;

/// Writes `tensors`, `document` and `metrics` into the folder `name` below `parent`, which must not exist,
/// and returns its path. Everything is on disk before the folder appears under its name.
pub fn write(
    parent: &Path,
    name: &str,
    tensors: &Named,
    document: &impl Serialize,
    metrics: &[EpochMetrics],
) -> Result<PathBuf, CheckpointError> {
    reached(Point::TrainerBeforeCheckpoint);
    let unfinished = parent.join(format!(".unfinished-{name}"));
    let finished = parent.join(name);
    // What a killed predecessor left behind.
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
    }
    fs::create_dir_all(&unfinished).map_err(io("create", &unfinished))?;

    let path = unfinished.join(TENSORS_PART);
    let bytes = serialize(tensors).map_err(|source| CheckpointError::Tensors {
        path: path.clone(),
        source,
    })?;
    write_file(&path, &bytes)?;

    let path = unfinished.join(STATE_PART);
    let mut text =
        serde_json::to_vec_pretty(document).map_err(|source| CheckpointError::Document {
            path: path.clone(),
            source,
        })?;
    text.push(b'\n');
    write_file(&path, &text)?;

    let path = unfinished.join(METRICS_PART);
    let mut lines = Vec::new();
    for epoch in metrics {
        serde_json::to_writer(&mut lines, epoch).map_err(|source| CheckpointError::Document {
            path: path.clone(),
            source,
        })?;
        lines.push(b'\n');
    }
    write_file(&path, &lines)?;

    sync_folder(&unfinished)?;
    reached(Point::TrainerBeforeRename);
    fs::rename(&unfinished, &finished).map_err(io("create", &finished))?;
    sync_folder(parent)?;
    reached(Point::TrainerAfterCheckpoint);
    Ok(finished)
}

fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> CheckpointError + 'a {
    move |source| CheckpointError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut file = File::create(path).map_err(io("create", path))?;
    file.write_all(bytes).map_err(io("write", path))?;
    file.sync_all().map_err(io("write", path))
}

fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    let folder = File::open(path).map_err(io("open", path))?;
    folder.sync_all().map_err(io("write", path))
}

/// The safetensors file; the format sorts by type and name, so the bytes depend on the tensors
/// alone.
fn serialize(tensors: &Named) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let mut values = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let bytes = raw_bytes(tensor);
        if pack::is_packed(name) {
            let bytes = pack::packed(&bytes);
            values.push((name, dtype(tensor), vec![bytes.len()], bytes));
        } else {
            let shape: Vec<usize> = tensor.size().into_iter().map(length).collect();
            values.push((name, dtype(tensor), shape, bytes));
        }
    }
    let mut views = Vec::with_capacity(values.len());
    for (name, dtype, shape, bytes) in &values {
        views.push((*name, TensorView::new(*dtype, shape.clone(), bytes)?));
    }
    safetensors::serialize(views, None)
}

fn length(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}

/// The file format's name of a tensor's type. Checkpoints hold f32 and u8 only.
fn dtype(tensor: &Tensor) -> Dtype {
    let kind = tensor.kind();
    if kind == Kind::Uint8 {
        return Dtype::U8;
    }
    assert_eq!(kind, Kind::Float, "checkpoints hold f32 and u8 tensors");
    Dtype::F32
}

/// The values as they lie in memory: little-endian on every platform that libtorch supports.
fn raw_bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(tch::Device::Cpu).contiguous();
    let count = tensor.numel();
    let mut bytes = vec![0; count * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, count);
    bytes
}
