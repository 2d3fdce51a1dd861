//! What a disk may hold after a cut.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ambidex_crash::disk::Image;
use ambidex_crash::random::Random;
use ambidex_crash::record::Event;

const DISK: &str = "/disk";

fn file() -> PathBuf {
    Path::new(DISK).join("file")
}

fn made() -> Event {
    Event::Made { path: file(), is_folder: false }
}

fn written(at: u64, byte: u8) -> Event {
    Event::Written { path: file(), at, bytes: vec![byte; 1024] }
}

fn sync(path: PathBuf, number: u64) -> [Event; 2] {
    [Event::SyncBegan { path, number }, Event::SyncEnded { number }]
}

/// What the file may be, over many disks.
fn left(events: &[Event]) -> BTreeSet<Option<Vec<u8>>> {
    let folder = tempfile::TempDir::new().unwrap();
    let one = |seed| {
        let to = folder.path().join(format!("{seed}"));
        std::fs::create_dir_all(&to).unwrap();
        Image::of(events).write(Path::new(DISK), &to, &mut Random::new(seed)).unwrap();
        std::fs::read(to.join("file")).ok()
    };
    (0..300).map(one).collect()
}

#[test]
fn what_was_synced_with_its_name_is_there() {
    let mut events = vec![made(), written(0, 1)];
    events.extend(sync(file(), 1));
    events.extend(sync(DISK.into(), 2));
    assert_eq!(left(&events), BTreeSet::from([Some(vec![1; 1024])]));
}

#[test]
fn a_name_that_was_not_synced_may_be_gone() {
    let mut events = vec![made(), written(0, 1)];
    events.extend(sync(file(), 1));
    assert_eq!(left(&events), BTreeSet::from([None, Some(vec![1; 1024])]));
}

#[test]
fn what_was_not_synced_may_be_lost_kept_or_torn() {
    let mut events = vec![made(), written(0, 1)];
    events.extend(sync(file(), 1));
    events.extend(sync(DISK.into(), 2));
    events.push(written(0, 2));
    let half = |first, second| Some([vec![first; 512], vec![second; 512]].concat());
    assert_eq!(left(&events), BTreeSet::from([half(1, 1), half(1, 2), half(2, 1), half(2, 2)]));
}

#[test]
fn a_sync_promises_nothing_of_what_came_while_it_was_under_way() {
    let mut events = vec![made()];
    events.extend(sync(DISK.into(), 1));
    events.push(Event::SyncBegan { path: file(), number: 2 });
    events.push(written(0, 1));
    events.push(Event::SyncEnded { number: 2 });
    assert!(left(&events).contains(&Some(vec![])), "all of it may be lost");
    // And one that has not ended promises nothing at all.
    let mut events = vec![made(), written(0, 1)];
    events.extend(sync(DISK.into(), 1));
    events.push(Event::SyncBegan { path: file(), number: 2 });
    assert!(left(&events).contains(&Some(vec![])));
}
