//! Ctrl-C and SIGTERM: the first ends what is under way cleanly, the second ends the process at once.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::exit::Exit;

/// For what is dropped when the process is to end at once.
pub const GRACE: Duration = Duration::from_millis(500);

/// Listens from `install` on until it is dropped.
pub struct Interrupts {
    shared: Arc<Shared>,
    heard: watch::Receiver<Heard>,
    _listener: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// What the next signal cancels.
    guarded: Mutex<Option<CancellationToken>>,
}

/// Signals that came while nothing was guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub interrupts: u32,
    pub terminated: bool,
}

impl Interrupts {
    /// Needs a runtime. `at_once` is cancelled by the signal that ends the process at once: whoever holds it
    /// drops everything, so that processes of tools go, too.
    pub fn install(at_once: CancellationToken) -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shared = Arc::new(Shared::default());
        let (sender, heard) = watch::channel(Heard::default());
        let listening = shared.clone();
        let listener = tokio::spawn(async move {
            loop {
                let terminated = tokio::select! {
                    Some(()) = interrupt.recv() => false,
                    Some(()) = terminate.recv() => true,
                    else => return,
                };
                if listening.received() == Meaning::AtOnce {
                    at_once.cancel();
                    // Dropped with everything else, unless something blocks.
                    tokio::time::sleep(GRACE).await;
                    std::process::exit(i32::from(Exit::Cancelled.code()));
                }
                sender.send_modify(|heard| {
                    heard.interrupts += 1;
                    heard.terminated |= terminated;
                });
            }
        });
        Ok(Self { shared, heard, _listener: AbortOnDropHandle::new(listener) })
    }

    /// From now on the first signal cancels this token and the next one ends the process. A signal that
    /// cancelled what was guarded before counts.
    pub fn guard(&self, token: CancellationToken) {
        let mut guarded = self.shared.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        if guarded.as_ref().is_some_and(CancellationToken::is_cancelled) {
            token.cancel();
        }
        *guarded = Some(token);
    }

    /// From now on signals are only heard.
    pub fn release(&self) {
        *self.shared.guarded.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn heard(&self) -> Heard {
        *self.heard.borrow()
    }

    /// Signals so far are no news any more.
    pub fn mark_heard(&mut self) {
        self.heard.mark_unchanged();
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Heard {
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.heard.borrow_and_update()
    }
}

#[derive(PartialEq, Eq)]
enum Meaning {
    Heard,
    AtOnce,
}

impl Shared {
    fn received(&self) -> Meaning {
        let guarded = self.guarded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match guarded {
            Some(token) if token.is_cancelled() => return Meaning::AtOnce,
            Some(token) => token.cancel(),
            None => {}
        }
        Meaning::Heard
    }
}
