//! A folder with files, and the binary run in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Longer than any command here takes; a hang must end the test, not the day.
const PATIENCE: Duration = Duration::from_secs(120);

/// A configuration with a model that follows `script.toml` and the agent `worker` on it.
pub const WORKER: &str = r#"
[models.script]
kind = "scripted"
script = "script.toml"

[agents.worker]
model = "script"
"#;

pub struct Place {
    folder: TempDir,
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Fails with all that was said unless it ended with this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in stderr:\n{}", self.err);
        self
    }

    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in stdout:\n{}", self.out);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder for temporary files") }
    }

    /// With the agent `worker` on this script, and more configuration.
    pub fn scripted(script: &str, more: &str) -> Self {
        let place = Self::new();
        place.write("script.toml", script);
        place.write("ambidex.toml", &format!("{WORKER}{more}"));
        place
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    /// The files of runs that wait.
    pub fn run_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).expect("listed");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect()
    }

    /// The command in this folder: nothing of this machine's environment but what a program needs.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambidex"));
        command.args(args).current_dir(self.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path().join("home")).env("LANG", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn ambidex(&self, args: &[&str]) -> Ran {
        wait(self.command(args).spawn().expect("started"))
    }

    /// With environment variables.
    pub fn ambidex_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        wait(self.command(args).envs(variables.iter().copied()).spawn().expect("started"))
    }

    /// With text on stdin.
    pub fn ambidex_reads(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("started");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("taken");
        wait(child)
    }
}

pub fn wait(child: Child) -> Ran {
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(ended) = receiver.recv_timeout(PATIENCE) else {
        signal(id, nix::sys::signal::Signal::SIGKILL);
        panic!("the command did not end within {PATIENCE:?}");
    };
    let output = ended.expect("it ran");
    Ran {
        code: code(output.status),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The exit code; death by a signal is its negative number, as Python counts.
pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(999))
}

pub fn signal(id: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(id).expect("a process id"));
    nix::sys::signal::kill(pid, signal).expect("the process is there");
}
