//! What runs and models are given: a text, or messages.

use std::sync::Arc;

use ambidex_core::Message;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::convert;

/// A text, or messages in the plain form that `ambidex.messages` makes of whatever the user gave.
pub(crate) fn messages(input: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<Message>>> {
    if let Ok(text) = input.cast::<PyString>() {
        return Ok(vec![Message::user(text.to_cow()?)]);
    }
    let plain = convert::from_python(input)?;
    serde_json::from_value(plain)
        .map_err(|error| PyValueError::new_err(format!("this is no message: {error}")))
}
