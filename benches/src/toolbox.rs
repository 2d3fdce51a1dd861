//! The two tools every contender runs. They do next to nothing, so what is measured is the way to
//! them; they count their calls, and in a long run they read the CPU clock, once per turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::{Result, machine};

pub const SYSTEM: &str = "You are a careful engineer. Read the files you need, search where you are not \
    sure, and answer with the lines that matter. Call several tools at once when they do not depend on \
    each other. Stop as soon as the question is answered.";
pub const TASK: &str = "Find where the parts are defined, read each definition, and tell me which of \
    them are used outside their own file.";

pub const READ_FILE: &str = "Read a few lines of a file of the repository.";
pub const READ_FILE_SCHEMA: &str = r#"{"type":"object","properties":{"path":{"type":"string","description":"Path below the root of the repository"},"first_line":{"type":"integer","minimum":1,"description":"The first line to read"}},"required":["path","first_line"],"additionalProperties":false}"#;
pub const SEARCH_FILES: &str = "Search the files of a folder for a piece of text.";
pub const SEARCH_FILES_SCHEMA: &str = r#"{"type":"object","properties":{"text":{"type":"string","description":"The text to look for"},"folder":{"type":"string","description":"The folder to search, with all below it"}},"required":["text","folder"],"additionalProperties":false}"#;

#[derive(Deserialize)]
pub struct ReadFile {
    pub path: String,
    pub first_line: u64,
}

#[derive(Deserialize)]
pub struct SearchFiles {
    pub text: String,
    pub folder: String,
}

#[derive(Default)]
pub struct Toolbox {
    calls: AtomicU64,
    turns: Option<Mutex<Vec<u64>>>,
}

impl Toolbox {
    /// A toolbox that notes the CPU time at every call.
    pub fn with_clock() -> Self {
        Toolbox { calls: AtomicU64::new(0), turns: Some(Mutex::new(Vec::with_capacity(2048))) }
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// CPU time of this process in nanoseconds at each call since the last time this was asked.
    pub fn take_turns(&self) -> Vec<u64> {
        match &self.turns {
            Some(turns) => std::mem::take(&mut turns.lock().unwrap_or_else(PoisonError::into_inner)),
            None => Vec::new(),
        }
    }

    /// Counts a call; in a long run this is the end of one turn and the start of the next.
    pub fn note(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(turns) = &self.turns {
            let now = machine::cpu_nanoseconds()?;
            turns.lock().unwrap_or_else(PoisonError::into_inner).push(now);
        }
        Ok(())
    }

    pub async fn read_file(&self, arguments: ReadFile) -> Result<String> {
        self.note()?;
        let ReadFile { path, first_line } = arguments;
        Ok(format!(
            "{path}:{first_line}: pub fn part(input: &[Line]) -> Option<Part> {{\n    input.first()\n}}"
        ))
    }

    pub async fn search_files(&self, arguments: SearchFiles) -> Result<String> {
        self.note()?;
        let SearchFiles { text, folder } = arguments;
        Ok(format!("2 matches for \"{text}\"\n{folder}/part.rs:12\n{folder}/line.rs:48"))
    }
}
