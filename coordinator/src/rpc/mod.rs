//! The gRPC services: they check what comes from outside, ask the ledger's owner, and put its
//! answer on the wire.

pub(crate) mod fleet;
pub(crate) mod guard;
pub(crate) mod lab;
mod logs;
mod pass;
mod who;

/// The end of `text`, at most `limit` bytes.
fn end_of(text: &str, limit: usize) -> String {
    let begin = text.ceil_char_boundary(text.len().saturating_sub(limit));
    let (_, end) = text.split_at(begin);
    end.to_owned()
}

/// The beginning of `text`, at most `limit` bytes.
fn beginning_of(text: &str, limit: usize) -> String {
    let (beginning, _) = text.split_at(text.floor_char_boundary(limit));
    beginning.to_owned()
}
