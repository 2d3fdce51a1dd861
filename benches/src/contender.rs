//! What a contender does, and the list of them. A new one is a file that implements [`Contender`],
//! a line in [`Name`] and an arm in `measure::contend`.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::toolbox::Toolbox;

/// What a contender is built from, once per process, before anything is measured.
pub struct Setup {
    /// Host and port.
    pub upstream: String,
    /// The model's name; it tells the upstream what to play.
    pub model: String,
    /// The tools of every agent run.
    pub toolbox: Arc<Toolbox>,
}

/// A client of the upstream, shared by all runs of a process. Replies are streamed, and their text is
/// taken as it comes.
pub trait Contender: Send + Sync + 'static {
    /// One model call without tools. Gives the bytes of text received.
    fn chat(&self) -> impl Future<Output = Result<usize>> + Send;

    /// One agent run with both tools of the toolbox, until a reply asks for none.
    /// Gives the bytes of text of that last reply.
    fn agent(&self) -> impl Future<Output = Result<usize>> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// hyper + serde
    Hyper,
    /// reqwest + serde
    Reqwest,
    /// Ambidex
    Ambidex,
}

impl Name {
    /// The word that picks it on a command line.
    pub fn flag(self) -> &'static str {
        match self {
            Name::Hyper => "hyper",
            Name::Reqwest => "reqwest",
            Name::Ambidex => "ambidex",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Name::Hyper => "hyper + serde",
            Name::Reqwest => "reqwest + serde",
            Name::Ambidex => "Ambidex",
        })
    }
}
