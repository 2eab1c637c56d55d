//! What a caller is told who speaks HTTP/2 without TLS to a port that is under TLS. Without a word it
//! would learn of a broken connection and of nothing else.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tonic::Status;

/// The beginning of what a client of HTTP/2 says first
/// ([RFC 9113, 3.4](https://www.rfc-editor.org/rfc/rfc9113#section-3.4)). TLS begins with the byte 22.
const PREFACE: [u8; 2] = *b"PR";

const SAYS: &str = "expected TLS, found none: this port's address begins with https://";

/// How long a caller may take to say its first word.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(10);

/// How long a caller may take to make its first call, and to read what it is told.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// A caller has no need of more.
const CALLS: u32 = 8;
const HEADER_BYTES: u32 = 16 << 10;

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
    // Whether it is read is the caller's loss.
    drop(tokio::time::timeout(CALL_WITHIN, answer(stream)).await);
    Err(io::Error::other("the caller spoke HTTP/2 without TLS"))
}

/// Answers each call with what is wrong, until the caller has gone. Nothing of a call is looked at.
async fn answer(stream: &mut TcpStream) -> Result<(), h2::Error> {
    let mut limits = h2::server::Builder::new();
    let limits = limits
        .max_concurrent_streams(CALLS)
        .max_header_list_size(HEADER_BYTES);
    let mut connection = limits.handshake::<_, bytes::Bytes>(stream).await?;
    while let Some(call) = connection.accept().await {
        let (_request, mut respond) = call?;
        // A fault that may pass: TLS may be switched off again.
        let (head, _no_body) = Status::unavailable(SAYS).into_http::<()>().into_parts();
        respond.send_response(http::Response::from_parts(head, ()), true)?;
        connection.graceful_shutdown();
    }
    Ok(())
}
