//! Where a value was written: a file, an environment variable, a `-c` flag, or nowhere (built in).

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One text that holds configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// A default of this version.
    BuiltIn,
    /// A TOML file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag,
}

/// A source and its text. Variables read `NAME=value`, flags as typed.
#[derive(PartialEq, Eq)]
pub struct Source {
    pub kind: SourceKind,
    /// How messages name it: a path relative to the working directory where it lies below it.
    pub name: String,
    pub(crate) text: String,
}

/// The text may hold a pasted key, so it is not shown.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A place in a source; what `config show --origin` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub(crate) source: Arc<Source>,
    pub(crate) span: Range<usize>,
}

impl Source {
    pub(crate) fn built_in() -> Arc<Self> {
        Arc::new(Self { kind: SourceKind::BuiltIn, name: "built-in".into(), text: String::new() })
    }

    /// What a program made, and no text holds.
    pub(crate) fn code() -> Arc<Self> {
        Arc::new(Self { kind: SourceKind::BuiltIn, name: "code".into(), text: String::new() })
    }

    pub(crate) fn file(path: &Path, directory: &Path, text: String) -> Arc<Self> {
        let name = path.strip_prefix(directory).unwrap_or(path).display().to_string();
        Arc::new(Self { kind: SourceKind::File(path.to_owned()), name, text })
    }

    pub(crate) fn variable(name: &str, value: &str) -> Arc<Self> {
        let kind = SourceKind::Variable(name.to_owned());
        Arc::new(Self { kind, name: name.to_owned(), text: format!("{name}={value}") })
    }

    /// A flag as it was typed: `-c runtime.sync_workers=5`, named by the part before `=`.
    pub(crate) fn flag(text: &str) -> Arc<Self> {
        let name = text.split('=').next().unwrap_or(text).trim().to_owned();
        Arc::new(Self { kind: SourceKind::Flag, name, text: text.to_owned() })
    }

    pub(crate) fn at(self: &Arc<Self>, span: Range<usize>) -> Origin {
        Origin { source: Arc::clone(self), span }
    }

    /// The folder that relative paths of this source start from: that of the file.
    /// Variables and flags have none; their paths start from the working directory.
    pub fn folder(&self) -> Option<&Path> {
        match &self.kind {
            SourceKind::File(path) => path.parent(),
            SourceKind::BuiltIn | SourceKind::Variable(_) | SourceKind::Flag => None,
        }
    }
}

impl Origin {
    /// The source this place lies in.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The file, when it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source.kind {
            SourceKind::File(path) => Some(path),
            SourceKind::BuiltIn | SourceKind::Variable(_) | SourceKind::Flag => None,
        }
    }

    /// Line and column of its start, both from 1, columns in characters.
    /// `None` for a built-in value and for a file that could not be read.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let text = &self.source.text;
        if text.is_empty() {
            return None;
        }
        let before = text.get(..self.span.start.min(text.len()))?;
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((line, before[start..].chars().count() + 1))
    }
}

/// `ambidex.toml:12:1`, `AMBIDEX__RUNTIME__SYNC_WORKERS`, `-c runtime.sync_workers`, `built-in`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source.name)?;
        match (&self.source.kind, self.line_column()) {
            (SourceKind::File(_), Some((line, column))) => write!(f, ":{line}:{column}"),
            _ => Ok(()),
        }
    }
}
