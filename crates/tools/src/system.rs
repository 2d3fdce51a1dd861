//! Failures of the operating system, and which of them pass by themselves.

use std::io;

use ambidex_core::{Error, ErrorKind};

/// Whether the same call may succeed a moment later: interrupted, busy, or out of something that others
/// give back.
pub fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kind = matches!(
        error.kind(),
        Kind::Interrupted
            | Kind::WouldBlock
            | Kind::TimedOut
            | Kind::ResourceBusy
            | Kind::ExecutableFileBusy
            | Kind::OutOfMemory
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::ConnectionRefused
            | Kind::StaleNetworkFileHandle
    );
    kind || is_exhausted(error)
}

/// Out of file descriptors, which have no kind of their own.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error)
        .is_some_and(|code| matches!(code, Errno::MFILE | Errno::NFILE | Errno::NOBUFS))
}

/// The error of a tool whose work failed in the operating system; retryable when it is transient.
pub fn tool_error(error: &io::Error) -> Error {
    Error::new(ErrorKind::ToolFailed, error.to_string()).retryable(is_transient(error))
}
