//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::thread_args::{OnThreadArgs, SessionsArgs, ThreadsArgs};

/// Runs LLM agents: `ambidex run "TASK"` works until the task is done.
#[derive(Debug, Parser)]
#[command(name = "ambidex", version, disable_help_subcommand = true, infer_subcommands = false)]
#[command(after_help = "Without a configuration an offline model answers; `ambidex demo` shows a whole run.
`ambidex help codes` lists exit codes and error codes. `ambidex VERB --help` says more about a verb.")]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Where the configuration comes from, and how much is said.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Override a setting, such as -c agents.writer.model=big
    #[arg(short = 'c', value_name = "KEY=VALUE", global = true, help_heading = "Everywhere")]
    pub overrides: Vec<String>,
    /// Use this file instead of the nearest ambidex.toml
    #[arg(long, value_name = "FILE", global = true, help_heading = "Everywhere")]
    pub config: Option<PathBuf>,
    /// Lay the settings of [profiles.NAME] over the others
    #[arg(long, value_name = "NAME", global = true, help_heading = "Everywhere")]
    pub profile: Option<String>,
    /// Say only what went wrong
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// A file with a workflow of its own.
    #[arg(skip)]
    pub flow: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run one task to its end
    Run(Box<RunArgs>),
    /// Run many tasks from a file of JSON lines
    Batch(Box<BatchArgs>),
    /// Check, draw and run workflows
    #[command(subcommand)]
    Flow(FlowVerb),
    /// Look after stored runs: list, show, trace, resume, retry, cancel, export, fork
    Runs(Box<RunsArgs>),
    /// Do a run again from its records; nobody is asked and nothing is sent
    Replay(Box<ReplayArgs>),
    /// Look after stored conversations: list, show, search, rename, fork, export, import, delete, compact
    Threads(Box<ThreadsArgs>),
    /// Look after sessions, which hold threads and state: list, create, show, delete
    Sessions(Box<SessionsArgs>),
    /// Talk with an agent, line by line
    Chat(ChatArgs),
    /// List the configured models, test them with one tiny call each, compare them
    #[command(subcommand)]
    Models(ModelsVerb),
    /// List tools, show their schemas, call one
    #[command(subcommand)]
    Tools(ToolsVerb),
    /// Show, check, begin the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Look for what would not work here, and say what to do
    Doctor,
    /// Show a whole autonomous run on real files; needs no key
    Demo(DemoArgs),
    /// Print a JSON Schema
    Schema {
        /// Of what
        of: SchemaOf,
    },
    /// Print completions for a shell
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
    /// Explain a verb, or list the codes: `ambidex help codes`
    Help {
        /// A verb, or `codes`
        topic: Vec<String>,
    },
}

#[derive(Debug, Default, Args)]
#[command(after_help = "What stdin holds is appended to TASK, unless it is a terminal.
The result goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 run failed, 2 usage, 3 waits for a person, 4 paused (budget or max_iterations),
5 cancelled, 6 configuration invalid, 7 no server, 8 timeout.")]
pub struct RunArgs {
    /// What is to be done
    pub task: Option<String>,
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Active time until the run fails, such as 90s or 5m
    #[arg(long, value_name = "TIME", conflicts_with = "resume", allow_hyphen_values = true)]
    pub timeout: Option<ambidex_config::Duration>,
    /// Append a text file to the task
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "resume")]
    pub file: Vec<PathBuf>,
    /// Show the model an image (PNG, JPEG, GIF, WebP)
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "resume")]
    pub image: Vec<PathBuf>,
    /// Print every event as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print one JSON object at the end
    #[arg(long, conflicts_with = "json")]
    pub result_json: bool,
    /// Hand the run to a running server
    #[arg(long)]
    pub detach: bool,

    /// Go on with a run that waits or is paused
    #[arg(long, value_name = "FILE", conflicts_with = "task", help_heading = "Runs that wait")]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    pub answer: AnswerArgs,

    /// Run this workflow: a configured name, or a file; with --resume, the file of the run's workflow
    #[arg(short = 'w', long, value_name = "WORKFLOW", help_heading = "Workflows")]
    pub workflow: Option<String>,
    /// An input of the workflow; lists and tables are JSON
    #[arg(
        short = 'i',
        long = "input",
        value_name = "KEY=VALUE",
        conflicts_with = "resume",
        help_heading = "Workflows"
    )]
    pub input: Vec<String>,
    /// Run this step alone; -i steps.ID=VALUE gives the result of a step before it
    #[arg(long, value_name = "NAME", conflicts_with = "resume", help_heading = "Workflows")]
    pub stage: Option<String>,
    #[command(flatten)]
    pub on: OnThreadArgs,
    /// Keep the run here: sqlite:PATH, postgres://USER@HOST/DATABASE or memory:
    #[arg(long, value_name = "URL", conflicts_with = "resume")]
    pub db: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum FlowVerb {
    /// Look for what is wrong, before anything runs
    Check {
        /// Files, or names of the configuration; all of its workflows when none is given
        files: Vec<String>,
        /// Print the faults as JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw the steps of a workflow
    Draw {
        /// A file, or a name of the configuration
        file: String,
        /// The workflow, where the file has several
        #[arg(short = 'w', long, value_name = "NAME")]
        workflow: Option<String>,
        #[arg(short, long, value_enum, default_value_t = Drawing::Text)]
        format: Drawing,
        /// Write it to this file; the ending says the format (.svg, .mmd) where none is given
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run a workflow to its end
    Run {
        /// A file, or a name of the configuration
        #[arg(value_name = "FILE")]
        flow: String,
        #[command(flatten)]
        args: Box<RunArgs>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    Text,
    Mermaid,
    Svg,
}

#[derive(Debug, Args)]
#[command(
    after_help = "RUN is an id, its beginning or its end where no other run has the same, or @last for the newest.
The store is that of [store] in ambidex.toml, or of --db."
)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub verb: RunsVerb,
    /// The store: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL", global = true)]
    pub db: Option<String>,
    /// The file of the run's workflow, where that is not in ambidex.toml
    #[arg(short = 'w', long, value_name = "FILE", global = true)]
    pub workflow: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum RunsVerb {
    /// List runs, newest first
    List {
        /// Those that stand so: queued, running, waiting, paused, succeeded, failed, cancelled
        #[arg(long, value_name = "STATUS", value_parser = status)]
        status: Vec<ambidex_core::event::Status>,
        /// Those of this agent
        #[arg(short, long)]
        agent: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Print each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how a run stands, what it asks and what it has said
    Show {
        run: String,
        /// Print the object of `run --result-json`
        #[arg(long)]
        json: bool,
    },
    /// Print what a run did, step by step
    Trace {
        run: String,
        /// Print its records as lines of JSON
        #[arg(long)]
        json: bool,
    },
    /// Go on with a run that waits, is paused, or lost its process
    Resume(Box<ResumeArgs>),
    /// Do again, as a new run, what a run was given
    Retry {
        run: String,
        #[command(flatten)]
        agent: AgentArgs,
        /// Print every event as a line of JSON
        #[arg(long)]
        json: bool,
        /// Print one JSON object at the end
        #[arg(long, conflicts_with = "json")]
        result_json: bool,
    },
    /// End a run that nobody drives
    Cancel { run: String },
    /// Write a run with all it was given to a file, for `ambidex replay` and for tests
    Export {
        run: String,
        /// The file; stdout where none is named
        file: Option<PathBuf>,
    },
    /// Begin a new run with the past of another, and go on with it for real
    #[command(after_help = POINTS)]
    Fork(Box<ForkArgs>),
}

const POINTS: &str =
    "POINT is where the past ends: the id of an effect that happens anew, such as m2 or t1.0, or the
number of the last record that is kept. `ambidex runs trace` shows both. What had begun before it keeps
what it gave.";

#[derive(Debug, Args)]
pub struct ForkArgs {
    pub run: String,
    /// Where its past ends
    #[arg(long, value_name = "POINT")]
    pub at: String,
    /// Tell the model something before its next call
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Print every event as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print one JSON object at the end
    #[arg(long, conflicts_with = "json")]
    pub result_json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "RUN is an id as of `ambidex runs`, or a file that `ambidex runs export` wrote. Models, tools, people and
code give back what they gave then. The agent is the one of that name as it is configured now; where there
is none, the recorded one. What the run wants now and did not want then is shown on stderr.

Exit codes: those of the run; 1 where --strict found a difference, or where nothing is recorded for what
the run wants."
)]
pub struct ReplayArgs {
    pub run: String,
    /// Stop at the first difference from what was recorded
    #[arg(long)]
    pub strict: bool,
    /// Replay the agent as it was, whatever it is now
    #[arg(long)]
    pub as_recorded: bool,
    /// Do not count differences there: model, instructions, tools.NAME, messages[0], arguments.date
    #[arg(long, value_name = "PLACE")]
    pub ignore: Vec<String>,
    /// From there on everything happens for real, as a new run: an effect such as m2 or t1.0, or the number of the
    /// last record that is kept
    #[arg(long, value_name = "POINT")]
    pub live_from: Option<String>,
    /// Print every event as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print one JSON object at the end
    #[arg(long, conflicts_with = "json")]
    pub result_json: bool,
    /// The store: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL")]
    pub db: Option<String>,
}

#[derive(Debug, Args)]
#[command(mut_arg("agent", |arg| arg.hide(true)))] // A run keeps its agent; naming one is refused with a word.
pub struct ResumeArgs {
    pub run: String,
    #[command(flatten)]
    pub agent: AgentArgs,
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Print every event as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print one JSON object at the end
    #[arg(long, conflicts_with = "json")]
    pub result_json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A task is a line of JSON: \"TEXT\", or an object with `task` (or `input`) and, if wanted, `id`, `agent`,
`model` and `metadata`. A result is a line of JSON, too: what `run --result-json` prints, with `index` (the
place of its task, counted from 0), `id` and `metadata` of the task. Results come as they are ready.

With --out the batch is restartable: started again, it leaves out the tasks that have a result, failed ones
too. Limits such as --max-usd are those of each task.

Exit codes: 0 all done, 1 some failed, 2 usage, 3 some wait for a person, 4 some are paused, 5 cancelled,
6 configuration invalid. `ambidex help codes` lists them all."
)]
pub struct BatchArgs {
    /// The tasks, one a line; - is stdin
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Append the results to this file, and go on where an earlier start stopped
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Tasks at once
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "sequential")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000), allow_hyphen_values = true)]
    pub concurrency: u32,
    /// One after another, each with the conversation before it
    #[arg(long)]
    pub sequential: bool,
    /// Run again what failed, in place of its results
    #[arg(long, requires = "out", conflicts_with = "sequential")]
    pub retry_failed: bool,
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Active time until a task fails, such as 90s or 5m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub timeout: Option<ambidex_config::Duration>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct AgentArgs {
    /// The agent to run; the default one when none is named
    #[arg(short, long)]
    pub agent: Option<String>,
    /// Another model than the agent's: a configured name or PROVIDER:NAME
    #[arg(short, long)]
    pub model: Option<String>,
    /// Model calls before the run pauses; on --resume, how many more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), allow_hyphen_values = true)]
    pub max_iterations: Option<u32>,
    /// US dollars before the run pauses; on --resume, how many more
    #[arg(long, value_name = "USD", value_parser = dollars, allow_hyphen_values = true)]
    pub max_usd: Option<f64>,
}

/// What a person decides about the calls that a run waits with.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runs that wait")]
#[group(skip)]
pub struct AnswerArgs {
    /// Let the calls run
    #[arg(long, group = "decision")]
    pub yes: bool,
    /// Do not let them run; the model is told the reason
    #[arg(long, value_name = "REASON", group = "decision", num_args = 0..=1, default_missing_value = "")]
    pub no: Option<String>,
    /// Run the call with these arguments
    #[arg(long, value_name = "JSON", group = "decision")]
    pub edit: Option<String>,
    /// Do not run the call; this is its result
    #[arg(long, value_name = "JSON", group = "decision")]
    pub answer: Option<String>,
    /// Answer only this question, where several wait
    #[arg(long, value_name = "ID", requires = "decision")]
    pub question: Option<String>,
}

impl AnswerArgs {
    pub fn is_given(&self) -> bool {
        self.yes || self.no.is_some() || self.edit.is_some() || self.answer.is_some()
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Lines that begin with / are for Ambidex: /help lists them.")]
pub struct ChatArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    #[command(flatten)]
    pub on: OnThreadArgs,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Run the task on this model: a configured name or PROVIDER:NAME
    #[arg(short, long)]
    pub model: Option<String>,
    /// Print every event as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print one JSON object at the end
    #[arg(long, conflicts_with = "json")]
    pub result_json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ModelsVerb {
    /// List the configured models, or all that a provider offers
    List {
        /// The provider to ask
        provider: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Call each model once
    Test {
        /// Configured names or PROVIDER:NAME; all configured models when none is given
        names: Vec<String>,
        #[arg(long)]
        json: bool,
    },
    /// Compare models and routes: time, speed, cost, failures
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "The targets take turns, so that a slow minute of the network meets them all. Nothing is answered from
the cache. The first call to a provider includes connecting. Tokens per second are output tokens over the
whole time of a call. Exit code 1: a target never answered."
)]
pub struct BenchArgs {
    /// Models and routes, configured names or PROVIDER:NAME; all that are configured when none is given
    pub names: Vec<String>,
    /// Calls of each target
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: u32,
    /// What the models are asked
    #[arg(long, value_name = "TEXT", default_value = "Write a paragraph of about 100 words on rivers.")]
    pub prompt: String,
    /// Calls at once, of all targets together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub concurrency: u32,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ToolsVerb {
    /// List the tools
    List {
        #[arg(long)]
        json: bool,
    },
    /// Print what a model is told about a tool
    Schema { name: String },
    /// Call a tool once, with the checks and limits of a run
    Call {
        name: String,
        /// The arguments as a JSON object
        arguments: Option<String>,
        /// One argument
        #[arg(short = 'i', value_name = "KEY=VALUE", conflicts_with = "arguments")]
        input: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the settings in effect, secrets redacted
    Show {
        /// Say where each value was written
        #[arg(long)]
        origin: bool,
        #[arg(long, conflicts_with = "origin")]
        json: bool,
    },
    /// Check the configuration with all its profiles
    Check,
    /// Print the JSON Schema of ambidex.toml, for editors
    Schema,
    /// Write an ambidex.toml to begin with
    Init {
        /// The folder
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SchemaOf {
    Events,
    Records,
    Config,
}

fn status(text: &str) -> Result<ambidex_core::event::Status, String> {
    let value = serde_json::Value::String(text.to_owned());
    serde_json::from_value(value).map_err(|_| {
        let all = "queued, running, waiting, paused, succeeded, failed, cancelled";
        format!("it is one of {all} (a run that is listed as interrupted is running: nobody drives it)")
    })
}

fn dollars(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(usd) if usd.is_finite() && usd > 0.0 => Ok(usd),
        _ => Err("write an amount above 0, such as 0.50".into()),
    }
}
