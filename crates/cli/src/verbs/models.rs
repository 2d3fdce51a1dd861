//! `ambidex models`: what is configured, and whether it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex_config::{Model as Configured, ModelSource, Route, Script, Strategy};
use ambidex_core::{Chunk, Context, Error, ErrorKind, Request, Usage};
use ambidex_engine::project::{ConfiguredModel, Project};
use ambidex_models::OfferedModel;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::args::{Common, ModelsVerb};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hint::hint;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::{number, pretty};
use crate::table::table;

use super::bench;

/// Of one call of `models test`.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest reply to a test, where the model has no smaller limit; room for a model that thinks first.
const TOKENS: u32 = 256;

pub async fn models(
    verb: &ModelsVerb,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    match verb {
        ModelsVerb::List { provider: None, json } => list(&project::open(common)?, *json, console),
        ModelsVerb::List { provider: Some(provider), json } => {
            offered(project::open(common)?, provider, *json, console, at_once).await
        }
        ModelsVerb::Test { names, json } => {
            test(project::open(common)?, names, *json, console, at_once).await
        }
        ModelsVerb::Bench(args) => bench::bench(args, common, console, at_once).await,
    }
}

fn list(project: &Project, as_json: bool, console: &mut Console) -> Result<Exit, Failure> {
    let (models, routes) = (&project.config().models, &project.config().routes);
    if as_json {
        let models = models.iter().map(|(name, model)| describe(name, model));
        let routes = routes.iter().map(|(name, route)| describe_route(name, route));
        let all: Vec<Value> = models.chain(routes).collect();
        return super::print(console, &pretty(&Value::Array(all), console.stdout_paint()));
    }
    let rows: Vec<Vec<String>> = models.iter().map(|(name, model)| row(name, model)).collect();
    let head = ["MODEL", "PROVIDER", "NAME THERE", "PRICE IN / OUT", "CONTEXT"];
    super::print(console, &table(&head, &rows, console.stdout_paint()))?;
    if !routes.is_empty() {
        let row = |(name, route): (&String, &Route)| {
            vec![name.clone(), strategy(route).to_owned(), route.targets.join(", ")]
        };
        let rows: Vec<Vec<String>> = routes.iter().map(row).collect();
        super::print(console, "\n")?;
        super::print(console, &table(&["ROUTE", "STRATEGY", "USES"], &rows, console.stdout_paint()))?;
    }
    let providers: Vec<_> = project.config().providers.keys().map(|name| format!("{name}:NAME")).collect();
    console.say(
        &console.stderr_paint().dim(&format!("also, without being configured: {}", providers.join(", "))),
    );
    Ok(Exit::Done)
}

/// What a provider says it has.
async fn offered(
    mut project: Project,
    provider: &str,
    as_json: bool,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let asked = project.provider(provider).map_err(|error| Failure::building(&error))?;
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let models = tokio::select! {
        models = asked.offered() => models.map_err(|error| Failure::building(&error))?,
        () = stop.cancelled() => return Err(Failure::new(Exit::Cancelled, "cancelled")),
    };
    if as_json {
        let object = |model: &OfferedModel| {
            json!({
                "name": format!("{provider}:{}", model.id),
                "model": model.id,
                "context": model.context,
                "about": model.about,
            })
        };
        let all: Vec<Value> = models.iter().map(object).collect();
        super::print(console, &pretty(&Value::Array(all), console.stdout_paint()))?;
        return Ok(Exit::Done);
    }
    let row = |model: &OfferedModel| {
        let context = model.context.map_or_else(|| "-".to_owned(), number::grouped);
        vec![format!("{provider}:{}", model.id), context, model.about.clone().unwrap_or_default()]
    };
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    super::print(console, &table(&["MODEL", "CONTEXT", "ABOUT"], &rows, console.stdout_paint()))
}

/// All models and routes, but people: they are not asked to see whether they are there.
pub fn configured(project: &Project) -> Vec<String> {
    let config = project.config();
    let models = config.models.iter().filter(|(_, model)| !is_human(model)).map(|(name, _)| name);
    models.chain(config.routes.keys()).cloned().collect()
}

fn is_human(model: &Configured) -> bool {
    matches!(model.source, ModelSource::Human { .. })
}

/// Refuses to call a person for nothing.
pub fn check_not_human(project: &Project, name: &str) -> Result<(), Failure> {
    match project.config().models.get(name) {
        Some(model) if is_human(model) => {
            let text = format!("`{name}` is a person, who is asked in runs only");
            Err(Failure::usage(text).help(format!("ask him: ambidex run -m {name} TASK")))
        }
        _ => Ok(()),
    }
}

fn source(model: &Configured) -> (String, String) {
    match &model.source {
        ModelSource::Provider { provider, name } => (provider.clone(), name.clone()),
        ModelSource::Scripted { script: Script::Builtin(name) } => {
            ("scripted".into(), format!("builtin:{name}"))
        }
        ModelSource::Scripted { script: Script::File(path) } => {
            ("scripted".into(), path.display().to_string())
        }
        ModelSource::Human { queue, .. } => ("human".into(), queue.clone().unwrap_or_default()),
    }
}

fn row(name: &str, model: &Configured) -> Vec<String> {
    let (provider, there) = source(model);
    let price = model
        .price
        .as_ref()
        .map_or_else(|| "-".to_owned(), |price| format!("${} / ${} per 1M", price.input, price.output));
    let context = model.context.map_or_else(|| "-".to_owned(), |tokens| number::grouped(tokens.into()));
    vec![name.to_owned(), provider, there, price, context]
}

fn describe(name: &str, model: &Configured) -> Value {
    let (provider, there) = source(model);
    json!({
        "name": name,
        "provider": provider,
        "model": there,
        "price": model.price,
        "context": model.context,
        "max_tokens": model.max_tokens,
    })
}

fn strategy(route: &Route) -> &'static str {
    match route.strategy {
        Strategy::Fallback => "fallback",
        Strategy::Race { .. } => "race",
        Strategy::Hedge { .. } => "hedge",
        Strategy::Balance { .. } => "balance",
    }
}

fn describe_route(name: &str, route: &Route) -> Value {
    json!({ "name": name, "route": strategy(route), "use": route.targets })
}

/// One call of a model.
pub struct Called {
    pub first_token: Option<Duration>,
    pub total: Duration,
    /// What it used, also if it failed.
    pub usage: Usage,
    pub ended: Result<(), Error>,
}

impl Called {
    /// A model that cannot even be called.
    pub fn failed(error: Error) -> Self {
        Self { first_token: None, total: Duration::ZERO, usage: Usage::default(), ended: Err(error) }
    }
}

async fn test(
    mut project: Project,
    names: &[String],
    as_json: bool,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    for name in names {
        project::check_model(&project, Some(name))?;
        check_not_human(&project, name)?;
    }
    let names: Vec<String> = if names.is_empty() { configured(&project) } else { names.to_vec() };
    let paint = console.stdout_paint();
    let (mut failed, mut all) = (false, Vec::new());
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for name in names {
        let tested = match project.model(&name) {
            Ok(model) => call(&model, "Answer with the word ok.", Some(TOKENS), TIMEOUT, &stop).await,
            Err(error) => Called::failed(error),
        };
        if stop.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, "cancelled"));
        }
        failed |= tested.ended.is_err();
        if as_json {
            all.push(object(&name, &tested));
            continue;
        }
        let line = match &tested.ended {
            Ok(()) => format!("{} {name:width$}  {}", paint.green("✓"), paint.dim(&timing(&tested))),
            Err(error) => {
                let mut line = format!("{} {name:width$}  {error}", paint.red("✗"));
                if let Some(hint) = hint(error) {
                    line.push_str(&format!("\n  {}", paint.dim(&format!("= help: {hint}"))));
                }
                line
            }
        };
        super::print(console, &line)?;
        console.flush().map_err(Failure::from_stdout)?;
    }
    if as_json {
        super::print(console, &pretty(&Value::Array(all), paint))?;
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn timing(tested: &Called) -> String {
    let usage = &tested.usage;
    let mut parts = Vec::new();
    if let Some(first) = tested.first_token {
        parts.push(format!("first token {}", number::seconds(first.as_secs_f64())));
    }
    parts.push(format!("total {}", number::seconds(tested.total.as_secs_f64())));
    parts.push(format!("{} in / {} out tokens", usage.input_tokens, usage.output_tokens));
    parts.extend(usage.usd.map(number::dollars));
    parts.join(" · ")
}

fn object(name: &str, tested: &Called) -> Value {
    let (usage, error) = match &tested.ended {
        Ok(()) => (json!(tested.usage), Value::Null),
        Err(error) => (
            Value::Null,
            json!({"code": error.code(), "message": error.message(), "retryable": error.is_retryable()}),
        ),
    };
    json!({
        "name": name,
        "ok": tested.ended.is_ok(),
        "first_token_seconds": tested.first_token.map(|time| time.as_secs_f64()),
        "seconds": tested.total.as_secs_f64(),
        "usage": usage,
        "error": error,
    })
}

/// Calls a model once, and reads its answer to the end.
pub async fn call(
    model: &ConfiguredModel,
    prompt: &str,
    most_tokens: Option<u32>,
    limit: Duration,
    stop: &CancellationToken,
) -> Called {
    let mut settings = model.settings.clone();
    settings.max_tokens = match (settings.max_tokens, most_tokens) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let request = Request { settings: Arc::new(settings), ..Request::user(prompt) };
    let start = Instant::now();
    let (mut first_token, mut usage) = (None, Usage::default());
    let mut stream = model.model.stream(request, Context::detached());
    let reading = async {
        let mut whole = false;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if chunk.is_content() {
                first_token.get_or_insert_with(|| start.elapsed());
            }
            match chunk {
                Chunk::Usage(latest) => usage = latest,
                Chunk::End(_) => whole = true,
                _ => {}
            }
        }
        if whole {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::StreamTruncated, "the answer ended before its terminal event"))
        }
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(limit, reading) => ended.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, format!("no whole answer within {limit:?}")))
        }),
        () = stop.cancelled() => Err(Error::cancelled()),
    };
    usage.usd = usage.usd.or_else(|| model.model.info().price.map(|price| price.cost(&usage)));
    Called { first_token, total: start.elapsed(), usage, ended }
}
