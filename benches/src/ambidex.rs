//! Ambidex: agents as a user would write them. A chat is watched while it streams; an agent run is awaited,
//! as the bare loops do it.

use std::str::FromStr;
use std::sync::Arc;

use ambidex::models::{
    Client, Format, ModelConfig, ProviderModel, Retry, RetryBudget, RetryPolicy, SecretString,
};
use ambidex::tools::FunctionTool;
use ambidex::{Agent, EffectClass, Engine, Error, ErrorKind, EventKind, Model, ToolOutput, ToolSpec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Result;
use crate::contender::{Contender, Setup};
use crate::toolbox::{READ_FILE, READ_FILE_SCHEMA, SEARCH_FILES, SEARCH_FILES_SCHEMA, SYSTEM, TASK, Toolbox};

/// The upstream as a provider of models; they share one pool of connections and one budget of retries.
pub struct Provider {
    client: Client,
    base_url: String,
    budget: Arc<RetryBudget>,
}

impl Provider {
    pub fn new(setup: &Setup) -> Result<Self> {
        let client = Client::builder().proxy(ambidex::models::Proxy::Off).build()?;
        let base_url = format!("http://{}/v1", setup.upstream);
        Ok(Self { client, base_url, budget: Arc::new(RetryBudget::default()) })
    }

    /// A model as a configuration builds it: its calls are retried.
    pub fn model(&self, name: &str) -> Result<Arc<dyn Model>> {
        let mut config = ModelConfig::new(Format::OpenAiChat, "bench", name, self.base_url.clone());
        config.key = Some(SecretString::from("sk-bench"));
        let model = Arc::new(ProviderModel::new(config, self.client.clone())?);
        Ok(Arc::new(Retry::new(model, RetryPolicy::default(), self.budget.clone())))
    }
}

pub struct Ambidex {
    chat: Agent,
    agent: Agent,
}

impl Ambidex {
    pub fn new(setup: &Setup) -> Result<Self> {
        Self::over(Provider::new(setup)?.model(&setup.model)?, setup, &Engine::default())
    }

    /// Agents that use this model.
    pub fn over(model: Arc<dyn Model>, setup: &Setup, engine: &Engine) -> Result<Self> {
        let agent = || {
            Agent::builder()
                .engine(engine)
                .shared_model(model.clone())
                .instructions(SYSTEM)
                .max_iterations(2_000)
        };
        let toolbox = &setup.toolbox;
        let read =
            tool("read_file", READ_FILE, READ_FILE_SCHEMA, toolbox, |toolbox, arguments| async move {
                toolbox.read_file(arguments).await
            })?;
        let search = tool(
            "search_files",
            SEARCH_FILES,
            SEARCH_FILES_SCHEMA,
            toolbox,
            |toolbox, arguments| async move { toolbox.search_files(arguments).await },
        )?;
        Ok(Self { chat: agent().build()?, agent: agent().tool(read).tool(search).build()? })
    }
}

fn tool<A: DeserializeOwned + Send + 'static, F, Fut>(
    name: &str,
    description: &str,
    schema: &str,
    toolbox: &Arc<Toolbox>,
    call: F,
) -> Result<FunctionTool>
where
    F: Fn(Arc<Toolbox>, A) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<String>> + Send + 'static,
{
    let mut spec = ToolSpec::new(name, description);
    spec.input = Value::from_str(schema)?;
    spec.effect = EffectClass::Read;
    spec.concurrency = Some(1_000_000);
    let toolbox = toolbox.clone();
    Ok(FunctionTool::dynamic(spec, move |arguments: Value, _| {
        let (toolbox, call) = (toolbox.clone(), call.clone());
        async move {
            let failed = |error: String| Error::new(ErrorKind::ToolFailed, error);
            let arguments = serde_json::from_value(arguments).map_err(|error| failed(error.to_string()))?;
            let text = call(toolbox, arguments).await.map_err(|error| failed(error.to_string()))?;
            Ok(ToolOutput::Text(text))
        }
    }))
}

/// The text of the last reply, as it is streamed.
async fn last_text(agent: &Agent) -> Result<usize> {
    let mut events = agent.stream(TASK)?;
    let mut bytes = 0;
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::ModelStarted { .. } => bytes = 0,
            EventKind::ModelDelta { text } => bytes += text.len(),
            EventKind::RunFinished { error: Some(error), .. } => return Err(error.into()),
            _ => {}
        }
    }
    Ok(bytes)
}

impl Contender for Ambidex {
    async fn chat(&self) -> Result<usize> {
        last_text(&self.chat).await
    }

    async fn agent(&self) -> Result<usize> {
        Ok(self.agent.run(TASK).await?.text.len())
    }
}
