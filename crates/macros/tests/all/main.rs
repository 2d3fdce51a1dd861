#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// What the macro finds in the crate `ambidex`.
extern crate self as ambidex;

#[doc(hidden)]
pub mod __private {
    pub use ambidex_core::tool::EffectClass;
    pub use ambidex_core::{BoxFuture, Context, Error, Tool, ToolOutput, ToolSpec};
    pub use ambidex_tools::{BlockingTool, FunctionTool};
    pub use {schemars, serde, serde_json};
}

mod tool;
