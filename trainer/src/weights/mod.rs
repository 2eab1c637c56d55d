//! Weights from and for other programs: safetensors with torchvision's names, and the state dicts
//! that `PyTorch` saves (`.pth`), which are read without Python and without executing anything.

mod command;
mod dtype;
mod pickle;
mod torch_file;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use autorep_core::digest::Digest;
use autorep_data::Bucket;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tch::{Kind, Tensor};

use crate::nets::Net;
use dtype::Dtype;

pub use command::{USAGE, run};

/// The largest file that is read.
const FILE_LIMIT: u64 = 8 << 30;

/// Dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

/// Differences that are listed one by one; the rest are counted.
const LISTED: usize = 1_000;

/// Counters of batch normalisation that this program does without.
const IGNORED: &str = ".num_batches_tracked";

/// Tensors by name, as a file has them.
#[derive(Debug)]
pub struct StateDict {
    path: PathBuf,
    digest: Digest,
    tensors: BTreeMap<String, Tensor>,
    /// Whether it is a checkpoint of this program whose net has polynomials, which no other
    /// program's weights do.
    replaced: bool,
}

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read or written.
    #[error("cannot {action} the weights {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not in the bucket.
    #[error("cannot read the weights {0}")]
    NotInBucket(io::Error),
    /// The bucket does not answer.
    #[error("cannot reach the weights: {0}")]
    Unreachable(io::Error),
    /// Nobody has said where files of weights lie.
    #[error("expected a place in which to find the weights {file}: name it with --weights")]
    NoPlace {
        /// The file's name.
        file: String,
    },
    /// The file is not one of weights, or damaged.
    #[error("cannot use the weights {}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        problem: String,
    },
    /// The file is another one than the sweep was planned with.
    #[error(
        "the weights {} should have the sha256 {expected}, found {found}: put the file there that \
         the manifest means, or give the manifest this one's digest",
        path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// From the manifest.
        expected: Digest,
        /// Of the file.
        found: Digest,
    },
    /// The tensors are not those of the net.
    #[error("the weights {} do not fit the net:\n  {}", path.display(), problems.join("\n  "))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Every difference.
        problems: Vec<String>,
    },
}

impl StateDict {
    /// Reads a file of either format, known by its first bytes.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        Self::parse(&read_file(path)?, path)
    }

    /// The same for a file below a place in a bucket.
    pub fn fetch(url: &str, file: &str) -> Result<Self, WeightsError> {
        let place = PathBuf::from(format!("{url}/{file}"));
        // These errors name the place.
        let io = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound {
                WeightsError::NotInBucket(source)
            } else {
                WeightsError::Unreachable(source)
            }
        };
        let bucket = Bucket::open(url).map_err(|error| io(io::Error::other(error)))?;
        let size = bucket.size(file).map_err(io)?;
        check_size(&place, size)?;
        let bytes = bucket.read(file, size).map_err(io)?;
        Self::parse(&bytes, &place)
    }

    /// The tensors in these bytes, which `path` holds.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, WeightsError> {
        let parsed = if torch_file::is_torch_file(bytes) {
            // What does not fit a reader's plan is refused by name; libtorch's own doubts become
            // errors too.
            torch_file::read(bytes)
        } else if bytes.get(8) == Some(&b'{') {
            read_safetensors(bytes)
        } else {
            Err("expected safetensors or a PyTorch state dict, found neither".to_owned())
        };
        let tensors = parsed.map_err(|problem| WeightsError::Format {
            path: path.to_owned(),
            problem,
        })?;
        Ok(Self {
            replaced: tensors.keys().any(|name| is_polynomial(name)),
            path: path.to_owned(),
            digest: Digest::of(bytes),
            tensors: plain_names(tensors),
        })
    }

    /// The digest of the file's bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The tensors by name.
    pub const fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Refuses another file than the one with this digest.
    pub fn check_digest(&self, expected: Digest) -> Result<(), WeightsError> {
        if self.digest == expected {
            return Ok(());
        }
        Err(WeightsError::Digest {
            path: self.path.clone(),
            expected,
            found: self.digest,
        })
    }

    /// Overwrites every tensor of the net. All of them must be there in their shapes, and nothing
    /// else may be, apart from counters of batches; otherwise nothing is changed and the error
    /// lists every difference.
    pub fn assign(&self, net: &Net) -> Result<(), WeightsError> {
        self.require_full()?;
        let mut problems = Vec::new();
        for param in net.params() {
            let (name, shape) = (&param.name, param.tensor.size());
            match self.tensors.get(name) {
                None => problems.push(format!("expected {name} of shape {shape:?}, found none")),
                Some(found) if found.size() != shape => {
                    let found = found.size();
                    problems.push(format!(
                        "expected {name} of shape {shape:?}, found {found:?}"
                    ));
                }
                Some(found) if !is_float(found.kind()) => {
                    let kind = found.kind();
                    problems.push(format!("expected {name} of floats, found {kind:?}"));
                }
                Some(_) => {}
            }
        }
        let names: std::collections::BTreeSet<&str> = net
            .params()
            .iter()
            .map(|param| param.name.as_str())
            .collect();
        let surplus = self
            .tensors
            .keys()
            .filter(|name| !names.contains(name.as_str()) && !name.ends_with(IGNORED));
        problems.extend(surplus.map(|name| format!("found {name}, expected no such tensor")));
        if !problems.is_empty() {
            if problems.len() > LISTED {
                let more = problems.len() - LISTED;
                problems.truncate(LISTED);
                problems.push(format!("and {more} more"));
            }
            return Err(WeightsError::Mismatch {
                path: self.path.clone(),
                problems,
            });
        }
        tch::no_grad(|| {
            for param in net.params() {
                if let Some(values) = self.tensors.get(&param.name) {
                    param.tensor.shallow_clone().copy_(values);
                }
            }
        });
        Ok(())
    }

    /// Refuses a net without whose polynomials its weights mean something else.
    fn require_full(&self) -> Result<(), WeightsError> {
        if !self.replaced {
            return Ok(());
        }
        Err(WeightsError::Format {
            path: self.path.clone(),
            problem: "expected the weights of a full net, found the checkpoint of one whose ReLUs \
                      are replaced: take its baseline's, tasks/ID/gN/out-net in the store"
                .to_owned(),
        })
    }

    /// Writes the tensors as safetensors in f32, without counters of batches.
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        self.require_full()?;
        let floats: Vec<(&String, Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .filter(|(name, tensor)| is_float(tensor.kind()) && !name.ends_with(IGNORED))
            .map(|(name, tensor)| {
                let shape = tensor
                    .size()
                    .into_iter()
                    .map(|size| usize::try_from(size).unwrap_or(0));
                (name, shape.collect(), le_bytes(tensor))
            })
            .collect();
        let io = |source| WeightsError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        };
        let other = |error| io(std::io::Error::other(error));
        let views: Vec<(&str, TensorView<'_>)> = floats
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)?;
                Ok((name.as_str(), view))
            })
            .collect::<Result<_, _>>()
            .map_err(other)?;
        let bytes = safetensors::serialize(views, None).map_err(other)?;
        std::fs::write(path, bytes).map_err(io)
    }
}

fn is_float(kind: Kind) -> bool {
    [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16].contains(&kind)
}

/// The numbers as little-endian f32.
fn le_bytes(tensor: &Tensor) -> Vec<u8> {
    let flat = tensor.to_device(tch::Device::Cpu).to_kind(Kind::Float);
    let values = Vec::<f32>::try_from(flat.contiguous().view([-1]));
    let values = values.expect("the tensor is one-dimensional f32");
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn check_size(path: &Path, size: u64) -> Result<(), WeightsError> {
    if size <= FILE_LIMIT {
        return Ok(());
    }
    Err(WeightsError::Format {
        path: path.to_owned(),
        problem: format!("expected at most {FILE_LIMIT} bytes, found {size}"),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let io = |source| WeightsError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    check_size(path, size)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

fn read_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("expected a whole safetensors file: {error}"))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let dtype = Dtype::of_safetensors(view.dtype())
            .ok_or_else(|| format!("expected floats in tensor {name}, found {:?}", view.dtype()))?;
        let shape: Vec<i64> = view
            .shape()
            .iter()
            .map(|size| i64::try_from(*size).unwrap_or(i64::MAX))
            .collect();
        let tensor = Tensor::from_data_size(view.data(), &shape, dtype.kind());
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

/// Names without what wraps a net: `net.` in this program's checkpoints, whose sites are left out,
/// and `module.` where `PyTorch` trained on several GPUs.
fn is_polynomial(name: &str) -> bool {
    name.starts_with("site.") && name.ends_with(".coefficients")
}

fn plain_names(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let is_checkpoint = tensors.keys().any(|name| name.starts_with("site."))
        && tensors.keys().any(|name| name.starts_with("net."));
    let prefix = if is_checkpoint {
        "net."
    } else if !tensors.is_empty() && tensors.keys().all(|name| name.starts_with("module.")) {
        "module."
    } else {
        return tensors;
    };
    tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)))
        .collect()
}

#[cfg(test)]
mod tests;
