//! How processes on one file hear of each other's answers: who has stored one writes a byte to the file beside the
//! database, and the system tells those who watch it. There is nothing to ask for again and again.
//!
//! On systems other than Linux nobody watches, nor where the system has no watch left to give: an answer of another process is found when
//! [`claimable`](ambidex_core::store::RunIndex::claimable) is asked, as is one whose process died before it could
//! ring.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::file::beside;

pub(super) struct Bell {
    path: PathBuf,
}

impl Bell {
    pub(super) fn new(database: &Path) -> Self {
        Self { path: beside(database, "-bell") }
    }

    /// Answers were stored.
    pub(super) fn ring(&self) {
        let rung = File::options().write(true).open(&self.path).and_then(|file| file.write_at(b".", 0));
        // One that is not heard costs a sweep's time: what was stored is there.
        drop(rung);
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::Watch;

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::thread::JoinHandle;

    use ambidex_core::store::StoreError;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::super::errors;
    use super::super::file::beside;
    use crate::rows::Reading;

    /// A thread that sleeps until the bell is rung.
    pub(in super::super) struct Watch {
        /// Its end ends the thread.
        _end: OwnedFd,
    }

    impl Watch {
        pub(in super::super) fn start(
            database: &Path,
            reading: &Reading,
            heard: impl Fn() + Send + 'static,
        ) -> Result<(Self, JoinHandle<()>), StoreError> {
            let failed = |errno: Errno| errors::of_io(reading, &errno.into());
            let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(failed)?;
            inotify::add_watch(&events, beside(database, "-bell"), WatchFlags::MODIFY).map_err(failed)?;
            let (ended, end) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
            let thread = std::thread::Builder::new().name("ambidex-bell".into());
            let thread = thread.spawn(move || listen(&events, &ended, heard));
            let thread = thread.map_err(|error| errors::of_io(reading, &error))?;
            Ok((Self { _end: end }, thread))
        }
    }

    fn listen(events: &OwnedFd, ended: &OwnedFd, heard: impl Fn()) {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        loop {
            let mut waiting = [PollFd::new(events, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Ok(_) if !waiting[1].revents().is_empty() => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let mut events = inotify::Reader::new(events, &mut buffer);
            let mut rung = false;
            while events.next().is_ok() {
                rung = true;
            }
            // Once for all that rang meanwhile.
            if rung {
                heard();
            }
        }
    }
}
