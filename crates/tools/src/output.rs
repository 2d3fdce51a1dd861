//! From what a function returns to what the model reads.

use std::any::Any;
use std::fmt::Display;
use std::io;

use ambidex_core::{Error, ErrorKind, ToolOutput};
use serde::Serialize;
use serde_json::Value;

use crate::system;

/// Text stays text, nothing is `done`, and anything else is its JSON. A [`ToolOutput`] is taken as it is.
pub(crate) fn output<Out: Serialize + 'static>(out: Out) -> Result<ToolOutput, Error> {
    let mut out = Some(out);
    if let Some(output) = take_as::<ToolOutput>(&mut out) {
        return Ok(output);
    }
    match serde_json::to_value(&out) {
        Ok(Value::String(text)) => Ok(ToolOutput::Text(text)),
        Ok(Value::Null) => Ok(ToolOutput::Text("done".to_owned())),
        Ok(value) => Ok(ToolOutput::Json(value)),
        Err(error) => Err(Error::new(
            ErrorKind::ToolFailed,
            format!("the result cannot be written as JSON: {error}; return another type"),
        )),
    }
}

/// An [`Error`] is taken as it is, an I/O error knows whether a retry helps, anything else is
/// `tool_failed` with its message.
pub(crate) fn failure<Failure: Display + 'static>(failure: Failure) -> Error {
    let mut failure = Some(failure);
    if let Some(error) = take_as::<Error>(&mut failure) {
        return error;
    }
    if let Some(error) = take_as::<io::Error>(&mut failure) {
        return system::tool_error(&error);
    }
    Error::new(ErrorKind::ToolFailed, failure.map(|failure| failure.to_string()).unwrap_or_default())
}

/// What was caught of a panic.
pub(crate) fn panicked(tool: &str, payload: &(dyn Any + Send)) -> Error {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorKind::ToolFailed, format!("tool `{tool}` panicked: {message}"))
}

/// The value, when it is of this very type.
fn take_as<To: 'static>(slot: &mut dyn Any) -> Option<To> {
    slot.downcast_mut::<Option<To>>()?.take()
}
