//! Where results go: stdout or a file, whole or not at all.

use std::fs::Permissions;
use std::future::pending;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

/// More links than this lead in a circle.
const MOST_LINKS: usize = 40;

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
/// Missing folders are made. Who may read it stays as it was.
pub fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, None)
}

/// As [`file()`], for nobody else to read.
pub fn private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, Some(0o600))
}

/// What a path leads to, link by link: these stay as they are.
fn led_to(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if is_descriptor(&path) {
            break;
        }
        let Ok(next) = std::fs::read_link(&path) else {
            break;
        };
        path = path
            .parent()
            .map_or(next.clone(), |folder| folder.join(next));
    }
    path
}

/// Whether a path names what a process has open.
fn is_descriptor(path: &Path) -> bool {
    let is_standard = ["/dev/stdout", "/dev/stderr"]
        .map(Path::new)
        .contains(&path);
    let is_fd = path.parent().is_some_and(|folder| {
        folder == Path::new("/dev/fd") || (folder.starts_with("/proc") && folder.ends_with("fd"))
    });
    is_standard || is_fd
}

/// Writes to what somebody has open or what is no file: a device, a pipe. Behind what is there; this
/// process's own descriptors have a place of their own in a file, at which it writes on.
fn write_to(there: &Path, bytes: &[u8]) -> io::Result<()> {
    let is = |names: [&str; 3]| names.map(Path::new).contains(&there);
    if is(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]) {
        let mut stdout = io::stdout().lock();
        return stdout.write_all(bytes).and_then(|()| stdout.flush());
    }
    if is(["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"]) {
        return io::stderr().write_all(bytes);
    }
    let mut there = std::fs::OpenOptions::new().append(true).open(there)?;
    there.write_all(bytes)
}

fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> Result<()> {
    let failed = || format!("write {}", path.display());
    let target = &led_to(path);
    if target.exists() && (is_descriptor(target) || !target.is_file()) {
        return write_to(target, bytes).with_context(failed);
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let before = std::fs::metadata(target).map(|before| before.permissions());
    let permissions = match (mode, before) {
        (Some(mode), _) => Permissions::from_mode(mode),
        (None, Ok(before)) => before,
        (None, Err(_none_yet)) => Permissions::from_mode(0o644),
    };
    let write = || -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut draft = tempfile::Builder::new();
        let mut draft = draft.permissions(permissions).tempfile_in(folder)?;
        draft.write_all(bytes)?;
        draft.as_file().sync_all()?;
        draft.persist(target)?;
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
        std::fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        file(&other, b"newer").unwrap();
        let mode = std::fs::metadata(&real).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // Also one that leads to nothing yet.
        std::fs::remove_file(&real).unwrap();
        file(&other, b"first").unwrap();
        assert_eq!(std::fs::read(&real).unwrap(), b"first");
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
