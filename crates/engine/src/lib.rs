//! The driver of Ambidex: agents and their runs on tokio.
//!
//! [`Agent`] is what users hold, [`RunHandle`] a run under way, [`Engine`] what runs of a process share.
//! Inside, `run_loop` knows when an effect is carried out and `perform` knows how.

mod agent;
mod agent_tool;
mod awaited;
mod batch;
mod blocking;
mod builder;
mod call;
mod carrier;
mod check;
mod clock;
#[cfg(test)]
mod clock_tests;
mod engine;
mod events;
mod form;
mod graph;
mod handle;
mod handoff;
mod history;
mod hook;
mod in_flight;
mod lease;
mod mailbox;
pub mod merge;
mod perform;
mod permits;
mod pinned;
pub mod project;
mod recovery;
mod replay;
mod result;
mod resume;
mod retry;
#[cfg(test)]
mod retry_tests;
mod run_file;
mod run_loop;
mod sub_run;
mod summary;
pub mod team;
mod threads;
mod time_travel;
mod weight;
pub mod workflow;

pub use agent::{Agent, Earlier, OnWaiting, RunEvents, RunOptions, Task};
pub use agent_tool::AgentTool;
pub use batch::{Batch, BatchItem, BatchOptions, Conversation, RunSet};
pub use blocking::{BlockingAgent, BlockingBatch, BlockingEvents};
pub use builder::{AgentBuilder, ApprovalPolicy, MAX_ITERATIONS, TOOL_CONCURRENCY};
pub use carrier::Runnable;
pub use clock::Clock;
pub use engine::{Engine, EngineBuilder};
pub use events::EventStream;
pub use graph::{Graph, GraphBuilder, NodeFunction, Templates};
pub use handle::RunHandle;
pub use handoff::{Handoff, HandoffBuilder, HandoffResult, Passed};
pub use history::Holder;
pub use hook::{Hook, StopWhen, ToolDecision, ToolInvocation};
pub use lease::Owner;
pub use recovery::{Recovery, Swept};
pub use replay::{Difference, Point, RecordedCall, Recording, Replay, Replayed};
pub use result::{RunError, RunResult};
pub use run_file::RunFile;
pub use team::{Analysis, Part, Team, TeamBuilder, TeamResult};
pub use threads::{CacheStats, OnBusy, Sessions, ThreadFile, ThreadOptions, Threads};
pub use workflow::{Workflow, WorkflowBuilder};
