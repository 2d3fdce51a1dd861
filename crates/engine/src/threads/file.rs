//! A thread as a JSON text: what `export` gives and `import` takes.

use std::sync::Arc;

use ambidex_core::message::Message;
use ambidex_core::thread::{Fork, NewThread, Summary, Thread, ThreadMessage, check};
use ambidex_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The newest version that this code writes and reads.
const VERSION: u32 = 1;

/// A whole thread. In JSON it is an object that begins with `ambidex_thread`, the version of this form; all its
/// messages are in it, whichever thread has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThreadFile {
    ambidex_thread: u32,
    pub id: String,
    #[serde(default)]
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Wall time in milliseconds since 1970. Those of the import count afterwards.
    #[serde(default)]
    pub created: u64,
    #[serde(default)]
    pub updated: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Fork>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    #[serde(default = "empty")]
    pub metadata: Value,
    pub messages: Vec<Exported>,
}

/// A message of a thread in a file; its place is its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    #[serde(default)]
    pub at: u64,
    pub message: Arc<Message>,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

impl ThreadFile {
    pub(super) fn new(thread: Thread, messages: Vec<ThreadMessage>) -> Self {
        let exported = |it: ThreadMessage| Exported { run: it.run, at: it.at, message: it.message };
        Self {
            ambidex_thread: VERSION,
            id: thread.id,
            title: thread.title,
            session: thread.session,
            agent: thread.agent,
            created: thread.created,
            updated: thread.updated,
            ttl: thread.ttl,
            parent: thread.parent,
            summary: thread.summary,
            metadata: thread.metadata,
            messages: messages.into_iter().map(exported).collect(),
        }
    }

    pub fn to_json(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self);
        text.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// `invalid_request`: it is no thread, one of a newer version, or its messages are none that providers take.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::new(ErrorKind::InvalidRequest, format!("this is no thread: {why}"));
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match value.get("ambidex_thread").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => {
                let text = format!(
                    "the thread was exported in version {version} of the form, and this build reads {VERSION}; use the \
                     version of Ambidex that wrote it or a later one"
                );
                return Err(Error::new(ErrorKind::InvalidRequest, text));
            }
            None => return Err(wrong("`ambidex_thread`, the version of its form, is missing".into())),
        }
        let file: Self = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if file.id.is_empty() {
            return Err(wrong("its `id` is empty".into()));
        }
        if !file.metadata.is_object() {
            return Err(wrong("its `metadata` are no object".into()));
        }
        check(file.messages.iter().map(|it| &it.message)).map_err(wrong)?;
        let count = file.messages.len() as u64;
        if file.summary.as_ref().is_some_and(|summary| summary.until > count) {
            return Err(wrong(format!("its summary stands for more than its {count} messages")));
        }
        Ok(file)
    }

    pub(super) fn into_new(self) -> NewThread {
        let message = |it: Exported| ThreadMessage { number: 0, run: it.run, at: it.at, message: it.message };
        NewThread {
            title: self.title,
            session: self.session,
            agent: self.agent,
            ttl: self.ttl,
            metadata: self.metadata,
            summary: self.summary,
            messages: self.messages.into_iter().map(message).collect(),
            ..NewThread::new(self.id)
        }
    }
}
