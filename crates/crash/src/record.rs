//! What this process does to the files of a folder, and what it promises meanwhile, in one order.
//!
//! The functions of the C library through which SQLite and the standard library reach a file are defined here once
//! more, and the linker takes these: each makes the same system call, and writes it down while a recording is on. So
//! nothing of the product is another, and whatever it does to a file is seen, whoever in it does so.
#![allow(unsafe_code, reason = "the functions take a file's place in the C library")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{mode_t, off_t, size_t, ssize_t};

use crate::store::Promise;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A file or a folder has come to be.
    Made {
        path: PathBuf,
        is_folder: bool,
    },
    Unlinked {
        path: PathBuf,
    },
    Written {
        path: PathBuf,
        at: u64,
        bytes: Vec<u8>,
    },
    Cut {
        path: PathBuf,
        length: u64,
    },
    /// What was done to the file before is to be on disk when the sync of this number has ended.
    SyncBegan {
        path: PathBuf,
        number: u64,
    },
    SyncEnded {
        number: u64,
    },
    Promised(Promise),
}

struct Recording {
    folder: PathBuf,
    events: Vec<Event>,
    syncs: u64,
}

static IS_ON: AtomicBool = AtomicBool::new(false);
/// There is one process to record, as there is one C library.
static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

fn recording() -> MutexGuard<'static, Option<Recording>> {
    RECORDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to write down what is done below this folder.
///
/// # Errors
/// The recorder is not in its place.
pub fn begin(folder: &Path) -> Result<(), String> {
    let folder = folder.canonicalize().map_err(|error| error.to_string())?;
    *recording() = Some(Recording { folder: folder.clone(), events: Vec::new(), syncs: 0 });
    IS_ON.store(true, Ordering::SeqCst);
    // A recorder that sees nothing would find nothing.
    let probe = folder.join("probe");
    let tried = std::fs::write(&probe, "x").and_then(|()| std::fs::File::open(&probe)?.sync_all());
    tried.and_then(|()| std::fs::remove_file(&probe)).map_err(|error| error.to_string())?;
    let mut recording = recording();
    let events =
        recording.as_mut().map(|recording| std::mem::take(&mut recording.events)).unwrap_or_default();
    match &events[..] {
        [
            Event::Made { .. },
            Event::Written { .. },
            Event::SyncBegan { .. },
            Event::SyncEnded { .. },
            Event::Unlinked { .. },
        ] => Ok(()),
        seen => Err(format!("the recorder is not in its place: it saw {seen:?}")),
    }
}

/// Ends it.
pub fn end() -> Vec<Event> {
    IS_ON.store(false, Ordering::SeqCst);
    recording().take().map(|recording| recording.events).unwrap_or_default()
}

/// Was told to somebody just now.
pub fn promised(promise: Promise) {
    if let Some(recording) = recording().as_mut() {
        recording.events.push(Event::Promised(promise));
    }
}

impl Recording {
    fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.folder)
    }
}

fn path_of(fd: c_int) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// Makes a call, and writes down what it did, before anybody else does anything. `what` is asked where it worked.
fn note(
    path: Option<PathBuf>,
    call: impl FnOnce() -> i64,
    what: impl FnOnce(PathBuf, i64) -> Option<Event>,
) -> i64 {
    let mut recording = recording();
    let done = call();
    if let (Some(recording), Some(path)) = (recording.as_mut(), path)
        && done >= 0
        && recording.holds(&path)
        && let Some(event) = what(path, done)
    {
        recording.events.push(event);
    }
    done
}

fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// # Safety
/// As `write(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: handed on as it came.
    let call = || unsafe { libc::syscall(libc::SYS_write, fd, buffer, count) };
    if !is_on() {
        return call() as ssize_t;
    }
    // Where it will be written. A pipe has no such place.
    // SAFETY: it takes numbers.
    let at = unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
    note(path_of(fd), call, |path, done| written(path, at, buffer, done)) as ssize_t
}

fn written(path: PathBuf, at: i64, buffer: *const c_void, done: i64) -> Option<Event> {
    let (at, length) = (u64::try_from(at).ok()?, usize::try_from(done).ok()?);
    // SAFETY: the system has just read so many bytes from there.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) }.to_vec();
    Some(Event::Written { path, at, bytes })
}

/// # Safety
/// As `pwrite(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, count: size_t, at: off_t) -> ssize_t {
    // SAFETY: handed on as it came.
    let call = || unsafe { libc::syscall(libc::SYS_pwrite64, fd, buffer, count, at) };
    if !is_on() {
        return call() as ssize_t;
    }
    note(path_of(fd), call, |path, done| written(path, at, buffer, done)) as ssize_t
}

/// # Safety
/// As `pwrite(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, buffer: *const c_void, count: size_t, at: off_t) -> ssize_t {
    // SAFETY: the same function where offsets have 64 bits.
    unsafe { pwrite64(fd, buffer, count, at) }
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    // SAFETY: it takes numbers.
    let call = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) };
    if !is_on() {
        return call() as c_int;
    }
    let cut = |path, _| Some(Event::Cut { path, length: u64::try_from(length).ok()? });
    note(path_of(fd), call, cut) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    ftruncate64(fd, length)
}

/// Others may write while it takes its time.
fn synced(fd: c_int, number: libc::c_long) -> c_int {
    // SAFETY: it takes a number.
    let call = || unsafe { libc::syscall(number, fd) };
    let path = if is_on() { path_of(fd) } else { None };
    let began = path.and_then(|path| {
        let mut recording = recording();
        let recording = recording.as_mut().filter(|recording| recording.holds(&path))?;
        recording.syncs += 1;
        recording.events.push(Event::SyncBegan { path, number: recording.syncs });
        Some(recording.syncs)
    });
    let done = call();
    if let (Some(number), 0, Some(recording)) = (began, done, recording().as_mut()) {
        recording.events.push(Event::SyncEnded { number });
    }
    done as c_int
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd, libc::SYS_fdatasync)
}

/// Absolute, as a recording has it.
///
/// # Safety
/// A text that ends with a zero.
unsafe fn named(path: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(path) };
    let path = Path::new(OsStr::from_bytes(text.to_bytes()));
    path.is_absolute().then(|| path.to_owned())
}

/// # Safety
/// As `open(2)`. It is called with two arguments, too; the third is not looked at then.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: handed on as it came.
    let call = || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    if !is_on() || flags & libc::O_CREAT == 0 {
        return call() as c_int;
    }
    // SAFETY: as the caller promised.
    let (file, there) =
        unsafe { (named(path), libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path, 0) == 0) };
    note(file, call, |path, _| (!there).then_some(Event::Made { path, is_folder: false })) as c_int
}

/// # Safety
/// As `open(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the same function where offsets have 64 bits.
    unsafe { open64(path, flags, mode) }
}

/// # Safety
/// As `mkdir(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: handed on as it came.
    let call = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    if !is_on() {
        return call() as c_int;
    }
    // SAFETY: as the caller promised.
    let folder = unsafe { named(path) };
    note(folder, call, |path, _| Some(Event::Made { path, is_folder: true })) as c_int
}

/// # Safety
/// As `unlink(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: handed on as it came.
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    if !is_on() {
        return call() as c_int;
    }
    // SAFETY: as the caller promised.
    let file = unsafe { named(path) };
    note(file, call, |path, _| Some(Event::Unlinked { path })) as c_int
}
