//! Python values to JSON and back. Only plain data passes: dataclasses, models and enums are made plain in Python,
//! where their types are known.

use std::fmt::Write as _;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

/// Deeper values are refused: nothing that is meant for a model is.
const DEEPEST: usize = 128;

/// What cannot be JSON, and where in the value it is.
struct Fault {
    what: String,
    value: bool,
    /// From the inside out.
    path: Vec<Step>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    fn of_type(object: &Bound<'_, PyAny>) -> Self {
        let name =
            object.get_type().fully_qualified_name().map_or_else(|_| "object".into(), |it| it.to_string());
        Self { what: format!("an object of type `{name}` is no JSON"), value: false, path: vec![] }
    }

    fn of_value(what: impl Into<String>) -> Self {
        Self { what: what.into(), value: true, path: vec![] }
    }

    fn below(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    fn into_error(self) -> PyErr {
        let mut place = String::new();
        for step in self.path.iter().rev() {
            // Writing to a text cannot fail.
            let _ = match step {
                Step::Key(key) => write!(place, "[{key:?}]"),
                Step::Index(index) => write!(place, "[{index}]"),
            };
        }
        let text = if place.is_empty() { self.what } else { format!("{} (at {place})", self.what) };
        if self.value { PyValueError::new_err(text) } else { PyTypeError::new_err(text) }
    }
}

/// A Python value as JSON: `None`, `bool`, `int`, `float`, `str`, `dict`, `list` and `tuple`, with what is inside.
///
/// # Errors
/// `TypeError` or `ValueError`, naming the place of what is none of these.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    value(object, 0).map_err(Fault::into_error)
}

fn value(object: &Bound<'_, PyAny>, depth: usize) -> Result<Value, Fault> {
    if let Ok(text) = object.cast::<PyString>() {
        return string(text).map(Value::String);
    }
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(truth) = object.cast::<PyBool>() {
        return Ok(Value::Bool(truth.is_true()));
    }
    if object.cast::<PyInt>().is_ok() {
        return integer(object).map(Value::Number);
    }
    if let Ok(float) = object.cast::<PyFloat>() {
        return match Number::from_f64(float.value()) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(Fault::of_value(format!("{} is no JSON number", float.value()))),
        };
    }
    if depth >= DEEPEST {
        return Err(Fault::of_value(format!("the value is nested deeper than {DEEPEST} levels")));
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        let mut map = Map::with_capacity(dict.len());
        for (key, item) in dict.iter() {
            let key = match key.cast::<PyString>() {
                Ok(key) => string(key)?,
                Err(_) => return Err(bad_key(&key)),
            };
            match value(&item, depth + 1) {
                Ok(item) => drop(map.insert(key, item)),
                Err(fault) => return Err(fault.below(Step::Key(key))),
            }
        }
        return Ok(Value::Object(map));
    }
    if let Ok(list) = object.cast::<PyList>() {
        return items(list.iter(), list.len(), depth);
    }
    // One with names is more than its items.
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return items(tuple.iter(), tuple.len(), depth);
    }
    Err(Fault::of_type(object))
}

fn items<'py>(
    all: impl Iterator<Item = Bound<'py, PyAny>>,
    length: usize,
    depth: usize,
) -> Result<Value, Fault> {
    let mut values = Vec::with_capacity(length);
    for (index, item) in all.enumerate() {
        values.push(value(&item, depth + 1).map_err(|fault| fault.below(Step::Index(index)))?);
    }
    Ok(Value::Array(values))
}

fn string(text: &Bound<'_, PyString>) -> Result<String, Fault> {
    match text.to_cow() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Fault::of_value("a text with half of a surrogate pair is no JSON")),
    }
}

fn integer(object: &Bound<'_, PyAny>) -> Result<Number, Fault> {
    if let Ok(number) = object.extract::<i64>() {
        return Ok(number.into());
    }
    match object.extract::<u64>() {
        Ok(number) => Ok(number.into()),
        Err(_) => {
            Err(Fault::of_value("an integer of more than 64 bits is no JSON number here; give it as text"))
        }
    }
}

fn bad_key(key: &Bound<'_, PyAny>) -> Fault {
    let kind = key.get_type().name().map_or_else(|_| "object".into(), |it| it.to_string());
    Fault {
        what: format!("a key of type `{kind}` is no JSON; keys are texts, such as str({kind})"),
        value: false,
        path: vec![],
    }
}

/// JSON as a Python value.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => PyFloat::new(py, number.as_f64().unwrap_or(f64::NAN)).into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(to_python(py, value)?)?;
            }
            list.into_any()
        }
        Value::Object(map) => object_to_python(py, map)?.into_any(),
    })
}

/// A JSON object as a `dict`.
pub(crate) fn object_to_python<'py>(
    py: Python<'py>,
    map: &Map<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

/// What serialises to JSON, as a Python value.
pub(crate) fn serialized<'py>(py: Python<'py>, value: &impl serde::Serialize) -> PyResult<Bound<'py, PyAny>> {
    let value = serde_json::to_value(value).map_err(|error| PyValueError::new_err(error.to_string()))?;
    to_python(py, &value)
}
