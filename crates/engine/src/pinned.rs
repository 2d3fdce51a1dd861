//! What a pinned definition means for a model and its tools. A run keeps the one it began with.

use std::sync::Arc;

use ambidex_core::definition::{AgentDefinition, Approval, Definition, Pinned, PinnedTool};
use ambidex_core::model::{Model, OutputSchema, StructuredOutput};
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Error, ErrorKind};
use ambidex_tools::{Registered, Validator};
use serde_json::Value;

use crate::agent::{Agent, AgentRuntime};

/// Asks for the structured result, where the model has no way of its own: its arguments are the result.
pub(crate) const OUTPUT_TOOL: &str = "final_output";

/// What a model is told in every request of a run.
pub(crate) struct Told {
    /// The output tool included.
    pub(crate) specs: Arc<[Arc<ToolSpec>]>,
    pub(crate) instructions: Option<Arc<str>>,
    /// Given to the model where it enforces schemas itself.
    pub(crate) native_output: Option<Arc<OutputSchema>>,
}

impl Told {
    pub(crate) fn of(definition: &AgentDefinition) -> Self {
        let mut specs: Vec<_> = definition.tools.iter().map(|tool| tool.spec.clone()).collect();
        let mut instructions = definition.instructions.clone();
        if let (Some(output), Some(tool)) = (&definition.output, &definition.output_tool) {
            specs.push(Arc::new(output_tool_spec(tool, output)));
            if !instructions.is_empty() {
                instructions.push_str("\n\n");
            }
            instructions
                .push_str(&format!("Give your final answer by calling `{tool}`, once, and nothing else."));
        }
        let native = definition.output.as_ref().filter(|_| definition.output_tool.is_none());
        Self {
            specs: specs.into(),
            instructions: (!instructions.is_empty()).then(|| instructions.into()),
            native_output: native.cloned().map(Arc::new),
        }
    }
}

fn output_tool_spec(name: &str, output: &OutputSchema) -> ToolSpec {
    let mut spec = ToolSpec::new(name, format!("Gives the final answer: {}.", output.name));
    spec.input = output.schema.clone();
    spec
}

impl AgentRuntime {
    /// This agent for a run that began under a definition of its own: instructions, settings, limits and
    /// what the model is told about tools stay as they were then; model, code of tools and hooks are today's.
    ///
    /// # Errors
    /// `config_invalid`: a tool of the run is gone, or takes other arguments now.
    pub(crate) fn pinned_as(self: &Arc<Self>, pinned: &Pinned) -> Result<Arc<Self>, Error> {
        if pinned.hash == self.pinned.hash {
            return Ok(self.clone());
        }
        let Definition::Agent(definition) = &*pinned.definition else {
            return Err(Error::new(ErrorKind::Internal, "a graph's definition was taken for an agent's"));
        };
        for tool in &definition.tools {
            let name = &tool.spec.name;
            let what = match self.tools.get(name) {
                Some(registered) if registered.spec().input == tool.spec.input => continue,
                Some(_) => "now takes other arguments than when the run began",
                None => "is no longer a tool of the agent",
            };
            let text = format!(
                "the run cannot go on: `{name}` {what} (`{}`). Put it back as it was, or start a new run",
                self.name
            );
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        }
        self.defined_as(definition.clone(), pinned.clone())
    }

    /// This agent under another definition, whose tools it has.
    fn defined_as(
        self: &Arc<Self>,
        definition: Arc<AgentDefinition>,
        pinned: Pinned,
    ) -> Result<Arc<Self>, Error> {
        let Told { specs, instructions, native_output } = Told::of(&definition);
        let output = definition.output.as_ref().map(|output| Validator::new(&output.schema)).transpose()?;
        let output = output.map(Arc::new);
        Ok(Arc::new(Self {
            name: self.name.clone(),
            engine: self.engine.clone(),
            pinned,
            settings: Arc::new(definition.settings.clone()),
            definition,
            model: self.model.clone(),
            summariser: self.summariser.clone(),
            tools: self.tools.clone(),
            specs,
            instructions,
            native_output,
            output,
            hooks: self.hooks.clone(),
            stop_when: self.stop_when.clone(),
        }))
    }
}

/// The tool by which this model gives its output; none where it enforces schemas itself.
pub(crate) fn output_tool(model: &dyn Model, has_tools: bool) -> Option<String> {
    let native = match model.info().structured_output {
        StructuredOutput::Native => true,
        StructuredOutput::NativeWithoutTools => !has_tools,
        StructuredOutput::Tool => false,
    };
    (!native).then(|| OUTPUT_TOOL.to_owned())
}

impl Agent {
    /// The same agent with another output: its runs end with a value that matches this JSON Schema.
    ///
    /// # Errors
    /// `config_invalid`: the schema is none.
    pub fn with_output_schema(&self, name: impl Into<String>, schema: Value) -> Result<Self, Error> {
        let output = Some(OutputSchema { name: name.into(), schema });
        self.changed(|_, definition| definition.output = output)
    }

    /// The same agent with more tools; its runs end when one of them has succeeded and its round is over.
    ///
    /// # Errors
    /// `config_invalid`: it has a tool of that name already.
    pub(crate) fn ending_with(&self, tools: Vec<Arc<Registered>>) -> Result<Self, Error> {
        let taken = tools.iter().find(|tool| self.runtime.tools.contains_key(&tool.spec().name));
        if let Some(tool) = taken {
            let (name, tool) = (self.name(), &tool.spec().name);
            let text = format!("agent `{name}`: it has a tool `{tool}` already; rename that one");
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        }
        self.changed(|runtime, definition| {
            for tool in tools {
                let spec = tool.spec().clone();
                definition.stop.after_tools.push(spec.name.clone());
                runtime.tools.insert(spec.name.clone(), tool);
                definition.tools.push(PinnedTool { approval: Approval::Allow, spec: Arc::new(spec) });
            }
        })
    }

    fn changed(&self, change: impl FnOnce(&mut AgentRuntime, &mut AgentDefinition)) -> Result<Self, Error> {
        let mut runtime = AgentRuntime::clone(&self.runtime);
        let mut definition = AgentDefinition::clone(&runtime.definition);
        change(&mut runtime, &mut definition);
        definition.output_tool = match definition.output {
            Some(_) => output_tool(&*runtime.model, !runtime.tools.is_empty()),
            None => None,
        };
        let definition = Arc::new(definition);
        let pinned = Pinned::new(Definition::Agent(definition.clone())).map_err(|error| {
            let text = format!("agent `{}`: its definition cannot be stored: {error}", runtime.name);
            Error::new(ErrorKind::ConfigInvalid, text)
        })?;
        Ok(Self { runtime: Arc::new(runtime).defined_as(definition, pinned)? })
    }
}
