//! Sends one file to a store as workers send checkpoints, or by `object_store`'s plain loop, and
//! prints the seconds and the memory that it took. `make bench ONLY=upload` calls it.
//!
//! usage: upload URL KEY FILE [plain]     (the store is set up by the `AWS_…` variables)

use std::error::Error;
use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Instant;

use autorep_store::{Multipart, Upload, connect};
use bytes::BytesMut;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use tokio::io::AsyncReadExt as _;

/// As `autorep_store::Upload` has them for a file of 1 GB.
const PIECE_BYTES: usize = 8 << 20;
const AT_ONCE: usize = 4;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (url, key, file, plain) = match arguments.as_slice() {
        [url, key, file] => (url, key, file, false),
        [url, key, file, word] if word == "plain" => (url, key, file, true),
        _ => return Err("usage: upload URL KEY FILE [plain]".into()),
    };
    let store = connect(url, Multipart::CreatesOnly)?;
    let (key, file) = (Path::parse(key)?, FilePath::new(file));
    let before = resident("VmRSS")?;
    // From here on the kernel notes the peak anew.
    fs::write("/proc/self/clear_refs", "5")?;
    let began = Instant::now();
    if plain {
        send_plainly(store, &key, file).await?;
    } else {
        let file = fs::File::open(file)?;
        let bytes = file.metadata()?.len();
        let upload = Upload::default();
        upload.run(&*store, &key, file, bytes).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let extra = resident("VmHWM")?.saturating_sub(before) as f64 / 1024.0;
    let text = format!("{{\"seconds\": {seconds:.3}, \"extra_memory_mib\": {extra:.1}}}\n");
    fs::write("/dev/stdout", text)?;
    Ok(())
}

/// The loop that `object_store` documents, and nothing beside it: no digest of the whole, buffers
/// made anew, no piece sent again.
async fn send_plainly(
    store: Arc<dyn ObjectStore>,
    key: &Path,
    file: &FilePath,
) -> Result<(), Box<dyn Error>> {
    let mut file = tokio::fs::File::open(file).await?;
    let upload = store.put_multipart(key).await?;
    let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE_BYTES);
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        while piece.len() < PIECE_BYTES && file.read_buf(&mut piece).await? > 0 {}
        if piece.is_empty() {
            break;
        }
        upload.wait_for_capacity(AT_ONCE).await?;
        upload.put(piece.freeze());
    }
    upload.finish().await?;
    Ok(())
}

/// One of this process's sizes in KiB.
fn resident(name: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| {
        line.trim_matches(&[':', ' ', '\t', 'k', 'B'][..])
            .parse()
            .ok()
    });
    value.ok_or_else(|| format!("expected {name} in /proc/self/status, found none").into())
}
