//! A run taken out of its store, with the runs it has started: what a replay is made from.

use std::path::Path;

use ambidex_core::effect::{Task, Work};
use ambidex_core::record::{Record, RecordKind};
use ambidex_core::run::Run;
use ambidex_core::store::{AnyStore, Stored};
use ambidex_core::{Error, ErrorKind};

use crate::engine::{Engine, store_error};
use crate::run_file::RunFile;

/// Records read at a time.
const PAGE: usize = 1_000;
/// With which the first line of a run begins in a file.
const HEAD: &str = "{\"ambidex_run\"";

/// The records of a run, and those of its nodes' runs. As text: one [`RunFile`] after another.
#[derive(Clone, Debug)]
pub struct Recording {
    run: RunFile,
    children: Vec<RunFile>,
}

impl From<RunFile> for Recording {
    fn from(run: RunFile) -> Self {
        Self { run, children: Vec::new() }
    }
}

impl Recording {
    /// Takes a run out of a store, with all it has started. It may be under way: then this is what it was so far.
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub async fn of(store: &dyn AnyStore, run: &str) -> Result<Self, Error> {
        let run = whole(store, run).await?;
        let mut children = Vec::new();
        let mut started = started_by(&run)?;
        while let Some(child) = started.pop() {
            // One that was never begun has no records.
            if let Ok(file) = whole(store, &child).await {
                started.extend(started_by(&file)?);
                children.push(file);
            }
        }
        children.sort_by(|a, b| a.run.cmp(&b.run));
        Ok(Self { run, children })
    }

    pub fn run(&self) -> &RunFile {
        &self.run
    }

    /// The runs that it has started, and those that they have, by their ids.
    pub fn children(&self) -> &[RunFile] {
        &self.children
    }

    /// A child's own recording.
    pub fn child(&self, run: &str) -> Option<Self> {
        self.children.iter().find(|file| file.run == run).cloned().map(Self::from)
    }

    /// The file's text: lines of JSON.
    pub fn to_text(&self) -> Result<String, Error> {
        let mut text = self.run.to_text()?;
        for child in &self.children {
            text.push_str(&child.to_text()?);
        }
        Ok(text)
    }

    /// Reads a file's text. The file of a run that waits is one too.
    ///
    /// # Errors
    /// `store_failed`, with the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut starts: Vec<usize> = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            if line.starts_with(HEAD) {
                starts.push(at);
            }
            at += line.len();
        }
        let first = starts.get(1).copied().unwrap_or(text.len());
        let run = RunFile::parse(text.get(..first).unwrap_or_default())?;
        let ends = starts.iter().skip(2).copied().chain([text.len()]);
        let mut children = Vec::new();
        for (start, end) in starts.iter().skip(1).copied().zip(ends) {
            let before = text.get(..start).unwrap_or_default().lines().count();
            let child = RunFile::parse(text.get(start..end).unwrap_or_default());
            children.push(child.map_err(|error| error.context(format!("the run after line {before}")))?);
        }
        Ok(Self { run, children })
    }

    /// Writes it, whole or not at all, for its owner's eyes: it holds what people, models and tools said.
    ///
    /// # Errors
    /// `store_failed`: the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        crate::run_file::write(path, &self.to_text()?)
    }

    /// # Errors
    /// `store_failed`: the file cannot be read, or is no recording.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = crate::run_file::text(path)?;
        Self::parse(&text).map_err(|error| error.context(path.display()))
    }
}

impl Engine {
    /// A run of this engine's store, to be replayed or written to a file. Without a store that outlives the process,
    /// the run alone.
    ///
    /// # Errors
    /// There is no such run any more, or the store failed.
    pub async fn recording(&self, run: &str) -> Result<Recording, Error> {
        if let Some(store) = self.durable_store() {
            return Recording::of(&**store, run).await;
        }
        let stored = self.store().load(run).await.map_err(store_error)?;
        if stored.snapshot.is_some() {
            let text = format!("the first records of {run} are gone: a snapshot stands for them");
            return Err(Error::new(ErrorKind::StoreFailed, text).retryable(false));
        }
        Ok(RunFile::new(run, stored).into())
    }
}

/// All records of a run, whatever a snapshot covers.
async fn whole(store: &dyn AnyStore, run: &str) -> Result<RunFile, Error> {
    let definition = store.load(run).await.map_err(store_error)?.definition;
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = records.last().map_or(0, |last| last.seq + 1);
        let more = store.records(run, from, PAGE).await.map_err(store_error)?;
        if more.is_empty() {
            return Ok(RunFile::new(run, Stored::whole(definition, records)));
        }
        records.extend(more);
    }
}

/// The runs of a graph's nodes.
fn started_by(file: &RunFile) -> Result<Vec<String>, Error> {
    let mut children = Vec::new();
    if file.stored.definition.definition.graph().is_none() {
        return Ok(children);
    }
    let mut run = Run::new(file.run.as_str(), file.stored.definition.clone());
    for record in &file.stored.records {
        let applied = run.apply(record);
        applied.map_err(|refused| Error::new(ErrorKind::StoreFailed, refused.to_string()))?;
        if let RecordKind::Intent(intent) = &record.kind
            && matches!(intent.task, Task::Child)
            && let Some(effect) = run.open(&intent.id).and_then(|open| run.effect(open))
            && let Work::Child { run: child, .. } = effect.work
        {
            children.push(child);
        }
    }
    Ok(children)
}
