//! The command line as its users meet it: the real binary in folders of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod approvals;
mod batch;
mod bench;
mod chat;
mod durable;
mod examples;
mod flow;
mod interrupts;
mod manual;
mod misuse;
mod people;
mod replay;
mod run;
mod support;
mod terminal;
mod threads;
mod verbs;
