//! Where results go: stdout or a file, whole or not at all.

use std::future::pending;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

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

/// Returns when the reader of a pipe has gone away, which who writes seldom would learn late; never for
/// a file or a terminal.
pub async fn nobody_reads(pipe: impl AsFd) {
    // A file cannot be waited for, and is there for good.
    let pipe = pipe.as_fd().try_clone_to_owned();
    if let Ok(pipe) = pipe.and_then(Sender::from_owned_fd_unchecked) {
        while let Ok(ready) = pipe.ready(Interest::ERROR).await {
            if ready.is_error() {
                return;
            }
        }
    }
    pending::<()>().await;
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

/// Whether a path names what a process has open.
fn is_descriptor(path: &Path) -> bool {
    let is_of_processes = path.starts_with("/dev") || path.starts_with("/proc");
    let is_standard = ["/dev/stdout", "/dev/stderr"]
        .map(Path::new)
        .contains(&path);
    let folder = path.parent().and_then(Path::file_name);
    is_standard || (is_of_processes && folder.is_some_and(|folder| folder == "fd"))
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = || format!("write {}", path.display());
    // What is no file is written to, and what somebody has open: a device, a pipe, or whatever
    // /dev/stdout leads to, behind what is there.
    if path.exists() && (is_descriptor(path) || !path.is_file()) {
        let there = std::fs::OpenOptions::new().append(true).open(path);
        let written = there.and_then(|mut there| there.write_all(bytes));
        return written.with_context(failed);
    }
    // A link stays one.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_none_yet| path.to_owned());
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
    write().with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_whose_reader_has_gone_away_is_noticed_without_a_write() {
        use futures::FutureExt as _;

        let (reader, writer) = io::pipe().unwrap();
        let mut gone = Box::pin(nobody_reads(writer));
        for _ in 0..100 {
            assert_eq!(gone.as_mut().now_or_never(), None, "somebody reads");
            tokio::task::yield_now().await;
        }
        drop(reader);
        let within = std::time::Duration::from_secs(10);
        tokio::time::timeout(within, gone).await.unwrap();
        let file = tempfile::tempfile().unwrap();
        assert_eq!(nobody_reads(file).now_or_never(), None);
    }

    #[test]
    fn what_a_process_has_open_is_not_taken_for_a_file_in_memory() {
        for open in [
            "/dev/stdout",
            "/dev/fd/3",
            "/proc/self/fd/1",
            "/proc/7/fd/9",
        ] {
            assert!(is_descriptor(Path::new(open)), "{open}");
        }
        for file in [
            "/dev/shm/front.csv",
            "/dev/shm/store/run.json",
            "fd/1",
            "/data/fd/1",
        ] {
            assert!(!is_descriptor(Path::new(file)), "{file}");
        }
    }

    #[test]
    fn a_device_is_written_to_and_a_link_stays_one() {
        use std::os::unix::fs::FileTypeExt as _;

        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        let full = file(&link, b"x").unwrap_err();
        assert!(format!("{full:#}").contains("No space left"), "{full:#}");
        let device = std::fs::metadata("/dev/full").unwrap().file_type();
        assert!(device.is_char_device());
        let (mut reader, writer) = io::pipe().unwrap();
        let pipe = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        std::os::unix::fs::symlink(pipe, folder.path().join("stdout")).unwrap();
        file(&folder.path().join("stdout"), b"read").unwrap();
        drop(writer);
        let all = folder.path().join("all");
        std::fs::write(&all, b"before ").unwrap();
        let all = std::fs::File::open(&all).unwrap();
        let open = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&all));
        file(Path::new(&open), b"after").unwrap();
        let all = std::fs::read(folder.path().join("all")).unwrap();
        assert_eq!(all, b"before after");
        let mut read = String::new();
        io::Read::read_to_string(&mut reader, &mut read).unwrap();
        assert_eq!(read, "read");

        let (real, other) = (folder.path().join("real"), folder.path().join("other"));
        file(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &other).unwrap();
        file(&other, b"new").unwrap();
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
        assert!(other.is_symlink());
    }

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
