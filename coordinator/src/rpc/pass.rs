//! What a call was let in by, which may be revoked while the call is answered.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use autorep_proto::status::Refusal;
use autorep_transport::{Caller, LiveTokens, Secret};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::Status;
use tonic::body::Body;

/// How often it is looked at while an answer goes on.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A token that was in force, and whose it was.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) tokens: LiveTokens,
    pub(super) token: Secret,
    pub(super) caller: Caller,
}

impl Pass {
    fn is_in_force(&self) -> bool {
        self.tokens.get().caller(&self.token) == Some(&self.caller)
    }

    /// An answer that ends when the pass does.
    pub(super) fn over(self, answer: Body) -> Body {
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Body::new(Passing {
            answer: Some(answer),
            pass: self,
            look,
        })
    }
}

/// The token of a call is not known, or no longer.
pub(super) fn not_in_force() -> Refusal {
    Refusal::Unauthenticated(
        "expected a token that is in force, found another: it may have been revoked; ask whoever \
         runs the coordinator for one"
            .to_owned(),
    )
}

/// An answer under a pass.
struct Passing {
    /// None once the pass has ended.
    answer: Option<Body>,
    pass: Pass,
    look: Interval,
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // First, for an answer that always has more is not looked at otherwise.
        while self.answer.is_some() && self.look.poll_tick(context).is_ready() {
            if !self.pass.is_in_force() {
                self.answer = None;
                let mut end = HeaderMap::new();
                Status::from(not_in_force()).add_header(&mut end)?;
                return Poll::Ready(Some(Ok(Frame::trailers(end))));
            }
        }
        match &mut self.answer {
            Some(answer) => Pin::new(answer).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let answer = self.answer.as_ref();
        answer.map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}
