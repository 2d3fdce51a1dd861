//! What several tests need.

use ambidex_core::{Context, Error, Tool, ToolOutput};
use serde_json::Value;

pub async fn call(tool: &impl Tool, arguments: Value) -> Result<ToolOutput, Error> {
    tool.call(arguments, Context::detached()).await
}

pub async fn text(tool: &impl Tool, arguments: Value) -> String {
    call(tool, arguments).await.unwrap().to_text()
}

/// The error of a call that must fail.
pub async fn fault(tool: &impl Tool, arguments: Value) -> Error {
    match call(tool, arguments).await {
        Ok(output) => panic!("expected an error, got {output:?}"),
        Err(error) => error,
    }
}
