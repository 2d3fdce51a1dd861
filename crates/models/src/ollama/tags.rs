//! The models a server has, as `GET /api/tags` lists them.

use ambidex_core::Error;
use serde::Deserialize;

use crate::adapter::malformed;

/// A model that is on the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalModel {
    /// As requests name it, such as `qwen3:8b`.
    pub name: String,
    /// Bytes on disk.
    pub size: u64,
    /// Such as `8.2B`.
    pub parameters: Option<String>,
    /// Such as `Q4_K_M`.
    pub quantization: Option<String>,
    /// What it can do (`tools`, `vision`, `thinking`), where the server's version says so.
    pub capabilities: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(default)]
    model: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    details: Option<Details>,
    #[serde(default)]
    capabilities: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    parameter_size: Option<String>,
    #[serde(default)]
    quantization_level: Option<String>,
}

/// Reads the body of `GET /api/tags`.
///
/// # Errors
/// `bad_upstream` when it is not one.
pub fn local_models(body: &[u8]) -> Result<Vec<LocalModel>, Error> {
    let tags: Tags = serde_json::from_slice(body)
        .map_err(|error| malformed(&format!("the list of models is not the JSON of this format: {error}")))?;
    let model = |tag: Tag| {
        let Details { parameter_size, quantization_level } = tag.details.unwrap_or_default();
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        LocalModel {
            name: if tag.model.is_empty() { tag.name } else { tag.model },
            size: tag.size,
            parameters: said(parameter_size),
            quantization: said(quantization_level),
            capabilities: tag.capabilities,
        }
    };
    Ok(tags.models.into_iter().map(model).collect())
}
