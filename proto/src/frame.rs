//! Framing of the stream between a worker and its trainer: each message is its length in bytes
//! as four bytes, big-endian, followed by its protobuf encoding.
//!
//! Everything here blocks and needs only `std`, for the trainer's sake; the worker reads and
//! writes asynchronously and uses [`encode`], [`body_length`] and [`decode`].

use std::io::{self, Read, Write};

use prost::Message;

/// Bytes of the length before each message.
pub const HEADER_BYTES: usize = 4;

/// The longest message: more is a broken peer, not a message. The largest one in use is a task's
/// spec with some folder names, a few kilobytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A message could not be read from the stream, or not be written to it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A length above [`MAX_MESSAGE_BYTES`].
    #[error("expected a message of at most {MAX_MESSAGE_BYTES} bytes, found one of {bytes}")]
    TooLong {
        /// The message's length.
        bytes: usize,
    },
    /// The stream ended within a message.
    #[error("the stream ended within a message: expected {expected} bytes, found {found}")]
    Cut {
        /// Bytes that the header or the body should have had.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// The bytes are not the expected message.
    #[error("the bytes of a message do not decode")]
    Undecodable(#[source] prost::DecodeError),
    /// The stream itself failed.
    #[error("the trainer's stream failed")]
    Stream(#[source] io::Error),
}

/// The bytes of `message` as they go on the stream: header and body.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    let bytes = message.encoded_len();
    let header = u32::try_from(bytes)
        .ok()
        .filter(|_| bytes <= MAX_MESSAGE_BYTES)
        .ok_or(FrameError::TooLong { bytes })?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + bytes);
    frame.extend_from_slice(&header.to_be_bytes());
    message.encode_raw(&mut frame);
    Ok(frame)
}

/// The length of the body that follows `header`.
pub fn body_length(header: [u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    // Where usize has 16 bits, every length that does not fit is above the limit as well.
    let bytes = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if bytes > MAX_MESSAGE_BYTES {
        return Err(FrameError::TooLong { bytes });
    }
    Ok(bytes)
}

/// The message that a frame's body holds.
pub fn decode<M: Message + Default>(body: &[u8]) -> Result<M, FrameError> {
    M::decode(body).map_err(FrameError::Undecodable)
}

/// Writes one message and flushes.
pub fn write_message<M: Message>(stream: &mut impl Write, message: &M) -> Result<(), FrameError> {
    let frame = encode(message)?;
    stream.write_all(&frame).map_err(FrameError::Stream)?;
    stream.flush().map_err(FrameError::Stream)
}

/// Waits for one message; `None` when the other side closed the stream between two messages.
pub fn read_message<M: Message + Default>(stream: &mut impl Read) -> Result<Option<M>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    match fill(stream, &mut header)? {
        0 => return Ok(None),
        HEADER_BYTES => {}
        found => {
            return Err(FrameError::Cut {
                expected: HEADER_BYTES,
                found,
            });
        }
    }
    let expected = body_length(header)?;
    let mut body = vec![0; expected];
    let found = fill(stream, &mut body)?;
    if found < expected {
        return Err(FrameError::Cut { expected, found });
    }
    decode(&body).map(Some)
}

/// Reads until `buffer` is full or the stream ends; returns the bytes read.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, FrameError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FrameError::Stream(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    fn ready(step: u64) -> v1::CheckpointReady {
        v1::CheckpointReady {
            role: v1::CheckpointRole::Output.into(),
            output: "net".to_owned(),
            step,
            folder: "out-net".to_owned(),
        }
    }

    #[test]
    fn messages_come_out_in_the_order_they_went_in_and_then_the_stream_ends() {
        let mut stream = Vec::new();
        for step in [0, 1, u64::MAX] {
            write_message(&mut stream, &ready(step)).unwrap();
        }
        let mut stream = stream.as_slice();
        for step in [0, 1, u64::MAX] {
            let message: v1::CheckpointReady = read_message(&mut stream).unwrap().unwrap();
            assert_eq!(message, ready(step));
        }
        assert!(
            read_message::<v1::CheckpointReady>(&mut stream)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn an_empty_message_is_a_message_and_not_the_end() {
        let mut stream = Vec::new();
        write_message(&mut stream, &v1::Stop {}).unwrap();
        assert_eq!(stream.len(), HEADER_BYTES);
        assert!(
            read_message::<v1::Stop>(&mut stream.as_slice())
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_stream_cut_at_any_byte_within_a_message_is_an_error() {
        let frame = encode(&ready(7)).unwrap();
        for cut in 1..frame.len() {
            let found = read_message::<v1::CheckpointReady>(&mut &frame[..cut]);
            assert!(
                matches!(found, Err(FrameError::Cut { .. })),
                "cut at {cut}: {found:?}"
            );
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_allocated() {
        let mut stream: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0];
        let found = read_message::<v1::Stop>(&mut stream);
        assert!(matches!(found, Err(FrameError::TooLong { .. })));
        let too_long = v1::LogChunk {
            text: vec![b' '; MAX_MESSAGE_BYTES],
            generation: 1,
        };
        assert!(matches!(encode(&too_long), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let mut stream: &[u8] = &[0, 0, 0, 2, 0xff, 0xff];
        let found = read_message::<v1::CheckpointReady>(&mut stream);
        assert!(matches!(found, Err(FrameError::Undecodable(_))));
    }

    /// Hands out one byte at a time with an interruption before each.
    struct Trickle<'a> {
        bytes: &'a [u8],
        interrupt: bool,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = buffer.len().min(1);
            self.bytes.read(&mut buffer[..length])
        }
    }

    #[test]
    fn short_and_interrupted_reads_are_put_together() {
        let frame = encode(&ready(3)).unwrap();
        let mut stream = Trickle {
            bytes: &frame,
            interrupt: false,
        };
        let message: v1::CheckpointReady = read_message(&mut stream).unwrap().unwrap();
        assert_eq!(message, ready(3));
    }
}
