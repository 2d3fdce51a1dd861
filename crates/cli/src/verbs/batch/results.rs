//! The file of results: what it tells a later start, and how it is written so that nothing is lost.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ambidex_core::Message;
use ambidex_core::event::Status;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::exit::Exit;
use crate::failure::Failure;

use super::progress::Counts;
use super::task::Task;

/// Every line begins so; what is cut off behind a torn write must, too.
const BEGINNING: &[u8] = b"{\"index\":";
/// Lines written at most before they are brought to the disk together.
const GROUP: usize = 256;
/// Lines that wait to be written.
const QUEUE: usize = 64;

/// What a line tells a later start.
#[derive(Deserialize)]
struct Line {
    index: u64,
    fingerprint: String,
    thread: Option<String>,
    status: Status,
    usage: Used,
    /// What a task of a sequential batch added to the conversation; absent in other batches.
    messages: Option<Vec<Arc<Message>>>,
}

#[derive(Deserialize)]
struct Used {
    usd: Option<f64>,
}

/// What earlier starts have done.
#[derive(Default)]
pub struct Earlier {
    /// Fingerprints of tasks that have a result, by their place.
    done: HashMap<u64, String>,
    pub counts: Counts,
    /// The conversation of a sequential batch, and its thread.
    pub conversation: Vec<Arc<Message>>,
    pub thread: Option<String>,
    /// A torn line was cut off.
    pub repaired: bool,
}

impl Earlier {
    /// Whether the task has a result.
    ///
    /// # Errors
    /// The result in its place is another task's.
    pub fn has(&self, task: &Task, out: &Path) -> Result<bool, Failure> {
        match self.done.get(&task.index) {
            None => Ok(false),
            Some(fingerprint) if *fingerprint == task.fingerprint() => Ok(true),
            Some(_) => Err(changed(format!(
                "{}: this is not the task whose result is in {} (index {})",
                task.place,
                out.display(),
                task.index
            ))),
        }
    }

    /// Whether each result has its task among this many.
    pub fn fits(&self, tasks: u64, from: &Path, out: &Path) -> Result<(), Failure> {
        match self.done.keys().max() {
            Some(last) if *last >= tasks => Err(changed(format!(
                "{} has {tasks} tasks, and {} has a result for index {last}",
                if from == Path::new("-") { Path::new("stdin") } else { from }.display(),
                out.display()
            ))),
            _ => Ok(()),
        }
    }
}

fn changed(text: String) -> Failure {
    Failure::usage(text).help(
        "the input has changed since the batch began: put it back, or give another --out; \
         tasks added at its end are welcome",
    )
}

/// Opens the file for one process, repairs it and reads what it has. With `retry`, what failed is taken out, so
/// that it is run again.
pub fn open(path: &Path, sequential: bool, retry: bool) -> Result<(File, Earlier), Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::Failed, format!("--out: cannot use {}: {error}", path.display()))
            .help("name a file in a folder that you may write to")
    };
    let file = lock(path)?;
    let mut earlier = Earlier::default();
    let whole = read(&file, path, sequential, &mut earlier)?;
    if whole < file.metadata().map_err(failed)?.len() {
        file.set_len(whole).map_err(failed)?;
        earlier.repaired = true;
    }
    if !retry || earlier.counts.failed == 0 {
        return Ok((file, earlier));
    }
    let file = without_failures(&file, path).map_err(failed)?;
    let mut earlier = Earlier { repaired: earlier.repaired, ..Earlier::default() };
    read(&file, path, sequential, &mut earlier)?;
    Ok((file, earlier))
}

fn lock(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::Failed, format!("--out: cannot open {}: {error}", path.display()))
            .help("name a file in a folder that you may write to")
    };
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(Failure::usage(format!("--out: {} is no regular file", path.display()))
                .help("without --out the results go to stdout"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is being written by another process", path.display());
                return Err(Failure::new(Exit::Failed, text)
                    .help("wait until that batch has ended, or give another --out"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Its last owner may have put another file in its place.
        if fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino())) {
            sync_folder(path).map_err(failed)?;
            return Ok(file);
        }
    }
}

/// Reads all whole lines; gives their bytes.
fn read(file: &File, path: &Path, sequential: bool, earlier: &mut Earlier) -> Result<u64, Failure> {
    let wrong = |number: u64, why: String| {
        Failure::usage(format!("--out: {}:{number}: this is no result of a batch: {why}", path.display()))
            .help("give the file of an earlier start, or a new name")
    };
    let (mut whole, mut number) = (0, 0);
    let mut lines = lines(file).map_err(Failure::internal)?;
    loop {
        let mut bytes = Vec::new();
        number += 1;
        let read = lines.read_until(b'\n', &mut bytes);
        read.map_err(|error| wrong(number, error.to_string()))?;
        if bytes.is_empty() {
            return Ok(whole);
        }
        if bytes.last() != Some(&b'\n') {
            return match is_torn(&bytes) {
                true => Ok(whole),
                false => Err(wrong(number, "it has no end, and it does not begin like one".into())),
            };
        }
        let line: Line = serde_json::from_slice(&bytes).map_err(|error| wrong(number, error.to_string()))?;
        if line.messages.is_some() != sequential {
            let (was, how) = match sequential {
                true => ("not sequential", "without --sequential"),
                false => ("sequential", "with --sequential"),
            };
            return Err(Failure::usage(format!("--out: the batch of {} was {was}", path.display()))
                .help(format!("go on with it {how}, or give another --out")));
        }
        whole += bytes.len() as u64;
        if earlier.done.insert(line.index, line.fingerprint).is_none() {
            earlier.counts.add(line.status, line.usage.usd);
            earlier.conversation.extend(line.messages.unwrap_or_default());
            earlier.thread = line.thread.or(earlier.thread.take());
        }
    }
}

/// Whether a line without an end is what is left of a result.
fn is_torn(bytes: &[u8]) -> bool {
    let begun = bytes.len().min(BEGINNING.len());
    // After a power cut the file may be longer than what was written.
    bytes[..begun] == BEGINNING[..begun] || bytes.iter().all(|byte| *byte == 0)
}

fn lines(file: &File) -> io::Result<BufReader<&File>> {
    let mut from = file;
    from.rewind()?;
    Ok(BufReader::with_capacity(1 << 16, from))
}

/// Puts a file in its place that has all but the results that failed.
fn without_failures(file: &File, path: &Path) -> io::Result<File> {
    let path = fs::canonicalize(path)?;
    let mut beside = OsString::from(&path);
    beside.push(".tmp");
    let kept = OpenOptions::new().read(true).append(true).create(true).truncate(false).open(&beside)?;
    kept.set_len(0)?;
    kept.set_permissions(file.metadata()?.permissions())?;
    // Before anybody else can find it.
    kept.try_lock()?;
    let mut to = io::BufWriter::new(&kept);
    for line in lines(file)?.split(b'\n') {
        let line = line?;
        let failed = serde_json::from_slice::<Line>(&line).is_ok_and(|line| failed(line.status));
        if !failed {
            to.write_all(&line)?;
            to.write_all(b"\n")?;
        }
    }
    to.flush()?;
    drop(to);
    kept.sync_all()?;
    fs::rename(&beside, &path)?;
    sync_folder(&path)?;
    Ok(kept)
}

fn failed(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Cancelled)
}

/// The name, too, must outlive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf))?.sync_all()
}

/// Writes results on a thread of its own: each with one write, those that are there together brought to the disk
/// with one sync.
pub struct Writer {
    lines: mpsc::Sender<String>,
    ended: oneshot::Receiver<io::Result<()>>,
    path: PathBuf,
}

impl Writer {
    pub fn start(mut file: File, path: &Path) -> Result<Self, Failure> {
        let (lines, mut waiting) = mpsc::channel::<String>(QUEUE);
        let (sender, ended) = oneshot::channel();
        let mut write = move || -> io::Result<()> {
            while let Some(line) = waiting.blocking_recv() {
                file.write_all(line.as_bytes())?;
                for _ in 1..GROUP {
                    let Ok(line) = waiting.try_recv() else { break };
                    file.write_all(line.as_bytes())?;
                }
                file.sync_data()?;
            }
            Ok(())
        };
        let writing = move || drop(sender.send(write()));
        std::thread::Builder::new().name("results".into()).spawn(writing).map_err(Failure::internal)?;
        Ok(Self { lines, ended, path: path.to_owned() })
    }

    /// Hands in a line with its end; whether it was taken. If not, `close` says why.
    pub async fn write(&self, line: String) -> bool {
        self.lines.send(line).await.is_ok()
    }

    /// Waits until all is on the disk.
    pub async fn close(self) -> Result<(), Failure> {
        drop(self.lines);
        let ended = self.ended.await.unwrap_or_else(|_| Err(io::Error::other("its thread is gone")));
        ended.map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write to {}: {error}", self.path.display()))
                .help("make room, then start the batch again: it goes on where it stopped")
        })
    }
}
