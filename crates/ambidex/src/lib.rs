//! Ambidex: an LLM-agent runtime that works with either hand, sync or async.
//!
//! ```
//! use ambidex::{Agent, models::ScriptedModel};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder().model(ScriptedModel::new(["Hello."])).build()?;
//! let result = agent.run("Say hello").await?;
//! assert_eq!(result.text, "Hello.");
//! # Ok(())
//! # }
//! ```
//!
//! Several, with code between them, are a [`Graph`]:
//!
//! ```
//! use ambidex::graph::{NodeCall, Source};
//! use ambidex::{Agent, Context, Error, Graph, models::ScriptedModel};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let writer = Agent::builder().model(ScriptedModel::new(["Bees dance."])).build()?;
//! let graph = Graph::builder("report")
//!     .node("topic", |_: NodeCall, _: Context| async { Ok::<_, Error>(json!({"topic": "bees"})) })
//!     .agent_node("write", writer, Source::Field("topic".into()))
//!     .edge("topic", "write")
//!     .output("write")
//!     .build()?;
//! assert_eq!(graph.run(json!({})).await?.text, "Bees dance.");
//! # Ok(())
//! # }
//! ```
//!
//! The same agent without a runtime of your own:
//!
//! ```
//! # use ambidex::{Agent, models::ScriptedModel};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder().model(ScriptedModel::new(["Hello."])).build()?;
//! let result = agent.blocking().run("Say hello")?;
//! assert_eq!(result.text, "Hello.");
//! # Ok(())
//! # }
//! ```

pub use ambidex_core::budget::{Budget, Grant};
pub use ambidex_core::definition::{Approval, Compaction, Mode, StopConditions};
pub use ambidex_core::event::{Event, EventKind, Status};
pub use ambidex_core::message::{History, Image, ImageSource, Message, Part, Role};
pub use ambidex_core::model::{Model, ModelInfo, Request, Settings, ToolChoice};
pub use ambidex_core::question::{Answer, Question, Questions};
pub use ambidex_core::relay::{RelayCall, RelayReply, RelayRequest};
pub use ambidex_core::run::Run;
pub use ambidex_core::store::Store;
pub use ambidex_core::tool::{EffectClass, Tool, ToolOutput, ToolSpec};
pub use ambidex_core::{BoxFuture, BoxStream, Chunk, Context, Error, ErrorKind, Usage};
pub use ambidex_engine::{
    Agent, AgentBuilder, ApprovalPolicy, Batch, BatchItem, BatchOptions, BlockingAgent, Engine, EventStream,
    Graph, GraphBuilder, Handoff, Hook, OnWaiting, RunError, RunEvents, RunFile, RunHandle, RunOptions,
    RunResult, Runnable, Task, Team, ToolDecision, ToolInvocation, Workflow, WorkflowBuilder,
};
pub use ambidex_macros::tool;

/// Graphs: what they are made of, and what their nodes are given and give back.
pub mod graph {
    pub use ambidex_core::graph::{
        END, GraphDefinition, Next, NodeCall, NodeDefinition, NodeOutput, NodeWork, OnError, Reducer, Retry,
        Sent, Source, State,
    };
    pub use ambidex_engine::{NodeFunction, Templates};
}

/// Stored conversations: threads that outlive their runs, and the sessions that hold them.
pub mod threads {
    pub use ambidex_core::session::{Session, SessionChange, SessionPage};
    pub use ambidex_core::thread::{
        Cursor, Fork, Found, Line, Summary, Thread, ThreadChange, ThreadMessage, ThreadPage, ThreadQuery,
    };
    pub use ambidex_engine::{CacheStats, Earlier, OnBusy, Sessions, ThreadFile, ThreadOptions, Threads};
}

/// Several agents at once: teams, what their outputs are merged to, conversations that are handed on.
pub mod teams {
    pub use ambidex_engine::merge::{
        Action, Actor, AgentQuality, Asset, AssetConflict, AssetKind, Deployment, Failure, How, Integrated,
        MemberAt, MemberOutput, Members, Merge, MergeNodes, Names, PartQuality, Quality, Reduce, functions,
    };
    pub use ambidex_engine::team::{Analysis, Complexity, OnFailure, Part, TeamBuilder, TeamResult};
    pub use ambidex_engine::{AgentTool, HandoffBuilder, HandoffResult, Passed};
}

/// Workflows: how they are drawn.
pub mod workflow {
    pub use ambidex_engine::workflow::Format;
}

/// Models: providers over HTTP, scripts, retry, limits, an exact cache, routes over several models.
pub mod models {
    pub use ambidex_http::{Client, HeaderMap, Proxy, Tls};
    pub use ambidex_models::cache::{Cached, ReplyCache};
    pub use ambidex_models::human::HumanModel;
    pub use ambidex_models::limit::{Limit, Limiter, Limits};
    pub use ambidex_models::route::{
        Balance, Breaker, BreakerPolicy, BreakerState, Fallback, Hedge, Pick, Race, Stagger, Winner,
        another_target_may_help,
    };
    pub use ambidex_models::scripted::{Fault, ScriptedModel, Turn, When};
    pub use ambidex_models::{
        AfterFirstToken, Format, ModelConfig, Preset, ProviderModel, Retry, RetryBudget, RetryPolicy,
        Timeouts, collect,
    };
    pub use secrecy::SecretString;
}

/// Tools: functions, commands, HTTP endpoints, files.
pub mod tools {
    pub use ambidex_tools::{
        BlockingPool, BlockingTool, CommandSpec, CommandTool, FunctionTool, HttpSpec, HttpTool, files,
    };
}

/// Runs done again from their records, for a look and for tests.
pub mod replay {
    pub use ambidex_engine::{Difference, Point, RecordedCall, Recording, Replay, Replayed};
}

/// Stores of runs.
pub mod stores {
    pub use ambidex_core::memory::MemoryStore;
}

/// What `#[tool]` expands to names; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use ambidex_core::tool::EffectClass;
    pub use ambidex_core::{BoxFuture, Context, Error, Tool, ToolOutput, ToolSpec};
    pub use ambidex_tools::{BlockingTool, FunctionTool};
    pub use {schemars, serde, serde_json};
}

/// The examples of the README compile and hold.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
