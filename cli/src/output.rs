//! Where results go: stdout or a file, whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes to stdout. A reader that has gone away (`| head`) is no failure.
pub fn stdout(bytes: &[u8]) -> Result<()> {
    stdout_goes_on(bytes).map(|_is_there| ())
}

/// The same for whoever goes on writing: whether the reader is still there.
pub fn stdout_goes_on(bytes: &[u8]) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to stdout"),
    }
}

/// Writes to stderr. That nobody reads it stops nothing.
pub fn stderr(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Writes a file so that a reader finds the old content or the new one, never a part of it.
/// Missing folders are made.
pub fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, 0o644)
}

/// As [`file()`], for nobody else to read.
pub fn private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, 0o600)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut draft = tempfile::Builder::new();
        let mut draft = draft
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
            .tempfile_in(folder)?;
        draft.write_all(bytes)?;
        draft.as_file().sync_all()?;
        draft.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/front.csv");
        file(&path, b"one").unwrap();
        file(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(
            std::fs::read_dir(folder.path().join("new"))
                .unwrap()
                .count(),
            1
        );
    }
}
