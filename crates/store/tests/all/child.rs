//! A test again, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

const CHILD: &str = "AMBIDEX_STORE_TEST";

/// The folder this process was given, where it is a child.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// This test again, in that folder.
pub fn again(test: &str, folder: &Path) -> Command {
    child(Command::new(std::env::current_exe().unwrap()), test, folder)
}

/// This test again, where it may mount what it likes.
pub fn again_with_mounts(test: &str, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "--"]).arg(std::env::current_exe().unwrap());
    child(command, test, folder)
}

fn child(mut command: Command, test: &str, folder: &Path) -> Command {
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, folder);
    command
}

/// Runs it to its end.
pub fn passes(mut command: Command) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
