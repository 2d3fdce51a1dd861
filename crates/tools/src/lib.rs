//! The tools of Ambidex, and what every call of a tool passes through.
//!
//! | a tool made from | is a |
//! |---|---|
//! | an `async fn` | [`FunctionTool`] |
//! | a `fn` that may block | [`BlockingTool`], run on a [`BlockingPool`] |
//! | an HTTP endpoint, described by data | [`HttpTool`] |
//! | a program, described by an argv template | [`CommandTool`] |
//! | a folder to read | [`files`] |
//!
//! A [`Toolbox`] holds tools by name with their compiled [`Validator`]s.

pub mod blocking;
pub mod cap;
pub mod command;
mod duration;
pub mod files;
pub mod function;
pub mod http;
pub mod input;
mod options;
mod output;
mod pace;
#[cfg(test)]
mod pace_tests;
pub mod pool;
mod process;
pub mod registry;
pub mod system;
mod template;
pub mod validate;

pub use blocking::BlockingTool;
pub use command::{CommandSpec, CommandTool};
pub use function::FunctionTool;
pub use http::{HttpSpec, HttpTool};
pub use pool::{BlockingPool, Lent, PoolCensus, PoolJob, PoolThread, StartThread};
pub use registry::{Registered, Toolbox};
pub use validate::Validator;
