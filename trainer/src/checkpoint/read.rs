//! Reads checkpoints. They come from a store, so everything is checked before it is used.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use autorep_core::checkpoint::{STATE_PART, TENSORS_PART};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use tch::{Kind, Tensor};

use super::{CheckpointError, METRICS_PART, pack};
use crate::metrics::EpochMetrics;
use crate::tensors::Named;

/// The largest file of tensors that is read: far above the largest net with all its buffers.
const TENSORS_LIMIT: u64 = 8 << 30;

/// The largest document that is read.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// The largest metrics that are read.
const METRICS_LIMIT: u64 = 1 << 30;

/// Mismatches that are listed one by one; the rest are counted.
const LISTED: usize = 20;

/// The tensors of a checkpoint, in memory.
#[derive(Debug)]
pub struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Tensors {
    /// Reads the tensors of the checkpoint in `folder` and checks the file's structure.
    pub fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let path = folder.join(TENSORS_PART);
        Self::parse(read_file(&path, TENSORS_LIMIT)?, path)
    }

    /// The tensors in these bytes, which `path` holds.
    pub fn parse(bytes: Vec<u8>, path: PathBuf) -> Result<Self, CheckpointError> {
        let this = Self { path, bytes };
        this.parsed()?;
        Ok(this)
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Result<Option<Vec<usize>>, CheckpointError> {
        let parsed = self.parsed()?;
        Ok(parsed.tensor(name).ok().map(|view| view.shape().to_vec()))
    }

    /// Whether any tensor's name begins so.
    pub fn has_prefix(&self, prefix: &str) -> Result<bool, CheckpointError> {
        let parsed = self.parsed()?;
        Ok(parsed.iter().any(|(name, _)| name.starts_with(prefix)))
    }

    /// Copies the saved values into `targets`. Each must be there with the same shape and type,
    /// and nothing else may be, apart from names that `ignored` says yes to; otherwise nothing is
    /// copied and the error lists every difference.
    pub fn restore(
        &self,
        targets: &Named,
        ignored: impl Fn(&str) -> bool,
    ) -> Result<(), CheckpointError> {
        let parsed = self.parsed()?;
        let mut problems = Vec::new();
        for (name, target) in targets {
            let size = if pack::is_packed(name) {
                vec![pack::bytes_of(target.numel())]
            } else {
                target.size()
            };
            let wanted = describe(dtype(target.kind()), &size);
            match parsed.tensor(name) {
                Err(_absent) => problems.push(format!("expected {name} {wanted}, found none")),
                Ok(view) => {
                    let found = describe(Some(view.dtype()), &sizes(view.shape()));
                    if wanted != found {
                        problems.push(format!("expected {name} {wanted}, found {found}"));
                    } else if pack::is_packed(name)
                        && pack::unpacked(view.data(), target.numel()).is_none()
                    {
                        problems.push(format!("expected zeros after the last bit of {name}"));
                    }
                }
            }
        }
        let mut surplus: Vec<&str> = parsed
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !ignored(name) && !targets.iter().any(|(target, _)| target == name))
            .collect();
        surplus.sort_unstable();
        problems.extend(
            surplus
                .iter()
                .map(|name| format!("found {name}, expected no such tensor")),
        );
        if !problems.is_empty() {
            return Err(self.mismatch(problems));
        }
        tch::no_grad(|| {
            for (name, target) in targets {
                if let Ok(view) = parsed.tensor(name) {
                    let bits = || pack::unpacked(view.data(), target.numel()).unwrap_or_default();
                    let values = if pack::is_packed(name) {
                        Tensor::from_data_size(&bits(), &target.size(), target.kind())
                    } else {
                        Tensor::from_data_size(view.data(), &target.size(), target.kind())
                    };
                    target.shallow_clone().copy_(&values);
                }
            }
        });
        Ok(())
    }

    /// An error about this file.
    pub fn mismatch(&self, mut problems: Vec<String>) -> CheckpointError {
        if problems.len() > LISTED {
            let more = problems.len() - LISTED;
            problems.truncate(LISTED);
            problems.push(format!("and {more} more"));
        }
        CheckpointError::Mismatch {
            path: self.path.clone(),
            problems,
        }
    }

    fn parsed(&self) -> Result<SafeTensors<'_>, CheckpointError> {
        SafeTensors::deserialize(&self.bytes).map_err(|source| CheckpointError::Tensors {
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads the document of the checkpoint in `folder`.
pub fn read_document<D: DeserializeOwned>(folder: &Path) -> Result<D, CheckpointError> {
    let path = folder.join(STATE_PART);
    let bytes = read_file(&path, DOCUMENT_LIMIT)?;
    serde_json::from_slice(&bytes).map_err(|source| CheckpointError::Document { path, source })
}

/// Reads the metrics of the checkpoint in `folder`, one entry per finished epoch.
pub fn read_metrics(folder: &Path) -> Result<Vec<EpochMetrics>, CheckpointError> {
    let path = folder.join(METRICS_PART);
    let bytes = read_file(&path, METRICS_LIMIT)?;
    let lines = serde_json::Deserializer::from_slice(&bytes).into_iter();
    lines
        .map(|line| {
            line.map_err(|source| CheckpointError::Document {
                path: path.clone(),
                source,
            })
        })
        .collect()
}

fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, CheckpointError> {
    let io = |source| CheckpointError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > limit {
        return Err(CheckpointError::TooLarge {
            path: path.to_owned(),
            limit,
            found: size,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// The file format's name of a type; checkpoints hold f32 and u8 only.
fn dtype(kind: Kind) -> Option<Dtype> {
    if kind == Kind::Float {
        Some(Dtype::F32)
    } else {
        (kind == Kind::Uint8).then_some(Dtype::U8)
    }
}

fn sizes(shape: &[usize]) -> Vec<i64> {
    shape
        .iter()
        .map(|size| i64::try_from(*size).unwrap_or(i64::MAX))
        .collect()
}

fn describe(dtype: Option<Dtype>, shape: &[i64]) -> String {
    match dtype {
        Some(dtype) => format!("{dtype:?} {shape:?}"),
        None => format!("unsupported {shape:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tch::Device;

    use super::super::write;
    use super::*;

    fn state() -> Named {
        vec![
            (
                "net.b".to_owned(),
                Tensor::from_slice(&[1.5_f32, -2.0]).view([2, 1]),
            ),
            ("net.a".to_owned(), Tensor::from_slice(&[0.25_f32])),
            (
                "site.s.indicators".to_owned(),
                Tensor::from_slice(&[1_u8, 0, 1]),
            ),
        ]
    }

    fn zeros() -> Named {
        state()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.zeros_like()))
            .collect()
    }

    #[test]
    fn what_was_written_is_read_back_and_the_same_state_gives_the_same_bytes() {
        let scratch = tempfile::tempdir().unwrap();
        let first = write(scratch.path(), "first", &state(), &7, &[]).unwrap();
        let mut reversed = state();
        reversed.reverse();
        let second = write(scratch.path(), "second", &reversed, &7, &[]).unwrap();
        let tensors = Tensors::read(&first).unwrap();
        assert_eq!(tensors.bytes(), Tensors::read(&second).unwrap().bytes());
        let restored = zeros();
        tensors.restore(&restored, |_| false).unwrap();
        for ((_, got), (_, wanted)) in restored.iter().zip(state()) {
            assert!(got.equal(&wanted));
        }
        assert_eq!(read_document::<u32>(&first).unwrap(), 7);
        let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "nothing unfinished is left");
    }

    #[test]
    fn every_difference_is_listed_and_nothing_is_copied() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = write(scratch.path(), "c", &state(), &7, &[]).unwrap();
        let options = (Kind::Float, Device::Cpu);
        let targets: Named = vec![
            ("net.a".to_owned(), Tensor::zeros([1], options)),
            ("net.b".to_owned(), Tensor::zeros([1, 2], options)),
            ("net.c".to_owned(), Tensor::zeros([3], options)),
            ("site.s.indicators".to_owned(), Tensor::zeros([3], options)),
        ];
        let tensors = Tensors::read(&folder).unwrap();
        let error = tensors
            .restore(&targets, |_| false)
            .unwrap_err()
            .to_string();
        for wanted in [
            "expected net.b F32 [1, 2], found F32 [2, 1]",
            "expected net.c F32 [3], found none",
            "expected site.s.indicators F32 [1], found U8 [1]",
        ] {
            assert!(error.contains(wanted), "{error}");
        }
        assert!(targets[0].1.double_value(&[0]).abs() < 1e-9);
        let error = tensors
            .restore(&Named::new(), |name| name != "net.a")
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("found net.a, expected no such tensor")
        );
    }

    #[test]
    fn damaged_and_missing_files_are_errors_that_name_the_file() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = write(scratch.path(), "c", &state(), &7, &[]).unwrap();
        let path = folder.join(TENSORS_PART);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = Tensors::read(&folder).unwrap_err().to_string();
            assert!(error.contains(TENSORS_PART), "{error}");
        }
        fs::write(folder.join(STATE_PART), b"{").unwrap();
        let error = read_document::<u32>(&folder).unwrap_err().to_string();
        assert!(error.contains(STATE_PART), "{error}");
        let error = Tensors::read(scratch.path()).unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
    }

    #[test]
    fn what_a_killed_predecessor_left_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let left = scratch.path().join(".unfinished-c");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("stray"), b"x").unwrap();
        let folder = write(scratch.path(), "c", &state(), &7, &[]).unwrap();
        assert!(!folder.join("stray").exists());
    }
}
