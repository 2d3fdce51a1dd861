//! Tools that read a folder: `read_file`, `list_files`, `search_files`.
//!
//! Nothing outside the folder is read: not by `..`, not by an absolute path, not over a symbolic link.
//! Hidden files and what `.gitignore` names are left out of listings and searches, and lists are sorted.

use std::sync::Arc;

use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, Error, ErrorKind};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::blocking::BlockingTool;
pub use root::Root;

mod root;
mod search;

/// Bytes of one file that are given back.
const MOST_READ: usize = 128 * 1024;
/// Lines of one file that are given back where the call does not say.
const LINES: usize = 2_000;
/// Entries of a listing.
const MOST_LISTED: usize = 1_000;

/// The three tools over one folder.
pub fn all(root: &Root) -> [BlockingTool; 3] {
    [read_file(root), list_files(root), search_files(root)]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReadFile {
    /// Path of the file, relative to the folder.
    path: String,
    /// First line to read, counted from 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    first_line: usize,
    /// How many lines to read.
    #[serde(default = "lines")]
    #[schemars(range(min = 1))]
    lines: usize,
}

fn one() -> usize {
    1
}

fn lines() -> usize {
    LINES
}

/// `read_file`: the text of one file, or some of its lines.
pub fn read_file(root: &Root) -> BlockingTool {
    let root = Arc::new(root.clone());
    let read = move |arguments: ReadFile, _: Context| root.read_lines(&arguments);
    BlockingTool::new("read_file", "Reads a text file.", read).effect(EffectClass::Read)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListFiles {
    /// Folder to list, relative to the root.
    #[serde(default = "here")]
    path: String,
    /// Only files whose path matches, such as `*.rs` or `src/**/*.md`.
    #[serde(default)]
    glob: Option<String>,
    /// How many folders deep to look.
    #[serde(default)]
    #[schemars(range(min = 1))]
    depth: Option<usize>,
}

fn here() -> String {
    ".".to_owned()
}

/// `list_files`: the files below a folder with their sizes.
pub fn list_files(root: &Root) -> BlockingTool {
    let root = Arc::new(root.clone());
    let list = move |arguments: ListFiles, context: Context| {
        let mut text = String::new();
        let mut count = 0;
        for file in root.walk(&arguments.path, arguments.glob.as_deref(), arguments.depth)? {
            if context.is_cancelled() {
                return Err(Error::cancelled());
            }
            count += 1;
            if count > MOST_LISTED {
                text.push_str("[there are more; ask for a folder below, or with a glob]\n");
                break;
            }
            text.push_str(&format!("{} ({} bytes)\n", file.shown, file.size));
        }
        Ok(if text.is_empty() { "no files".to_owned() } else { text })
    };
    BlockingTool::new("list_files", "Lists files with their sizes; folders are searched through.", list)
        .effect(EffectClass::Read)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchFiles {
    /// What to look for: text, or a regular expression when `regex` is true.
    #[schemars(length(min = 1))]
    pattern: String,
    /// Whether `pattern` is a regular expression.
    #[serde(default)]
    regex: bool,
    #[serde(default)]
    ignore_case: bool,
    /// File or folder to search, relative to the root.
    #[serde(default = "here")]
    path: String,
    /// Only files whose path matches, such as `*.rs`.
    #[serde(default)]
    glob: Option<String>,
    /// Lines to give back.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    max_results: usize,
}

fn hundred() -> usize {
    100
}

/// `search_files`: the lines that match, with file and number.
pub fn search_files(root: &Root) -> BlockingTool {
    let root = Arc::new(root.clone());
    let search = move |arguments: SearchFiles, context: Context| search::run(&root, &arguments, &context);
    BlockingTool::new("search_files", "Finds lines in files: text or a regular expression.", search)
        .effect(EffectClass::Read)
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArguments, problem)
}
