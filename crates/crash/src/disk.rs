//! What a disk may hold after a power cut, as far as anything may be relied on: what was done to a file before a sync
//! of it began that has ended is there, and a name is, once its folder was synced so. Of all else, any part: all of
//! it, nothing, the first so many writes, or any of their sectors.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::random::Random;
use crate::record::Event;

/// One file, from when it was made to when it was unlinked.
#[derive(Default)]
struct Object {
    is_folder: bool,
    made: usize,
    unlinked: Option<usize>,
    /// Places in the recording.
    changes: Vec<usize>,
    /// Where the last sync began that has ended.
    synced: usize,
}

/// How a disk treats what was not synced.
#[derive(Clone, Copy, Debug)]
enum Loss {
    All,
    Nothing,
    /// In the order of the writes, and the last of them in part.
    Tail,
    /// Sectors of this size, each by chance.
    Sectors(usize),
}

/// What is on disk when the power goes before this event.
pub struct Image<'a> {
    events: &'a [Event],
    /// By name; the last one of a name is the one it has.
    objects: BTreeMap<&'a Path, Vec<Object>>,
}

impl<'a> Image<'a> {
    pub fn of(events: &'a [Event]) -> Self {
        let mut objects: BTreeMap<&Path, Vec<Object>> = BTreeMap::new();
        let mut syncs: BTreeMap<u64, (&Path, usize)> = BTreeMap::new();
        for (place, event) in events.iter().enumerate() {
            match event {
                Event::Made { path, is_folder } => {
                    let object = Object { is_folder: *is_folder, made: place, ..Object::default() };
                    objects.entry(path).or_default().push(object);
                }
                Event::Unlinked { path } => {
                    if let Some(object) = objects.get_mut(&**path).and_then(|all| all.last_mut()) {
                        object.unlinked = Some(place);
                    }
                }
                Event::Written { path, .. } | Event::Cut { path, .. } => {
                    if let Some(object) = objects.get_mut(&**path).and_then(|all| all.last_mut()) {
                        object.changes.push(place);
                    }
                }
                Event::SyncBegan { path, number } => {
                    syncs.insert(*number, (path, place));
                }
                Event::SyncEnded { number } => {
                    let Some((path, began)) = syncs.get(number) else { continue };
                    if let Some(object) = objects.get_mut(path).and_then(|all| all.last_mut()) {
                        object.synced = object.synced.max(*began);
                    } else {
                        // The folder that was there before.
                        let object = Object { is_folder: true, synced: *began, ..Object::default() };
                        objects.entry(path).or_default().push(object);
                    }
                }
                Event::Promised(_) => {}
            }
        }
        Self { events, objects }
    }

    /// Whether a name that came or went at this place is so on disk.
    fn is_named(&self, path: &Path, place: usize) -> bool {
        let folder = path.parent().and_then(|folder| self.objects.get(folder));
        folder.and_then(|all| all.last()).is_some_and(|folder| folder.synced > place)
    }

    /// Writes what is left to a folder; `from` is the one that was recorded.
    pub fn write(&self, from: &Path, to: &Path, random: &mut Random) -> io::Result<()> {
        let mut gone: Vec<&Path> = Vec::new();
        for (path, objects) in &self.objects {
            // What is below a folder that is gone is gone.
            if *path == from || gone.iter().any(|folder| path.starts_with(folder)) {
                continue;
            }
            let Some(object) = self.left(path, objects, random) else {
                gone.push(path);
                continue;
            };
            let Ok(below) = path.strip_prefix(from) else { continue };
            if object.is_folder {
                std::fs::create_dir_all(to.join(below))?;
            } else if !is_volatile(path) {
                std::fs::write(to.join(below), self.content(object, random))?;
            }
        }
        Ok(())
    }

    /// The file that has this name on disk.
    fn left(&self, path: &Path, objects: &'a [Object], random: &mut Random) -> Option<&'a Object> {
        for object in objects.iter().rev() {
            if let Some(unlinked) = object.unlinked {
                if self.is_named(path, unlinked) || !random.one_in(2) {
                    return None;
                }
                return Some(object);
            }
            if self.is_named(path, object.made) || random.one_in(2) {
                return Some(object);
            }
        }
        None
    }

    fn content(&self, object: &Object, random: &mut Random) -> Vec<u8> {
        let mut bytes = Vec::new();
        let settled = object.changes.iter().take_while(|place| **place < object.synced).count();
        let (settled, open) = object.changes.split_at(settled);
        for place in settled {
            apply(&mut bytes, &self.events[*place], |_| true);
        }
        let loss = match random.below(6) {
            0 => Loss::All,
            1 => Loss::Nothing,
            2 | 3 => Loss::Tail,
            4 => Loss::Sectors(512),
            _ => Loss::Sectors(4096),
        };
        let kept = random.below(open.len() + 1);
        for (number, place) in open.iter().enumerate() {
            let event = &self.events[*place];
            match loss {
                Loss::All => {}
                Loss::Nothing => apply(&mut bytes, event, |_| true),
                Loss::Tail if number < kept => apply(&mut bytes, event, |_| true),
                Loss::Tail if number == kept => {
                    let torn = u64::try_from(random.below(16)).unwrap_or(0) * 512;
                    apply(&mut bytes, event, |sector| sector * 512 < torn);
                }
                Loss::Tail => {}
                Loss::Sectors(size) => {
                    let salt = random.number();
                    let size = u64::try_from(size).unwrap_or(512) / 512;
                    apply(&mut bytes, event, |sector| Random::of(salt, "", sector / size).one_in(2));
                }
            }
        }
        bytes
    }
}

/// SQLite makes the index of its log again.
fn is_volatile(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.to_string_lossy().ends_with("-shm"))
}

/// Does it again, as far as sectors of 512 bytes are kept; they are counted from where the write begins.
fn apply(bytes: &mut Vec<u8>, event: &Event, keeps: impl Fn(u64) -> bool) {
    let number = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    match event {
        Event::Written { at, bytes: new, .. } => {
            for (sector, part) in (0..).zip(new.chunks(512)) {
                if keeps(sector) {
                    let from = number(at + sector * 512);
                    if bytes.len() < from + part.len() {
                        // What lies between was never written.
                        bytes.resize(from + part.len(), 0);
                    }
                    bytes[from..from + part.len()].copy_from_slice(part);
                }
            }
        }
        Event::Cut { length, .. } if keeps(0) => bytes.resize(number(*length), 0),
        _ => {}
    }
}
