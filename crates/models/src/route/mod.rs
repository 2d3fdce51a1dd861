//! Routes: models over other models, nestable, usable wherever a model is.
//!
//! | route | asks | and takes |
//! |---|---|---|
//! | [`Fallback`] | the first target; the next when one fails in a way that another may not | the one that answers |
//! | [`Race`] | all at once | the first token, the first whole reply, or the first valid one |
//! | [`Hedge`] | the first; the next when no first token came in time, or it failed | the first token |
//! | [`Balance`] | one, in turn, by weight, load or speed; the next when it fails | the one that answers |
//! | [`Breaker`] | its one target, unless that failed too often | |
//!
//! ```
//! use std::sync::Arc;
//! use ambidex_models::route::Fallback;
//! use ambidex_models::scripted::ScriptedModel;
//!
//! let big = Arc::new(ScriptedModel::new(["Hello."]).named("big"));
//! let small = Arc::new(ScriptedModel::new(["Hi."]).named("small"));
//! let smart = Fallback::new("smart", [big as _, small as _]);
//! # let _ = smart;
//! ```
//!
//! Targets are asked inside the route's own stream: no task is spawned, and dropping the stream hangs up on
//! all of them. Each target is asked once per call. Further rounds are a [`Retry`](crate::Retry) around the
//! route, and then retries of the targets themselves do not act: there is one layer.
//!
//! Up to the first content a route switches silently. After it, [`AfterFirstToken`] says what happens.
//! Notes name every attempt, with its time and cost; what losers and failed attempts used is part of the
//! reply's usage, estimated where a provider did not say.

mod attempt;
mod balance;
mod balancer;
mod breaker;
mod breaker_state;
mod fallback;
mod few;
mod hedge;
mod helps;
mod latency;
mod plan;
mod race;
mod stream;
mod target;
mod valid;

pub use balance::{Balance, Pick};
pub use breaker::{Breaker, BreakerPolicy};
pub use breaker_state::BreakerState;
pub use fallback::Fallback;
pub use hedge::{Hedge, Stagger};
pub use helps::another_target_may_help;
pub use race::{Race, Winner};

pub(crate) use valid::{matches, parse};

pub use crate::retry::AfterFirstToken;
