#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cache;
mod capabilities;
mod faults;
mod gemini;
mod limit;
mod offered;
mod openai_responses;
mod provider;
mod requests;
mod retry;
mod route;
mod scripted;
mod scripted_builtin;
mod scripted_file;
mod scripted_stream;
mod scripted_tools;
mod scripted_turns;
mod storm;
mod timed;
mod vendors;
mod wire;
