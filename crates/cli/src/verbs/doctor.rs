//! `ambidex doctor`: looks for what would not work here, and says what to do.

use std::time::{Duration, Instant};

use ambidex_config::{Config, Environment, Loaded, ModelSource, Provider, ProviderKind};
use ambidex_core::event::Status;
use ambidex_core::store::RunQuery;
use ambidex_engine::project::Project;
use ambidex_http::{Client, HeaderName, HeaderValue, Proxy, Request, Timeouts, Tls, Url};
use ambidex_store::Place;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::args::Common;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::number;

/// For one provider, from its name to its headers.
const PATIENCE: Duration = Duration::from_secs(8);
/// Open files below which many runs at once get into trouble.
const FEW_FILES: u64 = 1024;

/// What was found about one thing.
struct Finding {
    grade: Grade,
    what: String,
    found: String,
    remedy: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grade {
    Good,
    /// Nothing that must be mended.
    Told,
    Warning,
    Bad,
}

impl Finding {
    fn new(grade: Grade, what: &str, found: impl Into<String>) -> Self {
        Self { grade, what: what.to_owned(), found: found.into(), remedy: None }
    }

    fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = Some(text.into());
        self
    }
}

pub async fn doctor(
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let mut bad = false;
    let version = format!("{} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    show(Finding::new(Grade::Good, "ambidex", version), &mut bad, console)?;
    let loaded = match project::load(common, true) {
        Ok(loaded) => Some(loaded),
        Err(Failure::Config(errors)) => {
            let first = errors.iter().next().map(ToString::to_string).unwrap_or_default();
            let more = errors.iter().count().saturating_sub(1);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            let finding = Finding::new(Grade::Bad, "configuration", format!("{first}{more}"));
            show(finding.remedy("`ambidex config check` shows each place"), &mut bad, console)?;
            None
        }
        Err(other) => return Err(other),
    };
    if let Some(loaded) = &loaded {
        for finding in configuration(loaded) {
            show(finding, &mut bad, console)?;
        }
        let environment = Environment::of_process();
        for (name, provider) in &loaded.config.providers {
            let finding = tokio::select! {
                finding = examine(name, provider, &loaded.config, &environment) => finding,
                () = stop.cancelled() => return Err(Failure::new(Exit::Cancelled, "cancelled")),
            };
            show(finding, &mut bad, console)?;
        }
        for finding in tools(loaded, environment) {
            show(finding, &mut bad, console)?;
        }
        for finding in store(loaded).await {
            show(finding, &mut bad, console)?;
        }
    }
    show(folder(), &mut bad, console)?;
    show(open_files(), &mut bad, console)?;
    let finding = terminal(console);
    show(finding, &mut bad, console)?;
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

fn show(finding: Finding, bad: &mut bool, console: &mut Console) -> Result<(), Failure> {
    let paint = console.stdout_paint();
    *bad |= finding.grade == Grade::Bad;
    let mark = match finding.grade {
        Grade::Good => paint.green("✓"),
        Grade::Told => paint.dim("·"),
        Grade::Warning => paint.yellow("!"),
        Grade::Bad => paint.red("✗"),
    };
    let mut text = format!("{mark} {}  {}", paint.bold(&format!("{:13}", finding.what)), finding.found);
    if let Some(remedy) = &finding.remedy {
        text.push_str(&format!("\n  {:13}  {}", "", paint.with("34", &format!("→ {remedy}"))));
    }
    super::print(console, &text)?;
    console.flush().map_err(Failure::from_stdout)
}

fn configuration(loaded: &Loaded) -> Vec<Finding> {
    let files: Vec<_> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let first = if files.is_empty() {
        Finding::new(Grade::Told, "configuration", "no ambidex.toml; built-in settings")
            .remedy("`ambidex config init` writes one to begin with")
    } else {
        Finding::new(Grade::Good, "configuration", files.join(", "))
    };
    let config = &loaded.config;
    let agent = match config.default_agent() {
        Some((name, agent)) => {
            Finding::new(Grade::Good, "default agent", format!("{name}, on the model {}", agent.model))
        }
        None if config.agents.is_empty() => {
            Finding::new(Grade::Told, "default agent", "the built-in assistant, on the offline model")
        }
        None => Finding::new(Grade::Warning, "default agent", "none; each command must name one with -a")
            .remedy("set default_agent in ambidex.toml"),
    };
    vec![first, agent]
}

fn is_used(name: &str, config: &Config) -> bool {
    let of_model = config
        .models
        .values()
        .any(|model| matches!(&model.source, ModelSource::Provider { provider, .. } if provider == name));
    let inline = |model: &str| {
        !config.models.contains_key(model)
            && model.split_once(':').is_some_and(|(provider, _)| provider == name)
    };
    of_model
        || config.agents.values().any(|agent| inline(&agent.model))
        || config.routes.values().any(|route| route.targets.iter().any(|target| inline(target)))
}

async fn examine(name: &str, provider: &Provider, config: &Config, environment: &Environment) -> Finding {
    let used = is_used(name, config);
    let built_in = ["openai", "anthropic", "gemini", "ollama"].contains(&name);
    let key = match provider.resolve_key(environment) {
        Ok(key) => key,
        Err(_) if built_in && !used => {
            let variable = provider.kind.default_key().map(|name| format!(" ({name})")).unwrap_or_default();
            return Finding::new(Grade::Told, name, format!("no key, and no model uses it{variable}"));
        }
        Err(error) => {
            return Finding::new(Grade::Bad, name, error.to_string())
                .remedy("set the variable, or change `key` of the provider");
        }
    };
    let start = Instant::now();
    let asked = tokio::time::timeout(
        PATIENCE,
        ask(provider, key.as_ref().map(ExposeSecret::expose_secret), environment),
    );
    let status = match asked.await {
        Ok(Ok(status)) => status,
        // Nobody has to run a server for models that he does not use.
        Ok(Err(_)) if provider.kind == ProviderKind::Ollama && built_in && !used => {
            let found = format!("no server at {}, and no model uses it", provider.base_url);
            return Finding::new(Grade::Told, name, found);
        }
        Ok(Err(why)) => {
            return Finding::new(Grade::Bad, name, format!("{}: {why}", provider.base_url))
                .remedy("check base_url, the network, and HTTPS_PROXY or `proxy`");
        }
        Err(_) => {
            return Finding::new(
                Grade::Bad,
                name,
                format!("{}: no answer within {PATIENCE:?}", provider.base_url),
            )
            .remedy("check base_url, the network, and HTTPS_PROXY or `proxy`");
        }
    };
    let time = number::seconds(start.elapsed().as_secs_f64());
    let reached = format!("{} answers in {time}", provider.base_url);
    match status {
        401 | 403 if key.is_some() => {
            Finding::new(Grade::Bad, name, format!("{reached}, but refuses the key ({status})"))
                .remedy("get a new key from the provider")
        }
        401 | 403 => Finding::new(Grade::Bad, name, format!("{reached}, and wants a key ({status})"))
            .remedy("name one with `key` of the provider"),
        500.. => {
            Finding::new(Grade::Warning, name, format!("{reached}, with an error of its own ({status})"))
        }
        _ => Finding::new(Grade::Good, name, reached),
    }
}

/// Asks for the list of models, which costs nothing; a server without one still shows that it is there.
async fn ask(provider: &Provider, key: Option<&str>, environment: &Environment) -> Result<u16, String> {
    let bare = provider.base_url.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
    let path = match provider.kind {
        ProviderKind::Openai | ProviderKind::OpenaiResponses => "/models",
        ProviderKind::Anthropic => "/v1/models",
        ProviderKind::Gemini if bare => "/v1beta/models",
        ProviderKind::Gemini => "/models",
        ProviderKind::Ollama if provider.base_url.ends_with("/api") => "/tags",
        ProviderKind::Ollama => "/api/tags",
    };
    let url = Url::parse(&format!("{}{path}", provider.base_url)).map_err(|error| error.to_string())?;
    let mut builder = Client::builder().http2(provider.pool.http2);
    match &provider.proxy {
        Some(ambidex_config::Proxy::Url(url)) if url == "none" => builder = builder.proxy(Proxy::Off),
        Some(ambidex_config::Proxy::Url(url)) => {
            builder = builder.proxy(Proxy::Through { url: url.clone(), except: String::new() });
        }
        Some(ambidex_config::Proxy::Secret(secret)) => {
            let url = secret.resolve(environment).map_err(|error| error.to_string())?;
            let url = url.expose_secret().to_owned();
            builder = builder.proxy(Proxy::Through { url, except: String::new() });
        }
        None => {}
    }
    if let Some(file) = &provider.ca_file {
        builder = builder.tls(Tls::with_ca_file(file).map_err(|error| error.to_string())?);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    let timeouts = Timeouts { connect: Some(Duration::from_secs(5)), first_byte: Some(PATIENCE) };
    let mut request = Request::get(url).timeouts(timeouts);
    if let Some(key) = key {
        let (name, text) = match provider.kind {
            ProviderKind::Openai | ProviderKind::OpenaiResponses | ProviderKind::Ollama => {
                ("authorization", format!("Bearer {key}"))
            }
            ProviderKind::Anthropic => ("x-api-key", key.to_owned()),
            ProviderKind::Gemini => ("x-goog-api-key", key.to_owned()),
        };
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| "the key holds characters no header can".to_owned())?;
        value.set_sensitive(true);
        request = request.header(HeaderName::from_static(name), value);
    }
    if provider.kind == ProviderKind::Anthropic {
        let version = HeaderValue::from_static("2023-06-01");
        request = request.header(HeaderName::from_static("anthropic-version"), version);
    }
    let response = client.send(request).await.map_err(|error| error.to_string())?;
    Ok(response.status().as_u16())
}

/// Tools that cannot be used, such as for a key that is not set.
fn tools(loaded: &Loaded, environment: Environment) -> Vec<Finding> {
    let mut project = Project::new(loaded.clone(), environment);
    let failed = |name: &String| {
        let error = project.tool(name).err()?;
        Some(Finding::new(Grade::Bad, "tools", error.message()))
    };
    loaded.config.tools.keys().filter_map(failed).collect()
}

/// Whether the store can be used, and what is in it is sound. A file that is not there yet is not made.
async fn store(loaded: &Loaded) -> Vec<Finding> {
    let bad = |failure: Failure| match failure {
        Failure::Said { message, help, .. } => {
            let finding = Finding::new(Grade::Bad, "store", message);
            vec![help.into_iter().fold(finding, Finding::remedy)]
        }
        _ => vec![],
    };
    let place = match crate::store::place(loaded, &Environment::of_process()) {
        Ok(Some(place)) => place,
        Ok(None) => {
            let found =
                "memory: a run lives and dies with its process; one that waits or pauses is kept in a file";
            return vec![Finding::new(Grade::Told, "store", found)];
        }
        Err(failure) => return bad(failure),
    };
    if let Place::Sqlite(path) = &place
        && !path.exists()
    {
        let found = format!("{} is made by the first run", path.display());
        return vec![Finding::new(Grade::Told, "store", found)];
    }
    let opened = match crate::store::open_at(&place, loaded).await {
        Ok(opened) => opened,
        Err(failure) => return bad(failure),
    };
    let checked = opened.check().await;
    let promise = opened.durability().promise();
    let waiting =
        RunQuery { status: vec![Status::Waiting, Status::Paused], limit: 1000, ..RunQuery::default() };
    let resting = opened.as_any().runs(waiting).await;
    crate::store::close(Some(opened)).await;
    let name = match &place {
        Place::Sqlite(path) => path.display().to_string(),
        Place::Postgres(_) => "Postgres".into(),
    };
    let wrong = match checked {
        Ok(wrong) => wrong,
        Err(error) => return bad(crate::store::failed(error)),
    };
    if wrong.is_empty() {
        let resting = resting.map_or(0, |page| page.runs.len());
        let rest = if resting > 0 { format!("; {resting} runs wait or are paused") } else { String::new() };
        return vec![Finding::new(Grade::Good, "store", format!("{name}: sound; {promise}{rest}"))];
    }
    let found = |text| Finding::new(Grade::Bad, "store", format!("{name}: {text}"));
    let mut findings: Vec<_> = wrong.into_iter().map(found).collect();
    if let Some(last) = findings.pop() {
        findings.push(last.remedy("keep a copy of it, and begin another one under store.url"));
    }
    findings
}

/// Whether a run that waits can be kept here.
fn folder() -> Finding {
    let probe = format!(".ambidex-doctor-{}", std::process::id());
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    match made.and_then(|_| std::fs::remove_file(&probe)) {
        Ok(()) => Finding::new(Grade::Good, "this folder", "can be written to"),
        Err(error) => Finding::new(Grade::Warning, "this folder", format!("cannot be written to: {error}"))
            .remedy("runs that wait are kept in your data folder instead"),
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < FEW_FILES => {
            Finding::new(Grade::Warning, "open files", format!("at most {limit}"))
                .remedy(format!("`ulimit -n {}` before starting many runs at once", FEW_FILES * 8))
        }
        Some(limit) => Finding::new(Grade::Good, "open files", format!("at most {}", number::grouped(limit))),
        None => Finding::new(Grade::Good, "open files", "without a limit"),
    }
}

fn terminal(console: &Console) -> Finding {
    if !console.stdout_is_terminal() {
        return Finding::new(Grade::Told, "terminal", "stdout is none: no colours, the final text alone");
    }
    let colours = if console.stdout_paint().is_on() { "colours" } else { "no colours" };
    let found = format!("{} columns, {colours}", console.width());
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    let upper = set.unwrap_or_default().to_uppercase();
    if upper.contains("UTF-8") || upper.contains("UTF8") {
        return Finding::new(Grade::Good, "terminal", format!("{found}, UTF-8"));
    }
    Finding::new(Grade::Told, "terminal", format!("{found}; the locale does not say UTF-8"))
        .remedy("if marks look broken: export LC_ALL=C.UTF-8")
}
