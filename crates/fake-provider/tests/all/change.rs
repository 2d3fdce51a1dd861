//! Valid requests with one thing changed.

use ambidex_fake_provider::Wire;
use serde_json::Value;

use crate::client::request;

/// The valid request with this value at this JSON pointer.
pub fn with(wire: Wire, path: &str, value: Value) -> Value {
    let mut body = request(wire, true);
    set(&mut body, path, value);
    body
}

pub fn set(body: &mut Value, path: &str, value: Value) {
    match body.pointer_mut(path) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = path.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[name] = value;
        }
    }
}

/// The valid request without this field.
pub fn without(wire: Wire, name: &str) -> Value {
    let mut body = request(wire, true);
    body.as_object_mut().unwrap().remove(name);
    body
}

/// The valid request with more messages.
pub fn then(wire: Wire, list: &str, more: Value) -> Value {
    let mut body = request(wire, true);
    body[list].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
    body
}
