//! What a caller is told who speaks HTTP/2 without TLS to a port that is under TLS. Without a word it
//! would learn of a broken connection and of nothing else.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The beginning of what a client of HTTP/2 says first
/// ([RFC 9113, 3.4](https://www.rfc-editor.org/rfc/rfc9113#section-3.4)). TLS begins with the byte 22.
const PREFACE: [u8; 2] = *b"PR";

/// An empty SETTINGS frame, which a server says first, and the head of a GOAWAY frame but for its
/// length ([RFC 9113, 6.5 and 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8)).
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const GOAWAY: u8 = 7;

/// The error code `HTTP_1_1_REQUIRED`: clients of gRPC take it for a fault that may pass, as TLS may be
/// switched off again. That of a peer whose security is not enough they would take for a verdict.
const CODE: u32 = 13;

const SAYS: &str = "expected TLS, found none: this port's address begins with https://";

/// How long a caller may take to say its first word.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(10);

/// How long a caller may take to read what it is told.
const LINGER: Duration = Duration::from_secs(1);

/// Answers a caller who speaks HTTP/2 without TLS; the error that ends its connection. Others are left
/// as they are, unread.
pub(crate) async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    let mut first = PREFACE.map(|_| 0);
    let peeking = tokio::time::timeout(FIRST_WORD_WITHIN, stream.peek(&mut first));
    let seen = peeking
        .await
        .map_err(|_elapsed| io::ErrorKind::TimedOut)??;
    if seen < PREFACE.len() || first != PREFACE {
        return Ok(());
    }
    let lingering = async {
        stream.write_all(&answer()).await?;
        stream.shutdown().await?;
        // What is left unread when a connection is closed takes with it what was said.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Whether it is read is the caller's loss.
    drop(tokio::time::timeout(LINGER, lingering).await);
    Err(io::Error::other("the caller spoke HTTP/2 without TLS"))
}

fn answer() -> Vec<u8> {
    let last_stream = 0_u32.to_be_bytes();
    let payload = [&last_stream, &CODE.to_be_bytes(), SAYS.as_bytes()].concat();
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let [_, length @ ..] = length;
    let head = [&length[..], &[GOAWAY, 0], &[0; 4]].concat();
    [&SETTINGS[..], &head, &payload].concat()
}
