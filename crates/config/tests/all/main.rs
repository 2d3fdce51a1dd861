//! The configuration as its users see it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod any_input;
mod cases;
mod layers;
mod manual;
mod rules;
mod schema;
mod secrets;
mod show;
mod values;
mod vendors;
