//! Files that `torch.save` wrote: the zip form of `PyTorch` 1.6 and later, and the older one.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use tch::Tensor;
use zip::ZipArchive;

use super::MAX_DIMENSIONS;
use super::pickle::{self, Arena, Storage, TensorView, Value};

/// The older form starts with this pickle of a number.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The zip form starts as any zip file does.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// The largest pickle that describes tensors.
const PICKLE_LIMIT: u64 = 64 << 20;

/// How many times the file's size all its tensors may take together: some share their numbers.
const SHARING: u64 = 4;

/// Whether the bytes are such a file.
pub(super) fn is_torch_file(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP_MAGIC) || bytes.starts_with(LEGACY_MAGIC)
}

/// The tensors of a state dict by name, or what was expected and found instead.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let mut arena = Arena::default();
    let (root, storages) = if bytes.starts_with(ZIP_MAGIC) {
        zip_form(&mut arena, bytes)?
    } else {
        legacy_form(&mut arena, bytes)?
    };
    let entries = state_dict(&arena, &root)?;
    let mut tensors = BTreeMap::new();
    let mut left = SHARING * bytes.len() as u64;
    for (name, view) in entries {
        let size = arena.bytes_of(view).filter(|size| *size <= left);
        let size = size.ok_or_else(|| {
            format!(
                "expected tensors of at most {SHARING} times the file's size, found more at {name}"
            )
        })?;
        left -= size;
        let tensor = view_tensor(&arena, view, &storages)
            .map_err(|problem| format!("{problem} in tensor {name}"))?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

/// The numbers of storages by key.
type Storages<'a> = BTreeMap<String, std::borrow::Cow<'a, [u8]>>;

fn zip_form(arena: &mut Arena, bytes: &[u8]) -> Result<(Value, Storages<'static>), String> {
    let damaged = |error: zip::result::ZipError| format!("expected a whole zip file: {error}");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let names = archive.file_names().map(|name| Ok(name?.into_owned()));
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(damaged)?;
    let pickled = names.iter().find(|name| name.ends_with("/data.pkl"));
    let pickled = pickled.ok_or("expected data.pkl in the zip file, found none")?;
    let folder = pickled.trim_end_matches("data.pkl").to_owned();
    let mut entry = |name: &str, limit: u64| -> Result<Vec<u8>, String> {
        let file = archive.by_name(name).map_err(damaged)?;
        if file.size() > limit {
            let size = file.size();
            return Err(format!(
                "expected {name} of at most {limit} bytes, found {size}"
            ));
        }
        let mut content = Vec::new();
        file.take(limit)
            .read_to_end(&mut content)
            .map_err(|error| format!("cannot read {name}: {error}"))?;
        Ok(content)
    };
    let order = format!("{folder}byteorder");
    if names.contains(&order) && entry(&order, 16)? != b"little" {
        return Err("expected numbers in little-endian order, found another".to_owned());
    }
    let pickled = entry(pickled, PICKLE_LIMIT)?;
    let root = pickle::read(arena, &mut &pickled[..])?;
    let mut storages = Storages::new();
    // Entries that overlap could otherwise make more of a small file than fits in memory.
    let mut left = bytes.len() as u64;
    for storage in &arena.storages {
        let key = arena.key(storage);
        if !storages.contains_key(key) {
            let content = entry(&format!("{folder}data/{key}"), left)?;
            left -= content.len() as u64;
            storages.insert(key.to_owned(), content.into());
        }
    }
    Ok((root, storages))
}

fn legacy_form<'a>(arena: &mut Arena, bytes: &'a [u8]) -> Result<(Value, Storages<'a>), String> {
    let mut rest = &bytes[LEGACY_MAGIC.len()..];
    let _protocol = pickle::read(arena, &mut rest)?;
    let system = pickle::read(arena, &mut rest)?;
    let little = arena
        .as_dict(&system)
        .unwrap_or(&[])
        .iter()
        .any(|(key, value)| {
            arena.as_text(key) == Some("little_endian") && matches!(value, Value::Bool(true))
        });
    if !little {
        return Err("expected numbers in little-endian order, found another".to_owned());
    }
    let root = pickle::read(arena, &mut rest)?;
    let keys = pickle::read(arena, &mut rest)?;
    let keys = arena.as_items(&keys).ok_or("expected a list of storages")?;
    // The first of each name, as a list may name as many as there are.
    let mut known = BTreeMap::new();
    for storage in &arena.storages {
        known.entry(arena.key(storage)).or_insert(storage);
    }
    let mut storages = Storages::new();
    for key in keys {
        let key = arena.as_text(key).ok_or("expected the key of a storage")?;
        let storage = known.get(key);
        let storage = storage.ok_or_else(|| format!("found storage {key} that no tensor uses"))?;
        let (count, after) = rest
            .split_first_chunk::<8>()
            .ok_or("expected the size of a storage, found the end")?;
        let length = bytes_of(storage, u64::from_le_bytes(*count))?;
        let (content, after) = after
            .split_at_checked(length)
            .ok_or_else(|| format!("expected {length} bytes of storage {key}, found the end"))?;
        storages.insert(key.to_owned(), content.into());
        rest = after;
    }
    Ok((root, storages))
}

fn bytes_of(storage: &Storage, count: u64) -> Result<usize, String> {
    usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(storage.dtype.bytes()))
        .ok_or_else(|| format!("expected a size in bytes, found {count} numbers"))
}

/// The tensors of the saved dict, or of its entry `state_dict` as training scripts save it.
/// Names are not copied: entries may share one that is as long as the file.
fn state_dict<'a>(arena: &'a Arena, root: &Value) -> Result<Vec<(&'a str, usize)>, String> {
    let entries = arena.as_dict(root);
    let entries = entries.ok_or("expected a state dict, found another value")?;
    let inner = ["state_dict", "model_state_dict", "model"]
        .iter()
        .find_map(|wanted| {
            let mut entries = entries.iter();
            let (_, value) = entries.find(|(key, _)| arena.as_text(key) == Some(wanted))?;
            arena.as_dict(value)
        });
    let entries = inner.unwrap_or(entries);
    let mut tensors = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let name = arena
            .as_text(key)
            .ok_or("expected names of tensors as keys")?;
        let Value::Tensor(view) = value else {
            return Err(format!(
                "expected a tensor under {name}, found another value"
            ));
        };
        tensors.push((name, *view));
    }
    Ok(tensors)
}

fn view_tensor(arena: &Arena, view: usize, storages: &Storages<'_>) -> Result<Tensor, String> {
    let view: &TensorView = &arena.tensors[view];
    let storage = &arena.storages[view.storage];
    let key = arena.key(storage);
    let bytes = storages.get(key);
    let bytes = bytes.ok_or_else(|| format!("expected storage {key}, found none"))?;
    let expected = bytes_of(storage, storage.count)?;
    if bytes.len() != expected {
        let found = bytes.len();
        return Err(format!(
            "expected a storage of {expected} bytes, found {found}"
        ));
    }
    if view.shape.len() != view.strides.len() || view.shape.len() > MAX_DIMENSIONS {
        return Err("expected a stride for each dimension, eight at most".to_owned());
    }
    let reached = reached(view, storage.count)?;
    let signed = |values: &[u64]| -> Vec<i64> {
        values
            .iter()
            .map(|value| i64::try_from(*value).unwrap_or(i64::MAX))
            .collect()
    };
    let (shape, strides) = (signed(&view.shape), signed(&view.strides));
    // What the view reaches is copied, not its whole storage, which others may share.
    let width = storage.dtype.bytes() as u64;
    let bytes = usize::try_from(view.offset * width)
        .ok()
        .zip(usize::try_from((view.offset + reached) * width).ok())
        .and_then(|(from, to)| bytes.get(from..to))
        .ok_or("expected a view within its storage")?;
    let flat = Tensor::from_data_size(bytes, &signed(&[reached]), storage.dtype.kind());
    let tensor = flat.f_as_strided(&shape, &strides, 0);
    let tensor = tensor.map_err(|error| format!("cannot view a storage: {error}"))?;
    Ok(tensor.contiguous())
}

/// How many numbers lie from a view's first to its last, which must be in its storage. A view may
/// repeat numbers, but it has no more of them than the storage: nothing that was trained does.
fn reached(view: &TensorView, count: u64) -> Result<u64, String> {
    let elements = view
        .shape
        .iter()
        .try_fold(1_u64, |all, size| all.checked_mul(*size));
    let last = view
        .shape
        .iter()
        .zip(&view.strides)
        .try_fold(view.offset, |sum, (size, stride)| {
            sum.checked_add(size.saturating_sub(1).checked_mul(*stride)?)
        });
    match (elements, last) {
        (Some(0), _) if view.offset <= count => Ok(0),
        (Some(elements), Some(last)) if elements <= count && last < count => {
            Ok(last + 1 - view.offset)
        }
        _ => Err(format!(
            "expected a view of the {count} numbers of a storage, found shape {:?}",
            view.shape
        )),
    }
}
