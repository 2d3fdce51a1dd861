//! A file descriptor that wakes whoever polls it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pyo3::prelude::*;
use rustix::io::{read, write};

/// Any thread may wake; one thread listens.
pub(crate) struct Wakeup {
    listened: OwnedFd,
    /// The other end, where the system has no counter that is both.
    #[cfg(not(target_os = "linux"))]
    woken: OwnedFd,
}

impl Wakeup {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> PyResult<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let listened =
            eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
        Ok(Self { listened })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> PyResult<Self> {
        let (listened, woken) = rustix::pipe::pipe().map_err(std::io::Error::from)?;
        for end in [&listened, &woken] {
            rustix::io::ioctl_fionbio(end, true).map_err(std::io::Error::from)?;
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).map_err(std::io::Error::from)?;
        }
        Ok(Self { listened, woken })
    }

    pub(crate) fn wake(&self) {
        #[cfg(target_os = "linux")]
        let end = &self.listened;
        #[cfg(not(target_os = "linux"))]
        let end = &self.woken;
        // A full one wakes all the same.
        let _ = write(end, &1_u64.to_ne_bytes());
    }

    /// Takes note of all that woke.
    pub(crate) fn clear(&self) {
        let mut taken = [0; 8];
        #[cfg(target_os = "linux")]
        let _ = read(&self.listened, &mut taken);
        #[cfg(not(target_os = "linux"))]
        while read(&self.listened, &mut taken).is_ok_and(|bytes| bytes > 0) {}
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listened.as_fd()
    }
}
