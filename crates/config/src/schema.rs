//! The JSON Schema of `ambidex.toml`, for editors.

use serde_json::{Value as Json, json};

use crate::sections::Config;

impl Config {
    /// The JSON Schema (2020-12) of a configuration file. It knows keys, types and ranges;
    /// references between sections and durations in range are checked by `load` alone.
    pub fn json_schema() -> Json {
        let mut schema = schemars::schema_for!(Config).to_value();
        schema["title"] = json!("ambidex.toml");
        schema["properties"]["profiles"] = json!({
            "description": "Settings that `--profile NAME` lays over the others.",
            "type": "object",
            "additionalProperties": { "type": "object" }
        });
        // Whole tables as defaults say nothing that the keys do not.
        for property in schema["properties"].as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
            drop_default(property);
        }
        schema
    }
}

fn drop_default(property: &mut Json) {
    if let Some(property) = property.as_object_mut() {
        property.remove("default");
    }
}
