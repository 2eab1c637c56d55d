//! The trainer's stream, read and written without blocking. Its format is
//! [`autorep_proto::frame`]'s.

use std::io;

use autorep_proto::frame::{self, FrameError, HEADER_BYTES};
use autorep_proto::v1::{TrainerCommand, TrainerEvent};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Waits for one event; `None` when the trainer closed the stream between two.
///
/// Not cancel safe: a dropped read may have taken part of a message.
pub(crate) async fn read_event(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<TrainerEvent>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    match fill(stream, &mut header).await? {
        0 => return Ok(None),
        HEADER_BYTES => {}
        found => {
            return Err(FrameError::Cut {
                expected: HEADER_BYTES,
                found,
            });
        }
    }
    let expected = frame::body_length(header)?;
    let mut body = vec![0; expected];
    let found = fill(stream, &mut body).await?;
    if found < expected {
        return Err(FrameError::Cut { expected, found });
    }
    frame::decode(&body).map(Some)
}

/// Writes one command.
pub(crate) async fn write_command(
    stream: &mut (impl AsyncWrite + Unpin),
    command: &TrainerCommand,
) -> Result<(), FrameError> {
    let frame = frame::encode(command)?;
    stream.write_all(&frame).await.map_err(FrameError::Stream)
}

/// Reads until `buffer` is full or the stream ends; returns the bytes read. A trainer that was
/// killed with unread commands resets the stream: that is an end, too.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> Result<usize, FrameError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(FrameError::Stream(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use autorep_proto::v1::{Progress, trainer_event::Event};

    use super::*;

    fn progress(step: u64) -> TrainerEvent {
        TrainerEvent {
            event: Some(Event::Progress(Progress {
                step,
                ..Progress::default()
            })),
        }
    }

    #[tokio::test]
    async fn what_the_blocking_side_writes_the_async_side_reads() {
        let mut bytes = Vec::new();
        frame::write_message(&mut bytes, &progress(1)).unwrap();
        frame::write_message(&mut bytes, &progress(2)).unwrap();
        let mut stream = bytes.as_slice();
        assert_eq!(read_event(&mut stream).await.unwrap(), Some(progress(1)));
        assert_eq!(read_event(&mut stream).await.unwrap(), Some(progress(2)));
        assert_eq!(read_event(&mut stream).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_cut_message_and_an_endless_one_are_errors() {
        let frame = frame::encode(&progress(3)).unwrap();
        for cut in 1..frame.len() {
            let found = read_event(&mut &frame[..cut]).await;
            assert!(matches!(found, Err(FrameError::Cut { .. })), "at {cut}");
        }
        let found = read_event(&mut [0xff_u8; 8].as_slice()).await;
        assert!(matches!(found, Err(FrameError::TooLong { .. })));
    }
}
