//! A forked child starts afresh.
//!
//! Of a forked process only the forking thread lives on, and any lock may be held for ever. So the child touches
//! nothing that existed: it forgets the process block and counts a generation up, in a hook that is atomics alone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::{gate, process};

static GENERATION: AtomicU64 = AtomicU64::new(1);
static HOOKED: AtomicBool = AtomicBool::new(false);

/// Counts forks on the way from the first process to this one. What was made in another generation is dead.
pub(crate) fn generation() -> u64 {
    GENERATION.load(SeqCst)
}

extern "C" fn in_child() {
    process::forget();
    gate::forget();
    GENERATION.fetch_add(1, SeqCst);
}

/// Has the child of every fork start afresh, however it is made.
#[expect(unsafe_code, reason = "there is no safe door to pthread_atfork")]
pub(crate) fn hook() {
    if !HOOKED.swap(true, SeqCst) {
        // SAFETY: the hook is a plain function that only stores to atomics.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
}
