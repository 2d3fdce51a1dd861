#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocking;
mod cap;
mod command;
mod files;
mod function;
mod http;
mod input;
mod registry;
mod support;
mod validate;
