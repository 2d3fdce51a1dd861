//! The calls of models in the recording of a run, for tests that play them back.

use std::path::PathBuf;

use ambidex_core::Error;
use ambidex_engine::{RecordedCall, Recording};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::observed::PlainChunk;
use crate::request::Request;
use crate::{convert, failure};

/// The name of the model, and of each call the request, the pieces of its reply and its error as plain data.
#[pyfunction]
pub(crate) fn recorded_calls(py: Python<'_>, path: PathBuf) -> PyResult<(Option<String>, Bound<'_, PyList>)> {
    let read = || -> Result<(Option<String>, Vec<RecordedCall>), Error> {
        let recording = Recording::read(&path)?;
        Ok((recording.model().map(str::to_owned), recording.calls()?))
    };
    let (model, calls) = py.detach(read).map_err(|error| failure::usage(error.message()))?;
    let list = PyList::empty(py);
    for call in calls {
        let chunks: Vec<PlainChunk> = call.chunks().iter().filter_map(PlainChunk::of).collect();
        let error = call.answer.as_ref().err().map(|error| convert::serialized(py, error)).transpose()?;
        list.append((Bound::new(py, Request(call.request))?, convert::serialized(py, &chunks)?, error))?;
    }
    Ok((model, list))
}
