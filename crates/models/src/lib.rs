//! Models: adapters from requests to a provider's wire format and back, providers over HTTP, retry, and
//! scripted models.
//!
//! An [`adapter::Adapter`] is pure. A [`provider::ProviderModel`] adds the network and its limits of time
//! to one. [`retry::Retry`] is a model around a model, [`route`]s are models over several.

pub mod adapter;
pub mod anthropic;
pub mod cache;
mod call_ids;
pub mod collect;
pub mod failure;
mod fields;
pub mod gemini;
pub mod human;
pub mod known_models;
pub mod limit;
mod meter;
pub mod offered;
pub mod ollama;
pub mod openai_chat;
pub mod openai_responses;
mod preset;
mod prompt_size;
pub mod provider;
mod reply_stream;
pub mod retry;
mod retry_budget;
pub mod route;
mod schema;
pub mod scripted;
mod timed;
mod unavailable;
pub mod vendors;

pub use adapter::{Adapter, Format};
pub use collect::collect;
pub use offered::OfferedModel;
pub use preset::Preset;
pub use provider::{ModelConfig, ProviderModel, Timeouts};
pub use retry::{AfterFirstToken, Retry, RetryPolicy};
pub use retry_budget::RetryBudget;
pub use timed::Timed;
pub use unavailable::Unavailable;
