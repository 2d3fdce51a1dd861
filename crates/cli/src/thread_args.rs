//! What may be typed about threads and sessions.

use std::path::PathBuf;

use ambidex_engine::OnBusy;
use clap::{Args, Subcommand};

use crate::args::AgentArgs;

#[derive(Debug, Args)]
#[command(
    after_help = "THREAD is an id, its beginning or its end where no other thread has the same, or @last for the one that
changed last. `ambidex run --thread ID` and `ambidex chat --thread ID` go on with one.
The store is that of [store] in ambidex.toml, or of --db."
)]
pub struct ThreadsArgs {
    #[command(subcommand)]
    pub verb: ThreadsVerb,
    /// The store: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL", global = true)]
    pub db: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ThreadsVerb {
    /// List threads, last changed first
    List {
        /// Those of this session
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// Those that this agent was on last
        #[arg(short, long)]
        agent: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Print each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what was said on a thread
    Show {
        thread: String,
        /// Print the thread and its messages as lines of JSON
        #[arg(long)]
        json: bool,
    },
    /// Find threads whose title, or one of whose messages, has all these words
    Search {
        #[arg(required = true)]
        words: Vec<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Print each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a thread another title
    Rename { thread: String, title: String },
    /// Make another thread that shares the first messages of one
    Fork {
        thread: String,
        /// How many it shares; all when it is not given
        #[arg(long, value_name = "N")]
        messages: Option<u64>,
        /// The id of the new one
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Print a whole thread as JSON, to be kept or imported elsewhere
    Export {
        thread: String,
        /// Write it to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a thread of an exported one
    Import {
        /// The file; - is stdin
        file: PathBuf,
        /// Its id, where it is to have another
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Forget a thread with its messages
    Delete { thread: String },
    /// Have a model summarise all but the last messages; they stay, and runs begin with the summary
    Compact {
        thread: String,
        /// Messages that stay as they are, about
        #[arg(long, value_name = "N", default_value_t = ambidex_engine::Threads::KEPT)]
        keep: u64,
        #[command(flatten)]
        agent: AgentArgs,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "The store is that of [store] in ambidex.toml, or of --db.")]
pub struct SessionsArgs {
    #[command(subcommand)]
    pub verb: SessionsVerb,
    /// The store: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL", global = true)]
    pub db: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum SessionsVerb {
    /// List sessions, last changed first
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Print each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a session
    Create {
        /// Its id; a new one when it is not given
        id: Option<String>,
        /// What it holds
        #[arg(long, value_name = "JSON", default_value = "{}")]
        state: String,
        /// How long it is kept after its last change, such as 24h or 30d; for ever when it is not given
        #[arg(long, value_name = "TIME")]
        ttl: Option<ambidex_config::Duration>,
    },
    /// Show a session with its threads
    Show {
        session: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget a session with its threads
    Delete { session: String },
}

/// A stored thread to go on with.
#[derive(Debug, Clone, Default, Args)]
pub struct OnThreadArgs {
    /// Go on with this stored thread, or begin it; @last is the one that changed last
    #[arg(long, value_name = "ID")]
    pub thread: Option<String>,
    /// While another run has the thread: wait in line, be refused, stop that run (and undo it), or tell it
    #[arg(long, value_name = "POLICY", default_value = "reject", requires = "thread", value_parser = on_busy)]
    pub on_busy: OnBusy,
}

fn on_busy(text: &str) -> Result<OnBusy, String> {
    text.parse().map_err(|error: ambidex_core::Error| error.message().to_owned())
}
