//! Measures what brings images to training: `make bench ONLY=loader` runs it. Each command prints
//! one JSON object.
//!
//! - `loader speed FOLDER`: of the JPEG files there, in one thread, milliseconds to decode one
//!   whole and to make it an input of the net (random resized crop to 224, flip, normalise), by
//!   turns.
//! - `loader index`: an index of 1,281,167 images in 1,281 shards, and an epoch's order of them.
//! - `loader wait`: the share of the time that steps wait for batches from a bucket that answers
//!   after 50 ms, and how much of what is read ahead is in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use autorep_core::data::{Check, DataSet, Inputs, Part};
use autorep_core::digest::Digest;
use autorep_data::shards::{INDEX_FILE, INDEX_FORMAT, Index, ShardEntry, write};
use autorep_data::{Bucket, Framer, Pictures};
use autorep_trainer::data::source::{Change, Preparer};
use autorep_trainer::data::{Batches, Share, Source, Stream, Subset, order};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use serde_json::{Value, json};
use tch::Device;

/// Rounds of which the fastest counts: the machine may be shared.
const ROUNDS: usize = 9;

/// A bucket's answer takes so long.
const LATENCY: Duration = Duration::from_millis(50);

/// Steps that are measured, each as long as a batch of 128 takes a net that trains on 3,200 images
/// a second.
const STEPS: u32 = 100;
const STEP: Duration = Duration::from_millis(40);
const BATCH: usize = 128;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let found = match *arguments.as_slice() {
        ["speed", folder] => speed(Path::new(folder))?,
        ["index"] => index()?,
        ["wait"] => wait()?,
        _ => bail!("usage: loader speed FOLDER | index | wait"),
    };
    writeln!(std::io::stdout(), "{found:#}")?;
    Ok(())
}

fn speed(folder: &Path) -> Result<Value> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(fs::read).collect::<Result<_, _>>()?;
    let mut framer = Framer::default();
    let mut preparer = Preparer::new(Inputs::of(DataSet::Imagenet));
    let mut batch = Vec::new();
    let (mut bare, mut loaded) = (Duration::MAX, Duration::MAX);
    for epoch in 0..ROUNDS as u64 {
        let began = Instant::now();
        for file in &files {
            framer.whole(file)?;
        }
        bare = bare.min(began.elapsed());
        let began = Instant::now();
        for (position, file) in (0..).zip(&files) {
            batch.clear();
            let change = Change::Random { seed: 0, epoch };
            let added = preparer.append_picture(file, position, change, &mut batch);
            added.map_err(anyhow::Error::msg)?;
        }
        loaded = loaded.min(began.elapsed());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / files.len() as f64;
    let bytes: usize = files.iter().map(Vec::len).sum();
    Ok(json!({
        "files": files.len(),
        "mean_kb": bytes as f64 / 1e3 / files.len() as f64,
        "bare_ms": each(bare),
        "loader_ms": each(loaded),
    }))
}

fn index() -> Result<Value> {
    const SHARDS: u32 = 1_281;
    const IMAGES: u32 = 1_281_167;
    let folder = tempfile::tempdir()?;
    let mut left = IMAGES;
    let shards: Vec<ShardEntry> = (0..SHARDS)
        .map(|shard| {
            let count = left.div_ceil(SHARDS - shard);
            let first = IMAGES - left;
            left -= count;
            let image = |at: u32| {
                // Small pictures, each behind the header of its file and that of its label.
                (
                    1_536 + 4_096 * u64::from(at),
                    2_000,
                    (first + at) * 1_000 / IMAGES,
                )
            };
            let entry = ShardEntry {
                file: format!("train-{shard:06}.tar"),
                bytes: 4_096 * u64::from(count) + 1_024,
                sha256: Digest::of(&shard.to_le_bytes()),
                images: (0..count).map(image).collect(),
            };
            let file = fs::File::create(folder.path().join(&entry.file))?;
            file.set_len(entry.bytes)?;
            Ok(entry)
        })
        .collect::<Result<_>>()?;
    let index = Index {
        format: INDEX_FORMAT,
        set: DataSet::Imagenet.name().to_owned(),
        classes: (0..1_000).map(|class| format!("n{class:08}")).collect(),
        parts: BTreeMap::from([(Part::Train.name().to_owned(), shards)]),
    };
    fs::write(folder.path().join(INDEX_FILE), serde_json::to_vec(&index)?)?;
    drop(index);

    let began = Instant::now();
    let part = Part::Train;
    let pictures = Pictures::open(DataSet::Imagenet, part, folder.path(), Check::Published)?;
    let index_s = began.elapsed().as_secs_f64();
    let count = pictures.len();
    let began = Instant::now();
    let epoch = order::epoch(count, 0, 0);
    let order_s = began.elapsed().as_secs_f64();
    // Not the growth of the process, which has room left from making the shards.
    let order_mb = size_of_val(&epoch[..]) as f64 / 1e6;
    let process_mb = resident()? as f64 / 1e6;
    if epoch.len() != IMAGES as usize {
        bail!(
            "expected an order of {IMAGES} images, found {}",
            epoch.len()
        );
    }
    Ok(json!({
        "images": count,
        "index_s": index_s,
        "order_s": order_s,
        "order_mb": order_mb,
        "process_mb": process_mb,
    }))
}

/// Bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib
        .context("no VmRSS in /proc/self/status")?
        .parse::<u64>()?
        * 1_024)
}

fn wait() -> Result<Value> {
    let packed = synthetic_shards()?;
    let objects = Arc::new(InMemory::new());
    let fast = Bucket::new(Arc::<InMemory>::clone(&objects), "the same bucket")?;
    for entry in fs::read_dir(packed.path())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        fast.put(name.context("a name that is no text")?, &path)?;
    }
    let slow = ThrottledStore::new(
        objects,
        ThrottleConfig {
            wait_get_per_call: LATENCY,
            ..ThrottleConfig::default()
        },
    );
    let bucket = Bucket::new(Arc::new(slow), "a bucket that answers after 50 ms")?;
    let (set, part) = (DataSet::TinyImagenet, Part::Train);
    let pictures = Pictures::open_bucket(set, part, &bucket, None, Check::Format)?;
    let stream = Stream {
        inputs: Inputs::of(set),
        images: Subset::whole(Arc::new(Source::Pictures(pictures))),
        seed: 0,
        batch: BATCH,
        share: Share::WHOLE,
        augment: true,
        max_corrupt: 0,
        threads: thread::available_parallelism()?.get().min(2),
    };
    let before = resident()?;
    let mut batches = Batches::start(stream, 0, Device::Cpu)?;
    // The first batch has nobody who could have asked for it before.
    batches.take()?;
    let (began, waited) = (Instant::now(), batches.waited());
    for _ in 0..STEPS {
        batches.take()?;
        // What a device would do meanwhile.
        thread::sleep(STEP);
    }
    let waited = batches.waited().saturating_sub(waited);
    let share = waited.as_secs_f64() / began.elapsed().as_secs_f64();
    let memory_mb = resident()?.saturating_sub(before) as f64 / 1e6;
    Ok(json!({ "wait_share": share, "memory_mb": memory_mb }))
}

/// Shards of 2,100 pictures of 64 x 64 pixels.
fn synthetic_shards() -> Result<tempfile::TempDir> {
    let folders = tempfile::tempdir()?;
    let root = folders.path().join("tiny-imagenet-200");
    let names = ["n0", "n1", "n2"];
    for (class, name) in (0_u32..).zip(names) {
        let images = root.join(format!("train/{name}/images"));
        fs::create_dir_all(&images)?;
        for image in 0..700_u32 {
            let bytes = picture(700 * class + image)?;
            fs::write(images.join(format!("{name}_{image}.JPEG")), bytes)?;
        }
    }
    fs::create_dir_all(root.join("val/images"))?;
    fs::write(root.join("val/images/val_0.JPEG"), picture(9_999)?)?;
    fs::write(
        root.join("val/val_annotations.txt"),
        "val_0.JPEG\tn0\t0\t0\t9\t9\n",
    )?;
    fs::write(root.join("wnids.txt"), names.join("\n") + "\n")?;
    let (set, part) = (DataSet::TinyImagenet, Part::Train);
    let pictures = Pictures::open(set, part, folders.path(), Check::Format)?;
    let (packed, work) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut put =
        |name: &str, path: &Path| fs::copy(path, packed.path().join(name)).map(|_bytes| ());
    let written = write(&pictures, part, 1 << 20, work.path(), &mut put)?;
    let index = Index {
        format: INDEX_FORMAT,
        set: set.name().to_owned(),
        classes: pictures.classes().to_vec(),
        parts: BTreeMap::from([(part.name().to_owned(), written.shards)]),
    };
    fs::write(packed.path().join(INDEX_FILE), serde_json::to_vec(&index)?)?;
    Ok(packed)
}

fn picture(key: u32) -> Result<Vec<u8>> {
    let pixels: Vec<u8> = (0..64 * 64_u32)
        .flat_map(|at| [at / 64 * 3, at % 64 * 3, at.wrapping_mul(key) % 256])
        .map(|level| u8::try_from(level % 256).unwrap_or(0))
        .collect();
    let mut bytes = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut bytes, 85);
    encoder.encode(&pixels, 64, 64, jpeg_encoder::ColorType::Rgb)?;
    Ok(bytes)
}
