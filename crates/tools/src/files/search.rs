//! Searching through files, line by line.

use std::io::{self, BufRead};

use ambidex_core::{Context, Error};
use regex::bytes::{Regex, RegexBuilder};

use super::root::{Root, is_binary, read_line};
use super::{SearchFiles, invalid};

/// Files above are skipped, and named.
const LARGEST_FILE: u64 = 8 * 1024 * 1024;
/// Bytes of a line that are searched.
const LONGEST_LINE: u64 = 64 * 1024;
/// Bytes of a line that are shown.
const SHOWN: usize = 300;
/// Memory of a compiled pattern.
const PATTERN_SIZE: usize = 1024 * 1024;

pub(super) fn run(root: &Root, asked: &SearchFiles, context: &Context) -> Result<String, Error> {
    let pattern = if asked.regex { asked.pattern.clone() } else { regex::escape(&asked.pattern) };
    let pattern = RegexBuilder::new(&pattern)
        .case_insensitive(asked.ignore_case)
        .size_limit(PATTERN_SIZE)
        .build()
        .map_err(|error| invalid(format!("`pattern`: {error}")))?;
    let mut found = Hits { text: String::new(), count: 0, most: asked.max_results };
    let mut skipped = Vec::new();
    for file in root.walk(&asked.path, asked.glob.as_deref(), None)? {
        if context.is_cancelled() {
            return Err(Error::cancelled());
        }
        if file.size > LARGEST_FILE {
            skipped.push(format!("{} ({} bytes)", file.shown, file.size));
            continue;
        }
        // A file that has gone since or may not be read is no reason to lose the others.
        let Ok(opened) = root.open(&file.path) else {
            skipped.push(format!("{} (cannot be read)", file.shown));
            continue;
        };
        let mut reader = io::BufReader::new(opened);
        if !found.add(&file.shown, &mut reader, &pattern).unwrap_or(true) {
            found.text.push_str("[there are more; search a folder below, or for something rarer]\n");
            break;
        }
    }
    if found.count == 0 {
        found.text.push_str("no matches\n");
    }
    if !skipped.is_empty() {
        let count = skipped.len();
        skipped.truncate(5);
        found.text.push_str(&format!("[not searched: {count} files: {}]\n", skipped.join(", ")));
    }
    Ok(found.text)
}

struct Hits {
    text: String,
    count: usize,
    most: usize,
}

impl Hits {
    /// Adds the lines of one file; false when there is no room for one more.
    fn add(&mut self, name: &str, reader: &mut impl BufRead, pattern: &Regex) -> io::Result<bool> {
        if is_binary(reader.fill_buf()?) {
            return Ok(true);
        }
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if read_line(reader, &mut line, LONGEST_LINE)? == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if !pattern.is_match(text) {
                continue;
            }
            if self.count == self.most {
                return Ok(false);
            }
            self.count += 1;
            let text = String::from_utf8_lossy(text);
            let shown = &text[..text.floor_char_boundary(SHOWN)];
            let cut = if shown.len() < text.len() { " [...]" } else { "" };
            self.text.push_str(&format!("{name}:{number}: {shown}{cut}\n"));
        }
        Ok(true)
    }
}
