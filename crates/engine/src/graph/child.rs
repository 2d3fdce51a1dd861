//! A node's run of its own: what carries it out, what it begins with, and its end as the node's result.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::budget::{Budget, Grant};
use ambidex_core::event::Status;
use ambidex_core::graph::{NodeCall, NodeWork};
use ambidex_core::message::Message;
use ambidex_core::record::{Outcome, Output, RunInput};
use ambidex_core::{Context, Error, ErrorKind};
use serde_json::Value;

use super::cache::cached;
use super::runtime::GraphRuntime;
use crate::carrier::{Carrier, Runnable};
use crate::perform::Ended;
use crate::result::RunResult;
use crate::sub_run::{Stopped, SubRun};

/// The run of a node.
pub(crate) struct Child {
    pub(crate) graph: Arc<GraphRuntime>,
    /// Its id.
    pub(crate) run: String,
    pub(crate) call: NodeCall,
    pub(crate) context: Context,
    /// What it may use.
    pub(crate) budget: Budget,
    /// It may have been started before.
    pub(crate) known: bool,
    /// What its parent was resumed with: it passes to a child that is paused.
    pub(crate) grant: Option<Grant>,
}

impl Child {
    pub(crate) async fn ended(self) -> Ended {
        if !self.call.definition().cache {
            return Box::pin(self.rested_for_good()).await;
        }
        let input = match self.graph.input(&self.call) {
            Ok(input) => input,
            Err(error) => return Err(error).into(),
        };
        let (graph, call) = (self.graph.clone(), self.call.clone());
        Box::pin(cached(&graph, &call, &input, self.rested_for_good())).await
    }

    async fn rested_for_good(self) -> Ended {
        match self.result().await {
            Ok(output) => Ok(output).into(),
            Err(Stopped::Failed(error)) => Err(error).into(),
            Err(Stopped::Driver(error)) => Ended::Driver(Box::new(error)),
            Err(Stopped::Paused(why)) => Ended::Paused(why),
        }
    }

    async fn result(self) -> Result<Output, Stopped> {
        let carrier = self.carrier().map_err(Stopped::Failed)?;
        let input = self.input(&carrier).map_err(Stopped::Failed)?;
        let Self { run, context, budget, known, grant, call, .. } = self;
        let limit = call.definition().timeout_ms.map(Duration::from_millis);
        let ended =
            SubRun { carrier, run, input, context: context.clone(), budget, limit, known, grant }.ended();
        output(&ended.await?, &context).map_err(Stopped::Failed)
    }

    /// What carries out the child.
    fn carrier(&self) -> Result<Carrier, Error> {
        let table = &self.graph.table;
        let (runnable, name, pinned) = match &self.call.definition().work {
            NodeWork::Agent { agent, pinned } => (table.agents.get(agent), agent, pinned),
            NodeWork::Graph { graph, pinned } => (table.graphs.get(graph), graph, pinned),
            _ => return Err(Error::new(ErrorKind::Internal, "the node has no run of its own")),
        };
        let carrier = match (runnable, table.made.get(name)) {
            (Some(runnable), _) => runnable.carrier(),
            (None, Some(make)) => {
                Runnable::Graph(make(&self.graph.input(&self.call)?)?).on(&self.graph.engine).carrier()
            }
            (None, None) => {
                return Err(Error::new(ErrorKind::ConfigInvalid, format!("there is no `{name}` here")));
            }
        };
        match pinned {
            Some(pinned) if *pinned != carrier.pinned().hash => {
                let text =
                    format!("`{name}` is not what it was when the graph was made; make the graph again");
                Err(Error::new(ErrorKind::ConfigInvalid, text))
            }
            _ => Ok(carrier),
        }
    }

    fn input(&self, carrier: &Carrier) -> Result<RunInput, Error> {
        let input = self.graph.input(&self.call)?;
        Ok(match (carrier, input) {
            (Carrier::Agent(_), Value::String(text)) => vec![Message::user(text)].into(),
            (Carrier::Agent(_), other) => vec![Message::user(other.to_string())].into(),
            (Carrier::Graph(_), Value::Object(state)) => state.into(),
            (Carrier::Graph(_), other) => {
                let text = format!("a graph begins with an object of fields, and its input is `{other}`");
                return Err(Error::new(ErrorKind::InvalidArguments, text));
            }
        })
    }
}

/// A child that has ended, as its node's result.
fn output(result: &RunResult, context: &Context) -> Result<Output, Error> {
    let outcome = match (&result.error, result.status) {
        (None, _) => Outcome::Succeeded {
            text: result.text.clone(),
            output: result.output.clone(),
            completed: result.task_completed,
        },
        (Some(error), _) if context.is_cancelled() => {
            return Err(Error::cancelled().with_usage(result.usage).context(error.message()));
        }
        (Some(_), Status::Cancelled) => Outcome::Cancelled,
        (Some(error), _) => Outcome::Failed(error.clone()),
    };
    Ok(Output::Child { outcome: Box::new(outcome), usage: Box::new(result.usage) })
}
