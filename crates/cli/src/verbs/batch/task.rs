//! Tasks of a batch: lines of JSON, each a text or an object.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ambidex_core::suggest::nearest;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::failure::Failure;

/// Bytes of one line.
const LONGEST: u64 = 8 * 1024 * 1024;
/// Tasks read ahead of those that run.
const READ_AHEAD: usize = 32;
const FIELDS: [&str; 6] = ["task", "input", "id", "agent", "model", "metadata"];

/// One line of the input.
pub struct Task {
    /// Its place among the tasks, counted from 0.
    pub index: u64,
    /// Its place in the input, for errors: `tasks.jsonl:3`.
    pub place: String,
    pub text: String,
    /// A text or a number of the user's, given back with the result.
    pub id: Value,
    pub agent: Option<String>,
    pub model: Option<String>,
    /// Given back with the result.
    pub metadata: Option<Value>,
}

impl Task {
    /// Says on a later start whether this is still the same task. How the line is laid out does not count.
    pub fn fingerprint(&self) -> String {
        let parts = serde_json::json!([self.text, self.id, self.agent, self.model, self.metadata]);
        let hash = Sha256::digest(parts.to_string().as_bytes());
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The tasks of an input, one by one. Blank lines are passed over.
pub struct Reader<R> {
    from: R,
    name: String,
    line: u64,
    index: u64,
}

impl Reader<BufReader<File>> {
    pub fn of_file(path: &Path) -> Result<Self, Failure> {
        let failed = |why: String| Failure::usage(format!("--from: cannot read {}: {why}", path.display()));
        let file = File::open(path)
            .map_err(|error| failed(error.to_string()).help("name a file of JSON lines, or - for stdin"))?;
        if file.metadata().is_ok_and(|found| found.is_dir()) {
            return Err(failed("it is a folder".into()).help("name a file of JSON lines"));
        }
        Ok(Self::new(BufReader::new(file), path.display().to_string()))
    }
}

impl<R: BufRead> Reader<R> {
    pub fn new(from: R, name: String) -> Self {
        Self { from, name, line: 0, index: 0 }
    }

    fn read_line(&mut self) -> Result<Option<String>, Failure> {
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(LONGEST + 1).read_until(b'\n', &mut bytes);
        let place = format!("{}:{}", self.name, self.line + 1);
        read.map_err(|error| Failure::new(Exit::Failed, format!("{place}: cannot be read: {error}")))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if bytes.len() as u64 > LONGEST {
            let text = format!("{place}: the line is longer than {} MiB", LONGEST >> 20);
            return Err(Failure::usage(text).help("give the agent a tool that reads it piece by piece"));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| {
            Failure::usage(format!("{place}: it is not UTF-8 text")).help("turn it into UTF-8 with iconv")
        })
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Task, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.read_line() {
                Ok(line) => line?,
                Err(failure) => return Some(Err(failure)),
            };
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                continue;
            }
            let place = format!("{}:{}", self.name, self.line);
            let index = self.index;
            self.index += 1;
            return Some(parse(line, index, place));
        }
    }
}

fn parse(line: &str, index: u64, place: String) -> Result<Task, Failure> {
    let wrong = |what: String| {
        Failure::usage(format!("{place}: {what}"))
            .help("a task is a line of JSON: \"TEXT\", or {\"task\": \"TEXT\", \"id\": \"...\"}")
    };
    let value = serde_json::from_str(line).map_err(|error| wrong(format!("this is no JSON: {error}")))?;
    let mut fields = match value {
        Value::String(text) => Map::from_iter([("task".to_owned(), Value::String(text))]),
        Value::Object(fields) => fields,
        other => return Err(wrong(format!("{} is no task", kind(&other)))),
    };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let near = nearest(unknown, FIELDS).map(|name| format!("; did you mean `{name}`?"));
        let text = format!("`{unknown}` is no field of a task{}", near.unwrap_or_default());
        return Err(wrong(text).help(format!(
            "fields are {}; what is yours goes into `metadata` and comes back with the result",
            FIELDS.join(", ")
        )));
    }
    let mut text_of = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(format!("`{name}` must be a text, not {}", kind(&other)))),
    };
    let (task, input) = (text_of("task")?, text_of("input")?);
    let (agent, model) = (text_of("agent")?, text_of("model")?);
    let text = match (task, input) {
        (Some(_), Some(_)) => return Err(wrong("`task` and `input` are one thing; give one of them".into())),
        (task, input) => task.or(input).unwrap_or_default(),
    };
    if text.trim().is_empty() {
        return Err(wrong("the task is empty".into()));
    }
    let id = fields.remove("id").unwrap_or_default();
    if !matches!(id, Value::Null | Value::String(_) | Value::Number(_)) {
        return Err(wrong(format!("`id` must be a text or a number, not {}", kind(&id))));
    }
    let metadata = fields.remove("metadata");
    Ok(Task { index, place, text, id, agent, model, metadata })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads tasks on a thread of its own, only a few ahead. A read of stdin cannot be given up, so nobody waits for
/// the thread.
pub fn read_ahead<R: BufRead + Send + 'static>(
    reader: Reader<R>,
) -> Result<mpsc::Receiver<Result<Task, Failure>>, Failure> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let reading = move || {
        for task in reader {
            let wrong = task.is_err();
            if sender.blocking_send(task).is_err() || wrong {
                return;
            }
        }
    };
    std::thread::Builder::new().name("tasks".into()).spawn(reading).map_err(Failure::internal)?;
    Ok(receiver)
}
