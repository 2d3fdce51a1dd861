//! The world outside: a file that tools write to as they do what they do. It knows nothing of runs and stores, so it
//! is a witness of both.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// What stands in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A tool was called.
    Begun(Deed),
    /// It did what it does.
    Done(Deed),
    /// A process was told that it drives a run now.
    Claimed { run: String, epoch: u64, pid: u32, at: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    pub tool: String,
    /// The idempotency key: run and effect.
    pub key: String,
    pub arguments: String,
    pub pid: u32,
    /// When the call began, in nanoseconds since the machine did: a line may take longer to write.
    pub at: u64,
}

/// The time that all processes of a machine share.
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

impl Deed {
    pub fn run(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(run, _)| run)
    }
}

/// Writes lines. Those of several processes do not mix: each is one write to the end of the file.
pub struct Ledger(File);

impl Ledger {
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create(true).open(path).map(Self)
    }

    /// On disk when it returns.
    pub fn write(&self, line: &Line) -> io::Result<()> {
        let text = match line {
            Line::Begun(deed) => deed.line("begun"),
            Line::Done(deed) => deed.line("done"),
            Line::Claimed { run, epoch, pid, at } => format!("claimed\t{run}\t{epoch}\t{pid}\t{at}\n"),
        };
        (&self.0).write_all(text.as_bytes())?;
        self.0.sync_data()
    }
}

impl Deed {
    fn line(&self, verb: &str) -> String {
        let Self { tool, key, arguments, pid, at } = self;
        format!("{verb}\t{tool}\t{key}\t{arguments}\t{pid}\t{at}\n")
    }
}

/// All that was written so far, in order.
pub fn read(path: &Path) -> Result<Vec<Line>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("the ledger {} cannot be read: {error}", path.display())),
    };
    // A process that is killed writes a line or none.
    text.lines().map(|line| parse(line).ok_or_else(|| format!("the ledger has a line {line:?}"))).collect()
}

fn parse(line: &str) -> Option<Line> {
    let fields: Vec<&str> = line.split('\t').collect();
    let deed = || {
        let [_, tool, key, arguments, pid, at] = fields[..] else { return None };
        let (tool, key, arguments) = (tool.to_owned(), key.to_owned(), arguments.to_owned());
        Some(Deed { tool, key, arguments, pid: pid.parse().ok()?, at: at.parse().ok()? })
    };
    match *fields.first()? {
        "begun" => deed().map(Line::Begun),
        "done" => deed().map(Line::Done),
        "claimed" => {
            let [_, run, epoch, pid, at] = fields[..] else { return None };
            let (run, epoch) = (run.to_owned(), epoch.parse().ok()?);
            Some(Line::Claimed { run, epoch, pid: pid.parse().ok()?, at: at.parse().ok()? })
        }
        _ => None,
    }
}

/// What was done under each key.
pub fn deeds(lines: &[Line]) -> BTreeMap<&str, Vec<&Deed>> {
    let mut deeds = BTreeMap::<_, Vec<_>>::new();
    for line in lines {
        if let Line::Done(deed) = line {
            deeds.entry(&*deed.key).or_default().push(deed);
        }
    }
    deeds
}
