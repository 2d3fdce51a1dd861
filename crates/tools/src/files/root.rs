//! A folder that its paths do not leave.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::{Component, Path, PathBuf};

use ambidex_core::{Error, ErrorKind};
use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{MOST_READ, ReadFile, invalid};
use crate::system;

/// Bytes in which a NUL makes a file binary.
const SNIFFED: usize = 8 * 1024;
/// Bytes of a file that are searched through for the lines asked for.
const MOST_SKIPPED: u64 = 64 * 1024 * 1024;

/// An existing folder. Paths below it are opened without following any symbolic link that leads out, also
/// when a link is put there at that very moment.
#[derive(Clone, Debug)]
pub struct Root {
    /// Without symbolic links.
    folder: PathBuf,
}

/// A file of a walk.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Relative to the root, with `/`.
    pub(super) shown: String,
    pub(super) size: u64,
}

impl Root {
    /// # Errors
    /// `config_invalid`: there is no such folder.
    pub fn new(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let cannot = |problem: String| {
            Error::new(ErrorKind::ConfigInvalid, format!("the folder {} {problem}", folder.display()))
        };
        let real = fs::canonicalize(folder).map_err(|error| cannot(format!("cannot be used: {error}")))?;
        if !real.is_dir() {
            return Err(cannot("is a file; name the folder it lies in".to_owned()));
        }
        Ok(Self { folder: real })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The real path of what a model named.
    pub(super) fn resolve(&self, path: &str) -> Result<PathBuf, Error> {
        let outside =
            || invalid(format!("`{path}` lies outside the folder; paths are relative to it, without `..`"));
        if path.contains('\0') {
            return Err(invalid("a path has no NUL character"));
        }
        let mut depth = 0_i32;
        let relative = Path::new(path).strip_prefix(&self.folder).unwrap_or(Path::new(path));
        for component in relative.components() {
            match component {
                Component::Normal(_) => depth += 1,
                Component::CurDir => {}
                Component::ParentDir => depth -= 1,
                Component::RootDir | Component::Prefix(_) => return Err(outside()),
            }
            if depth < 0 {
                return Err(outside());
            }
        }
        let real = fs::canonicalize(self.folder.join(relative)).map_err(|error| self.told(path, &error))?;
        if real.starts_with(&self.folder) { Ok(real) } else { Err(outside()) }
    }

    /// Opens a file below the root. `real` has no symbolic links; one that has come since is refused.
    pub(super) fn open(&self, real: &Path) -> io::Result<File> {
        let below =
            real.strip_prefix(&self.folder).map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A pipe without a writer must not make us wait.
        let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut at = openat(CWD, &self.folder, folder, Mode::empty())?;
        let names: Vec<&OsStr> = below.iter().collect();
        let (last, folders) = names.split_last().ok_or(io::ErrorKind::IsADirectory)?;
        for name in folders {
            at = openat(&at, *name, folder, Mode::empty())?;
        }
        let opened = File::from(openat(&at, *last, file, Mode::empty())?);
        let kind = opened.metadata()?;
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device or pipe, not a file"));
        }
        Ok(opened)
    }

    /// Lines of a file as the model asked for them.
    pub(super) fn read_lines(&self, asked: &ReadFile) -> Result<String, Error> {
        let path = &asked.path;
        let real = self.resolve(path)?;
        let file = self.open(&real).map_err(|error| self.told(path, &error))?;
        let size = file.metadata().map_or(0, |it| it.len());
        let mut reader = io::BufReader::new(file.take(MOST_SKIPPED));
        let mut bytes = Vec::new();
        let (mut number, mut end) = (0, 0);
        let mut more = false;
        let last = asked.first_line.saturating_add(asked.lines - 1);
        if is_binary(reader.fill_buf().map_err(|error| self.told(path, &error))?) {
            let problem = format!("`{path}` is a binary file of {size} bytes, not text");
            return Err(Error::new(ErrorKind::ToolFailed, problem));
        }
        loop {
            let before = bytes.len();
            let room = (2 * MOST_READ - bytes.len()) as u64;
            let count = read_line(&mut reader, &mut bytes, room).map_err(|error| self.told(path, &error))?;
            if count == 0 {
                break;
            }
            number += 1;
            if number < asked.first_line {
                bytes.truncate(before);
                continue;
            }
            if number > last || bytes.len() > MOST_READ {
                // One line alone may be longer than all there is room for.
                if before == 0 && number <= last {
                    bytes.truncate(MOST_READ);
                    end = number;
                } else {
                    bytes.truncate(before);
                }
                more = true;
                break;
            }
            end = number;
        }
        if number < asked.first_line && !(number == 0 && asked.first_line == 1) {
            return Err(invalid(format!("`{path}` has {number} lines; first_line is {}", asked.first_line)));
        }
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if more {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("[the file goes on; read it with first_line = {}]\n", end + 1));
        }
        Ok(text)
    }

    /// The files below a path, sorted by it.
    pub(super) fn walk(
        &self,
        path: &str,
        glob: Option<&str>,
        depth: Option<usize>,
    ) -> Result<impl Iterator<Item = Found> + use<>, Error> {
        let start = self.resolve(path)?;
        let mut walk = WalkBuilder::new(&start);
        // What lies above the root is none of our business, nor are the settings of who runs us.
        walk.parents(false).git_global(false).require_git(false).follow_links(false).max_depth(depth);
        walk.sort_by_file_path(|one, other| one.cmp(other));
        if let Some(glob) = glob {
            let mut only = OverrideBuilder::new(&self.folder);
            let only = only.add(glob).and_then(|only| only.build());
            walk.overrides(only.map_err(|error| invalid(format!("`glob`: {error}")))?);
        }
        let folder = self.folder.clone();
        Ok(walk.build().filter_map(move |entry| {
            let entry = entry.ok()?;
            let kind = entry.metadata().ok()?;
            let below = entry.path().strip_prefix(&folder).ok()?;
            let shown = below.to_string_lossy().into_owned();
            kind.is_file().then(|| Found { shown, size: kind.len(), path: entry.into_path() })
        }))
    }

    /// A failure on a path, as the model named it. The system's own words stay in it, so that a failure of
    /// the system is seen to be one.
    pub(super) fn told(&self, path: &str, error: &io::Error) -> Error {
        let own = match error.raw_os_error() {
            Some(code) => {
                error.to_string().replace(&format!(" (os error {code})"), &format!(", os error {code}"))
            }
            None => error.to_string(),
        };
        let message = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("there is no `{path}` ({own}); list_files shows what there is")
            }
            io::ErrorKind::IsADirectory => {
                format!("`{path}` is a folder ({own}); list_files shows what it holds")
            }
            _ if Errno::from_io_error(error) == Some(Errno::LOOP) => {
                format!("`{path}` goes over a symbolic link that must not be followed ({own})")
            }
            _ => return system::tool_error(error).context(format!("`{path}`")),
        };
        Error::new(ErrorKind::ToolFailed, message)
    }
}

/// Appends a line with its end, at most `room` bytes of it; the rest of a longer one is skipped. Gives
/// the bytes that were appended; 0 at the end.
pub(super) fn read_line(reader: &mut impl io::BufRead, into: &mut Vec<u8>, room: u64) -> io::Result<usize> {
    let count = reader.by_ref().take(room.max(1)).read_until(b'\n', into)?;
    if count as u64 == room.max(1) && into.last() != Some(&b'\n') {
        reader.skip_until(b'\n')?;
    }
    Ok(count)
}

/// Whether a file's beginning says that it is not text.
pub(super) fn is_binary(beginning: &[u8]) -> bool {
    beginning[..beginning.len().min(SNIFFED)].contains(&0)
}
