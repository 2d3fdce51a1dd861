//! The provider seen from a plain TCP socket.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod change;
mod client;
mod conversations;
mod faults;
mod hangups;
mod history;
mod keep_alive;
mod reader;
mod readers;
mod refusals_anthropic;
mod refusals_gemini;
mod refusals_ollama;
mod refusals_openai;
mod refusals_responses;
mod replies;
mod scripts;
