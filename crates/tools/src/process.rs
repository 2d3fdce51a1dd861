//! A child process in a group of its own, which never outlives whoever waits for it.
//!
//! Each child has a thread that forks, waits and reaps it. The parent-death signal is bound to the thread
//! that forked, so that thread must live as long as the child; and the child is reaped when the future that
//! waited was dropped, and when its runtime is gone.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::oneshot;

/// Stack of a thread that only waits.
const STACK: usize = 128 * 1024;

/// A started child. Dropping it kills its group.
pub(crate) struct Running {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
    /// Ready when the child has ended, its group was killed and it was reaped.
    pub(crate) exit: oneshot::Receiver<io::Result<ExitStatus>>,
    pub(crate) group: KilledOnDrop,
}

/// The child and what it started, unless that left the group.
pub(crate) struct KilledOnDrop(Arc<Group>);

struct Group {
    id: Pid,
    /// The id may mean another group from then on.
    reaped: Mutex<bool>,
}

impl KilledOnDrop {
    /// Sends a signal to all processes of the group that are left.
    pub(crate) fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

impl Group {
    fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // Nobody left is what was wanted.
            let _ = kill_process_group(self.id, signal);
        }
    }
}

/// Starts a child in a group of its own.
pub(crate) async fn start(mut command: Command) -> io::Result<Running> {
    command.process_group(0);
    end_with_parent(&mut command);
    let (started, running) = oneshot::channel();
    thread::Builder::new()
        .name("ambidex-child".to_owned())
        .stack_size(STACK)
        .spawn(move || look_after(command, started))?;
    running.await.unwrap_or_else(|_| Err(io::Error::other("the thread of a child process ended early")))
}

fn look_after(mut command: Command, started: oneshot::Sender<io::Result<Running>>) {
    let spawned = command.spawn().and_then(|child| {
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        id.map(|id| (child, id)).ok_or_else(|| io::Error::other("a process id out of range"))
    });
    let (mut child, id) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let group = Arc::new(Group { id, reaped: Mutex::new(false) });
    let (ended, exit) = oneshot::channel();
    let running = Running {
        stdin: child.stdin.take(),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
        exit,
        group: KilledOnDrop(group.clone()),
    };
    // If nobody takes it, dropping it kills the group.
    drop(started.send(Ok(running)));
    let status = reap(&group, &mut child);
    let _ = ended.send(status);
}

/// Waits for the child, ends what it left behind while its id is still its own, then lets the id go.
fn reap(group: &Group, child: &mut Child) -> io::Result<ExitStatus> {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(group.id), ended) {}
    let mut reaped = group.reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = kill_process_group(group.id, Signal::KILL);
    let status = child.wait();
    *reaped = true;
    status
}

/// Asks the kernel to kill the child when this process dies in a way that leaves no time to do it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "code between fork and exec; two system calls, no allocation, no locks")]
fn end_with_parent(command: &mut Command) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    let parent = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the signal was asked for.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: the closure makes only system calls that are async-signal-safe and touches no shared state.
    unsafe {
        command.pre_exec(before_exec);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: &mut Command) {}
