//! Routes over models that do as they are told, on a paused clock.

mod balance;
mod breaker;
mod fallback;
mod hedge;
mod nesting;
mod race;
mod support;
