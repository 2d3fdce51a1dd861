//! The core of Ambidex: what a run is made of, without a runtime, a clock or a network.
//!
//! Read in this order: [`message`], [`model`], [`tool`], [`record`], [`effect`], [`run`], [`event`],
//! [`store`].

pub mod around;
pub mod blocking;
pub mod budget;
pub mod cap;
mod child_token;
pub mod chunk;
pub mod context;
pub mod definition;
pub mod effect;
pub mod error;
pub mod event;
pub mod graph;
pub mod memory;
pub mod message;
pub mod model;
pub mod question;
pub mod record;
pub mod relay;
pub mod reply;
mod route_note;
pub mod run;
pub mod schema;
pub mod session;
pub mod store;
pub mod suggest;
pub mod thread;
pub mod tool;
pub mod usage;
pub mod wire;

use std::pin::Pin;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed stream that may move between threads.
pub type BoxStream<'a, T> = Pin<Box<dyn futures_core::Stream<Item = T> + Send + 'a>>;

pub use chunk::{Chunk, Finish};
pub use context::Context;
pub use error::{Error, ErrorKind};
pub use event::{Event, EventKind};
pub use message::{History, Message, Part, Role};
pub use model::{Model, Request};
pub use run::Run;
pub use tool::{Tool, ToolOutput, ToolSpec};
pub use usage::Usage;
