//! A run in a file: how a run that waits outlives its process where there is no store.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ambidex_core::definition::Pinned;
use ambidex_core::memory::MemoryStore;
use ambidex_core::record::Record;
use ambidex_core::run::Run;
use ambidex_core::store::Stored;
use ambidex_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The records of one run with its definition. As text: a line of JSON that says what it is, then a line
/// for each record.
#[derive(Clone, Debug)]
pub struct RunFile {
    pub run: String,
    pub stored: Stored,
}

#[derive(Serialize, Deserialize)]
struct Head {
    /// Version of this form.
    ambidex_run: u32,
    run: String,
    hash: String,
    /// As it was pinned, to the letter: its hash is taken of the text.
    definition: Box<RawValue>,
}

const VERSION: u32 = 1;

impl RunFile {
    pub fn new(run: impl Into<String>, stored: Stored) -> Self {
        Self { run: run.into(), stored }
    }

    /// The file's text.
    pub fn to_text(&self) -> Result<String, Error> {
        let broken = |error: serde_json::Error| Error::new(ErrorKind::Internal, error.to_string());
        let pinned = &self.stored.definition;
        let head = Head {
            ambidex_run: VERSION,
            run: self.run.clone(),
            hash: pinned.hash.to_string(),
            definition: RawValue::from_string(pinned.text.to_string()).map_err(broken)?,
        };
        let mut text = serde_json::to_string(&head).map_err(broken)?;
        for record in &self.stored.records {
            text.push('\n');
            text.push_str(&serde_json::to_string(record).map_err(broken)?);
        }
        text.push('\n');
        Ok(text)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// `store_failed`, with the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |line: usize, why: String| {
            Error::new(ErrorKind::StoreFailed, format!("line {line}: {why}")).retryable(false)
        };
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| wrong(1, "the file is empty".into()))?;
        let head: Head = serde_json::from_str(first)
            .map_err(|error| wrong(1, format!("this is not the file of a run ({error})")))?;
        if head.ambidex_run != VERSION {
            return Err(wrong(
                1,
                format!("version {} of a run's file; this build reads {VERSION}", head.ambidex_run),
            ));
        }
        let definition = Pinned::read(&head.hash, head.definition.get()).map_err(|why| wrong(1, why))?;
        let mut records: Vec<Record> = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            records.push(serde_json::from_str(line).map_err(|error| wrong(index + 1, error.to_string()))?);
        }
        Run::fold(head.run.as_str(), definition.clone(), &records)
            .map_err(|refused| wrong(records.len() + 1, refused.to_string()))?;
        Ok(Self { run: head.run, stored: Stored::whole(definition, records) })
    }

    /// Writes it, whole or not at all, for its owner's eyes: it holds the conversation. It is on the disk
    /// when this returns.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write(path, &self.to_text()?)
    }

    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(&text(path)?).map_err(|error| error.context(path.display()))
    }

    /// Puts the run into a store in memory, its open questions too.
    pub fn restore(&self, store: &MemoryStore) -> Result<(), Error> {
        let run = Run::fold(self.run.as_str(), self.stored.definition.clone(), &self.stored.records);
        let run = run.map_err(|refused| Error::new(ErrorKind::StoreFailed, refused.to_string()))?;
        store.restore(&self.run, &self.stored, run.questions().collect()).map_err(crate::engine::store_error)
    }
}

/// Writes a text, whole or not at all, for its owner's eyes. It is on the disk when this returns.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        let text = format!("cannot write the run to {}: {error}", path.display());
        Error::new(ErrorKind::StoreFailed, text)
    };
    let beside = path.with_extension("tmp");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let written = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The name, too, must outlive a power cut.
        File::open(folder)?.sync_all()
    };
    written().map_err(failed)
}

pub(crate) fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| {
        let text = format!("cannot read {}: {error}", path.display());
        Error::new(ErrorKind::StoreFailed, text).retryable(false)
    })
}
