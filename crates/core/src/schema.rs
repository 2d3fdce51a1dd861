//! JSON Schemas of what leaves the process.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use crate::definition::Definition;
use crate::event::Event;
use crate::record::Record;

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn value(schema: Schema) -> Value {
    schema.to_value()
}

/// JSON Schema of one event.
pub fn events() -> Value {
    value(generator().into_root_schema_for::<Event>())
}

/// JSON Schema of one record.
pub fn records() -> Value {
    value(generator().into_root_schema_for::<Record>())
}

/// JSON Schema of a pinned definition.
pub fn definitions() -> Value {
    value(generator().into_root_schema_for::<Definition>())
}
