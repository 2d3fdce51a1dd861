//! The same faults, met by other libraries: installed from PyPI, asked through a script, against the same provider.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use ambidex_fake_provider::{FakeProvider, Fault, Match, Part, Script, Turn, When, Wire};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::scenario::{Says, turns};

/// An answer that takes longer has no end.
pub const HANG: Duration = Duration::from_secs(20);
/// The script is given up after this.
const SCRIPT: Duration = Duration::from_secs(900);

const SCRIPT_TEXT: &str = include_str!("../peers/peers.py");

/// A library in one of its formats.
pub type Column = (&'static str, Wire);

/// Every library and format that is measured.
pub const COLUMNS: [Column; 6] = [
    ("openai", Wire::OpenAi),
    ("openai", Wire::Responses),
    ("anthropic", Wire::Anthropic),
    ("litellm", Wire::OpenAi),
    ("litellm", Wire::Responses),
    ("litellm", Wire::Anthropic),
];

/// Libraries that can be installed together, and what to install.
const PLACES: [(&str, &[&str], &str); 2] = [
    ("vendors", &["openai", "anthropic"], include_str!("../peers/vendors.txt")),
    ("litellm", &["litellm"], include_str!("../peers/litellm.txt")),
];

/// What a library made of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned what the model said.
    Whole,
    /// It returned something else, as an answer.
    Other,
    /// It returned an object as the arguments of a call whose arguments were none.
    Repaired,
    /// It returned an answer without anything in it.
    Nothing,
    /// It raised this.
    Error(String),
    /// It did not come back within [`HANG`].
    Hang,
}

/// What all of them made of all faults.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    pub versions: Vec<(String, String)>,
    outcomes: HashMap<(&'static str, Wire, Fault), Outcome>,
}

impl Peers {
    /// What this library made of the fault; none where the fault does not exist in the format.
    pub fn outcome(&self, (library, wire): Column, fault: Fault) -> Option<&Outcome> {
        self.outcomes.get(&(library, wire, fault))
    }

    /// Installs the libraries and measures them all.
    ///
    /// # Errors
    /// There is no Python, a package cannot be installed, or the script breaks; the message says which.
    pub async fn measure() -> Result<Peers, String> {
        let mut peers = Peers::default();
        let mut providers = Vec::new();
        for &fault in Fault::all() {
            let script = Script::new([turn(fault)]);
            let provider = FakeProvider::start(script).await.map_err(|error| error.to_string())?;
            providers.push((fault, provider));
        }
        for (place, libraries, requirements) in PLACES {
            let python = install(place, requirements).await?;
            let (mut jobs, mut asked) = (String::new(), Vec::new());
            for (fault, provider) in &providers {
                for (library, wire) in COLUMNS {
                    if !libraries.contains(&library) || !fault.applies_to(wire, true) {
                        continue;
                    }
                    let job = json!({
                        "id": asked.len(), "library": library, "format": wire.as_str(),
                        "base_url": provider.base_url_anthropic(), "seconds": HANG.as_secs(),
                    });
                    jobs.push_str(&format!("{job}\n"));
                    asked.push((library, wire, *fault));
                }
            }
            let answers = tokio::time::timeout(SCRIPT, run(&python, libraries, jobs))
                .await
                .map_err(|_| format!("{place}: no end within {SCRIPT:?}"))??;
            for answer in answers {
                if let Some(versions) = answer["versions"].as_object() {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    peers.versions.extend(versions.iter().map(|(name, value)| (name.clone(), text(value))));
                }
                let asked = answer["id"].as_u64().and_then(|id| asked.get(usize::try_from(id).ok()?));
                if let Some(&key) = asked {
                    peers.outcomes.insert(key, Outcome::of(&answer, key.2));
                }
            }
        }
        Ok(peers)
    }
}

fn says() -> Says {
    let [first, ..] = turns();
    first
}

/// The first reply of the task, struck.
fn turn(fault: Fault) -> Turn {
    let Says { text, calls } = says();
    let calls = calls.into_iter().map(|(name, arguments)| Part::call(name, arguments));
    let parts = std::iter::once(Part::text(text)).chain(calls);
    Turn::new(parts).chunks(7).interleaved().when(Match::Any).fault(fault, When::Always)
}

impl Outcome {
    /// What a line of the script says of a call that this fault struck.
    pub fn of(answer: &Value, fault: Fault) -> Outcome {
        if answer["hang"] == true {
            return Outcome::Hang;
        }
        match answer["error"].as_str() {
            Some(error) => Outcome::Error(error.to_owned()),
            None => returned(answer, fault),
        }
    }
}

fn returned(answer: &Value, fault: Fault) -> Outcome {
    let Says { text, calls } = says();
    let mut due: Vec<(String, Value)> = calls.into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
    if fault == Fault::ArgumentsEmpty {
        due[0].1 = json!({});
    }
    // An empty string stands for no arguments.
    let parsed = |text: &str| match text {
        "" => json!({}),
        text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
    };
    let returned = answer["calls"].as_array().into_iter().flatten();
    let returned: Vec<(String, Value)> = returned
        .map(|call| {
            let text = |at: usize| call[at].as_str().unwrap_or_default();
            (text(0).to_owned(), parsed(text(1)))
        })
        .collect();
    let broken = matches!(
        fault,
        Fault::ArgumentsCut | Fault::ArgumentsCutUnsaid | Fault::ArgumentsNotJson | Fault::ArgumentsNotObject
    );
    if broken && returned.first().is_some_and(|(_, arguments)| arguments.is_object()) {
        return Outcome::Repaired;
    }
    match answer["text"].as_str().unwrap_or_default() {
        "" if returned.is_empty() => Outcome::Nothing,
        seen if seen == text && returned == due => Outcome::Whole,
        _ => Outcome::Other,
    }
}

/// The interpreter of a place where these packages are.
async fn install(place: &str, requirements: &str) -> Result<PathBuf, String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let venv = target.join("peers").join(place);
    let (python, stamp) = (venv.join("bin/python"), venv.join("installed.txt"));
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("peers: {what}: {error}");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(python);
    }
    std::fs::create_dir_all(&venv).map_err(|error| failed("cannot make a folder", &error))?;
    eprintln!("peers: installing {place} into {}", venv.canonicalize().unwrap_or(venv.clone()).display());
    let list = venv.join("requirements.txt");
    std::fs::write(&list, requirements).map_err(|error| failed("cannot write", &error))?;
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&venv);
    let mut fill = Command::new(&python);
    fill.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&list);
    for (what, command) in [("python3 -m venv", &mut make), ("pip install", &mut fill)] {
        let ended = command.output().await.map_err(|error| failed(what, &error))?;
        if !ended.status.success() {
            return Err(failed(what, &String::from_utf8_lossy(&ended.stderr)));
        }
    }
    std::fs::write(&stamp, requirements).map_err(|error| failed("cannot write", &error))?;
    Ok(python)
}

/// The lines that the script writes.
async fn run(python: &PathBuf, libraries: &[&str], jobs: String) -> Result<Vec<Value>, String> {
    let mut child = Command::new(python)
        .args(["-W", "ignore", "-c", SCRIPT_TEXT])
        .args(libraries)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("peers: cannot start python: {error}"))?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("peers: python has no pipes".to_owned());
    };
    let write = async move {
        input.write_all(jobs.as_bytes()).await?;
        input.shutdown().await
    };
    let read = async {
        let mut lines = BufReader::new(output).lines();
        let mut answers = Vec::new();
        while let Some(line) = lines.next_line().await? {
            // What a library prints on the side is no answer.
            answers.extend(serde_json::from_str::<Value>(&line).ok().filter(Value::is_object));
        }
        Ok(answers)
    };
    let (written, answers): (std::io::Result<()>, std::io::Result<Vec<Value>>) = tokio::join!(write, read);
    let ended = child.wait().await.map_err(|error| format!("peers: {error}"))?;
    if !ended.success() {
        return Err(format!("peers: the script for {} ended with {ended}", libraries.join(" and ")));
    }
    written.map_err(|error| format!("peers: {error}"))?;
    answers.map_err(|error| format!("peers: {error}"))
}
