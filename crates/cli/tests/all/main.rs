//! The command line as its users meet it: the real binary in folders of its own.

mod approvals;
mod chat;
mod interrupts;
mod manual;
mod misuse;
mod run;
mod support;
mod terminal;
mod verbs;
