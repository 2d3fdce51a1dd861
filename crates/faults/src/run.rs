//! Carries one row out: a provider of its own, a client of its own, an agent and its run.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use ambidex::models::{
    Client, Format, ModelConfig, ProviderModel, Retry, RetryBudget, RetryPolicy, Timeouts,
};
use ambidex::{Agent, Error, ErrorKind, Model, RunError, RunOptions, RunResult};
use ambidex_fake_provider::{FakeProvider, Wire};
use tokio::time::{Duration, sleep, timeout};

use crate::case::Case;
use crate::limits;
use crate::scenario::{MAX_ITERATIONS, Ran, TASK, script, tools};
use crate::seen::{AtProvider, Row, Watched, lines};

/// Must not be seen in any message.
pub const KEY: &str = "sk-very-secret";

/// Where a model finds its provider.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub format: Format,
    pub base_url: String,
    pub timeouts: Timeouts,
}

/// Makes the model that meets the faults.
pub trait Connect: Send + Sync {
    /// # Errors
    /// The model cannot be made.
    fn connect(&self, endpoint: &Endpoint, client: &Client) -> Result<Arc<dyn Model>, Error>;
}

/// The model under test: a provider's model with the retry layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Provider;

impl Connect for Provider {
    fn connect(&self, endpoint: &Endpoint, client: &Client) -> Result<Arc<dyn Model>, Error> {
        let policy = RetryPolicy {
            base: Duration::from_millis(20),
            cap: Duration::from_millis(100),
            ..RetryPolicy::default()
        };
        let model = Arc::new(provider_model(endpoint, client)?);
        // Without jitter a wait is what the provider asked for, and no more.
        let retry = Retry::new(model, policy, Arc::new(RetryBudget::default())).with_random(Arc::new(|| 0.0));
        Ok(Arc::new(retry))
    }
}

/// The model without the retry layer.
///
/// # Errors
/// The base URL cannot be used.
pub fn provider_model(endpoint: &Endpoint, client: &Client) -> Result<ProviderModel, Error> {
    let mut config = ModelConfig::new(endpoint.format, "fake", "fake-1", endpoint.base_url.clone());
    config.key = Some(KEY.into());
    config.timeouts = endpoint.timeouts;
    ProviderModel::new(config, client.clone())
}

/// Carries out one row.
///
/// # Errors
/// The row could not even begin.
pub async fn row(case: Case, connect: &dyn Connect) -> Result<Row, Error> {
    let internal = |error: String| Error::new(ErrorKind::Internal, error);
    let provider = FakeProvider::start(script(case)).await.map_err(|error| internal(error.to_string()))?;
    let (format, base_url) = match case.wire {
        Wire::OpenAi => (Format::OpenAiChat, provider.base_url_openai()),
        Wire::Anthropic => (Format::Anthropic, provider.base_url_anthropic()),
        Wire::Responses => (Format::OpenAiResponses, provider.base_url_openai()),
        Wire::Gemini => (Format::Gemini, provider.base_url_gemini()),
        Wire::Ollama => (Format::Ollama, provider.base_url_ollama()),
    };
    let endpoint = Endpoint { format, base_url, timeouts: limits::timeouts(case.fault) };
    let client = Client::builder().build().map_err(|error| internal(error.to_string()))?;
    let ran = Ran::default();
    let [list, size] = tools(&ran);
    let agent = Agent::builder()
        .shared_model(connect.connect(&endpoint, &client)?)
        .tool(list)
        .tool(size)
        .max_iterations(MAX_ITERATIONS)
        .build()?;

    let started = Instant::now();
    let mut handle = agent.start(TASK, RunOptions::default())?;
    let mut events = handle.take_events();
    let mut watched = Watched::default();
    let watching = async {
        while let Some(event) = events.next().await {
            watched.take(event);
        }
    };
    let mut lateness = Duration::ZERO;
    let running = async { tokio::join!(handle.outcome(), watching) };
    let ended = tokio::select! {
        ended = timeout(limits::ROW, running) => ended,
        never = watch_lateness(&mut lateness) => match never {},
    };
    let took = started.elapsed();
    let ended = ended.ok().map(|(outcome, ())| outcome);

    // What was given up must be seen as given up, and nothing else may stay open.
    let _late = timeout(limits::CLOSING, provider.wait_until_idle()).await;
    let resting = client.census().idle;
    let _late = timeout(limits::CLOSING, provider.wait_for_open_connections(resting)).await;
    let sockets_held = provider.open_connections().saturating_sub(resting);
    drop((agent, client));
    let _late = timeout(limits::CLOSING, provider.wait_for_open_connections(0)).await;
    let sockets_left = provider.open_connections();
    let at_provider = AtProvider::of(&provider.requests(), &provider.hangups());
    provider.shutdown().await;

    let (result, error) = match ended {
        Some(Ok(result)) => (Some(result), None),
        Some(Err(RunError { error, result })) => (result.map(|result| *result), Some(error)),
        None => (None, None),
    };
    Ok(Row {
        case,
        status: result.as_ref().map(|result| result.status),
        code: error.as_ref().map(|error| error.code().to_owned()),
        message: error.as_ref().map(ToString::to_string).unwrap_or_default(),
        completed: result.as_ref().is_some_and(|result| result.task_completed),
        text: result.as_ref().map(|result| result.text.clone()).unwrap_or_default(),
        history: result.as_ref().map(history).unwrap_or_default(),
        watched,
        ran: ran.calls(),
        provider: at_provider,
        sockets_held,
        sockets_left,
        took,
        lateness,
    })
}

/// Notes how much later than wanted a sleeper wakes, for ever.
async fn watch_lateness(worst: &mut Duration) -> Infallible {
    const TICK: Duration = Duration::from_millis(20);
    loop {
        let started = Instant::now();
        sleep(TICK).await;
        *worst = started.elapsed().saturating_sub(TICK).max(*worst);
    }
}

fn history(result: &RunResult) -> Vec<crate::scenario::Line> {
    lines(result.messages.iter().map(|message| &**message))
}
