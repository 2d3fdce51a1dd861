//! What a model answers, as Python sees it.

use ambidex_core::Finish;
use ambidex_core::message::{Arguments, Message, Part, Role, ToolCall};
use ambidex_core::reply::Reply as CoreReply;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde::Deserialize;
use serde_json::Value;

use crate::bridge::Answer;
use crate::request::read;
use crate::usage::Usage;
use crate::{convert, result};

/// What a model answered. `str(reply)` is its text.
#[pyclass(frozen, module = "ambidex")]
pub(crate) struct Reply(pub(crate) CoreReply);

impl Answer for Reply {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Bound::new(py, self)?.into_any().unbind())
    }
}

/// A call of a tool as Python writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainCall {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(default)]
    arguments: Value,
}

fn parts(reasoning: String, text: String, calls: Vec<PlainCall>) -> Vec<Part> {
    let mut parts = Vec::new();
    if !reasoning.is_empty() {
        parts.push(Part::Reasoning { text: reasoning, state: None });
    }
    if !text.is_empty() {
        parts.push(Part::text(text));
    }
    parts.extend(calls.into_iter().enumerate().map(|(at, call)| {
        let arguments = match call.arguments {
            Value::Null => Arguments::parse(""),
            Value::String(text) => Arguments::parse(&text),
            other => Arguments::Json(other),
        };
        let id = call.id.unwrap_or_else(|| format!("call_{}", at + 1));
        Part::ToolCall(ToolCall { id, name: call.name, arguments, state: None })
    }));
    parts
}

#[pymethods]
impl Reply {
    /// For models and hooks written in Python. `tool_calls` are dicts with `name`, `arguments` and, if wanted, `id`.
    #[new]
    #[pyo3(signature = (text="", *, tool_calls=None, reasoning=""))]
    fn new(text: &str, tool_calls: Option<&Bound<'_, PyAny>>, reasoning: &str) -> PyResult<Self> {
        let calls: Vec<PlainCall> =
            tool_calls.map(|it| read(it, "tool_calls")).transpose()?.unwrap_or_default();
        let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        let message = Message::new(Role::Assistant, parts(reasoning.to_owned(), text.to_owned(), calls));
        Ok(Self(CoreReply::new(message, finish, ambidex_core::Usage::default())))
    }

    /// The same reply with these parts in place of its own.
    #[pyo3(signature = (*, text=None, tool_calls=None))]
    fn replace(&self, text: Option<String>, tool_calls: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let mut parts = self.0.message.parts.clone();
        if let Some(text) = text {
            let at = parts.iter().position(|part| matches!(part, Part::Text { .. })).unwrap_or(parts.len());
            parts.retain(|part| !matches!(part, Part::Text { .. }));
            if !text.is_empty() {
                parts.insert(at.min(parts.len()), Part::text(text));
            }
        }
        let mut reply = self.0.clone();
        if let Some(calls) = tool_calls {
            let calls: Vec<PlainCall> = read(calls, "tool_calls")?;
            reply.finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
            parts.retain(|part| !matches!(part, Part::ToolCall(_)));
            parts.extend(self::parts(String::new(), String::new(), calls));
        }
        reply.message = Message::new(Role::Assistant, parts);
        Ok(Self(reply))
    }

    /// The text parts, one after another.
    #[getter]
    fn text(&self) -> String {
        self.0.text()
    }

    /// Calls of tools it asks for: dicts with `id`, `name`, `arguments`.
    #[getter]
    fn tool_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for call in self.0.message.tool_calls() {
            let plain = PyDict::new(py);
            plain.set_item("id", &call.id)?;
            plain.set_item("name", &call.name)?;
            match &call.arguments {
                Arguments::Json(arguments) => {
                    plain.set_item("arguments", convert::to_python(py, arguments)?)?
                }
                Arguments::Invalid { raw, reason } => {
                    plain.set_item("arguments", raw)?;
                    plain.set_item("invalid", reason)?;
                }
            }
            list.append(plain)?;
        }
        Ok(list)
    }

    /// What the model thought, where it says so.
    #[getter]
    fn reasoning(&self) -> String {
        let thoughts = self.0.message.parts.iter().filter_map(|part| match part {
            Part::Reasoning { text, .. } => Some(text.as_str()),
            _ => None,
        });
        thoughts.collect()
    }

    #[getter]
    fn usage(&self) -> Usage {
        Usage(self.0.usage)
    }

    /// Why it ended: `stop`, `tool_calls`, `length`, `content_filter`, `refusal`, `paused` or `other`.
    #[getter]
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::serialized(py, &self.0.finish)
    }

    /// The model's own name for itself.
    #[getter]
    fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// The reply as a message, to go on with.
    #[getter]
    fn message<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let message: &Message = &self.0.message;
        let typed = crate::request::typed(py, result::plain(py, [message])?)?;
        typed.get_item(0)
    }

    fn __str__(&self) -> String {
        self.0.text()
    }

    fn __reduce__(&self) -> PyResult<Py<PyAny>> {
        Err(crate::failure::usage("a reply cannot be pickled; send reply.text, or reply.message"))
    }

    fn __repr__(&self) -> String {
        let calls = self.0.message.tool_calls().count();
        let calls = if calls == 0 { String::new() } else { format!(", tool_calls={calls}") };
        let text: String = self.0.text().chars().take(80).collect();
        format!("Reply({text:?}{calls})")
    }
}
