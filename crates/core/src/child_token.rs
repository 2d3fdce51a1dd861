//! The token of a part of a call.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Ends with the token above it, and can end before. It is made when somebody asks for it: most parts only look
/// whether they are cancelled, and entering a token into the tree costs more than the rest of a context.
pub(crate) struct ChildToken {
    above: Context,
    token: OnceLock<CancellationToken>,
    cancelled: AtomicBool,
}

impl ChildToken {
    pub(crate) fn of(above: Context) -> Self {
        Self { above, token: OnceLock::new(), cancelled: AtomicBool::new(false) }
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(|| self.above.token().child_token());
        // With the fence in `cancel`: one of the two sees what the other did.
        fence(Ordering::SeqCst);
        if self.cancelled.load(Ordering::Relaxed) {
            token.cancel();
        }
        token
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
            || self.token.get().map_or_else(|| self.above.is_cancelled(), CancellationToken::is_cancelled)
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }
}
