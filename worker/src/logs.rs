//! What a trainer prints: into a file up to a limit, and the end of it in memory.
//!
//! The file is in the attempt's scratch folder; `attempt::log` stores it.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

/// Bytes of standard error that a failure's record may hold.
const TAIL_BYTES: usize = 64 << 10;

/// Bytes that a log file may hold. A trainer that prints more is printing in a loop.
const LOG_BYTES: u64 = 16 << 20;

/// The end of what was written.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(TAIL_BYTES);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
    }

    /// As text, from the first whole line on if the beginning was lost.
    pub(crate) fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        let bytes = [front, back].concat();
        let begin = if bytes.len() < TAIL_BYTES {
            0
        } else {
            bytes
                .iter()
                .position(|it| *it == b'\n')
                .map_or(0, |it| it + 1)
        };
        String::from_utf8_lossy(&bytes[begin..]).into_owned()
    }
}

/// Copies both outputs of a trainer into the file at `path` until both have ended, and returns
/// the end of standard error. They are read to the end even when the file cannot be written: a
/// trainer must not block because this machine's disk is full.
pub(crate) async fn collect(
    mut stdout: impl AsyncRead + Unpin,
    mut stderr: impl AsyncRead + Unpin,
    path: PathBuf,
) -> Tail {
    let mut log = Log::create(&path).await;
    let mut tail = Tail::default();
    let (mut out_buffer, mut err_buffer) = (vec![0; 8192], vec![0; 8192]);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            read = stdout.read(&mut out_buffer), if out_open => {
                let bytes = read.unwrap_or(0);
                out_open = bytes > 0;
                log.write(&out_buffer[..bytes]).await;
            }
            read = stderr.read(&mut err_buffer), if err_open => {
                let bytes = read.unwrap_or(0);
                err_open = bytes > 0;
                tail.push(&err_buffer[..bytes]);
                log.write(&err_buffer[..bytes]).await;
            }
        }
    }
    log.close().await;
    tail
}

/// The log file, as long as it can be written.
#[derive(Debug)]
struct Log {
    file: Option<File>,
    written: u64,
    left_out: u64,
}

impl Log {
    async fn create(path: &Path) -> Self {
        let file = File::create(path).await;
        if let Err(error) = &file {
            tracing::warn!(%error, path = %path.display(), "the trainer's log is not kept");
        }
        Self {
            file: file.ok(),
            written: 0,
            left_out: 0,
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let room = usize::try_from(LOG_BYTES - self.written).unwrap_or(usize::MAX);
        let kept = &bytes[..bytes.len().min(room)];
        self.written += kept.len() as u64;
        self.left_out += (bytes.len() - kept.len()) as u64;
        self.append(kept).await;
    }

    async fn append(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(bytes).await
        {
            tracing::warn!(%error, "the rest of the trainer's log is not kept");
            self.file = None;
        }
    }

    async fn close(mut self) {
        if self.left_out > 0 {
            let note = format!("\n({} more bytes are left out)\n", self.left_out);
            self.append(note.as_bytes()).await;
        }
        let flushed: io::Result<()> = match &mut self.file {
            Some(file) => file.flush().await,
            None => Ok(()),
        };
        if let Err(error) = flushed {
            tracing::warn!(%error, "the end of the trainer's log is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_end_and_begins_with_a_whole_line() {
        let mut tail = Tail::default();
        tail.push(b"short\n");
        assert_eq!(tail.text(), "short\n");
        for number in 0..20_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.len() <= TAIL_BYTES && text.len() > TAIL_BYTES - 20);
        assert!(text.starts_with("line "));
        assert!(text.ends_with("line 19999\n"));
        tail.push(&vec![b'x'; 3 * TAIL_BYTES]);
        assert_eq!(tail.text().len(), TAIL_BYTES);
    }

    #[tokio::test]
    async fn both_outputs_are_kept_and_only_errors_are_in_the_tail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let tail = collect(b"out\n".as_slice(), b"err\n".as_slice(), path.clone()).await;
        assert_eq!(tail.text(), "err\n");
        let log = std::fs::read_to_string(path).unwrap();
        assert!(log.contains("out\n") && log.contains("err\n"), "{log:?}");
    }

    #[tokio::test]
    async fn a_log_stops_at_its_limit_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let flood = tokio::io::repeat(b'x').take(LOG_BYTES + 5);
        collect(flood, b"".as_slice(), path.clone()).await;
        let log = std::fs::read(path).unwrap();
        assert!(log.ends_with(b"\n(5 more bytes are left out)\n"));
        let note = b"\n(5 more bytes are left out)\n".len() as u64;
        assert_eq!(log.len() as u64, LOG_BYTES + note);
    }

    #[tokio::test]
    async fn output_is_read_to_its_end_even_where_no_file_can_be_written() {
        let nowhere = PathBuf::from("/nowhere/log");
        let tail = collect(b"".as_slice(), b"err".as_slice(), nowhere).await;
        assert_eq!(tail.text(), "err");
    }
}
