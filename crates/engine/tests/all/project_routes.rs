//! Routes, limits and the cache of a configuration, over real providers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex_config::{Environment, LoadOptions, Style, load};
use ambidex_core::chunk::{AttemptEnd, RouteNote};
use ambidex_core::model::Settings;
use ambidex_core::{Chunk, Context, Error, ErrorKind, Message, Request};
use ambidex_engine::project::{AgentChanges, ConfiguredModel, Project};
use ambidex_fake_provider::{FakeProvider, Fault, Script, Turn, When};
use ambidex_models::collect;
use futures_util::StreamExt;

fn project(text: &str) -> Project {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some(text.into());
    options.environment = Environment::from_iter([("KEY", "sk-fake")]);
    let loaded = load(&options).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain)));
    Project::new(loaded, options.environment.clone())
}

fn provider(name: &str, at: &FakeProvider, more: &str) -> String {
    let url = at.base_url_openai();
    format!(
        "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{url}\"\nkey = {{ env = \"KEY\" }}\n{more}\n"
    )
}

fn model(name: &str, provider: &str, more: &str) -> String {
    format!("[models.{name}]\nprovider = \"{provider}\"\nname = \"fake-1\"\n{more}\n")
}

async fn answering(text: &str) -> FakeProvider {
    FakeProvider::start(Script::text(text)).await.unwrap()
}

async fn dead() -> FakeProvider {
    FakeProvider::start(Script::text("x").with_fault(Fault::Status500, When::Always)).await.unwrap()
}

fn request(model: &ConfiguredModel) -> Request {
    Request { settings: Arc::new(model.settings.clone()), ..Request::user("Hi") }
}

async fn ask(model: &ConfiguredModel) -> Result<String, Error> {
    collect(model.model.stream(request(model), Context::detached())).await.map(|reply| reply.text())
}

async fn notes(model: &ConfiguredModel) -> Vec<RouteNote> {
    let chunks: Vec<_> = model.model.stream(request(model), Context::detached()).collect().await;
    let note = |chunk| match chunk {
        Ok(Chunk::Note(note)) => Some(note),
        _ => None,
    };
    chunks.into_iter().filter_map(note).collect()
}

#[tokio::test]
async fn an_agent_on_a_route_gets_the_answer_of_the_target_that_has_one() {
    let (bad, good) = (dead().await, answering("from the second").await);
    let text = [
        provider("one", &bad, ""),
        provider("two", &good, ""),
        model("a", "one", ""),
        "[routes.smart]\nstrategy = \"fallback\"\nuse = [\"a\", \"two:fake-1\"]\n".into(),
        "[agents.writer]\nmodel = \"smart\"\n".into(),
        "[agents.other]\nmodel = \"demo\"\n".into(),
    ];
    let mut project = project(&text.concat());
    for (agent, route) in [("writer", None), ("other", Some("smart".to_owned()))] {
        let changes = AgentChanges { model: route, ..AgentChanges::default() };
        let result = project.agent(agent, &changes).unwrap().run("Hi").await.unwrap();
        assert_eq!(result.text, "from the second", "{agent}");
    }
    assert_eq!((bad.request_count(), good.request_count()), (2, 2), "one attempt each, and no wait");
    bad.shutdown().await;
    good.shutdown().await;
}

#[tokio::test]
async fn every_strategy_answers_also_nested() {
    let (one, two) = (answering("yes").await, answering("yes").await);
    let text = [
        provider("one", &one, ""),
        provider("two", &two, ""),
        model("a", "one", ""),
        model("b", "two", ""),
        "[routes.f]\nstrategy = \"fallback\"\nuse = [\"a\", \"b\"]\nafter_first_token = \"fail\"\n".into(),
        "[routes.r]\nstrategy = \"race\"\nuse = [\"a\", \"b\"]\nwinner = \"first_valid\"\n".into(),
        "[routes.h]\nstrategy = \"hedge\"\nuse = [\"a\", \"b\"]\nstagger = \"10s\"\n".into(),
        "[routes.p]\nstrategy = \"hedge\"\nuse = [\"a\", \"a\"]\n".into(),
        "[routes.w]\nstrategy = \"balance\"\nuse = [\"a\", \"b\"]\npick = \"weighted\"\nweights = { a = 0 }\n".into(),
        "[routes.l]\nstrategy = \"balance\"\nuse = [\"a\", \"b\"]\npick = \"lowest_latency\"\n".into(),
        "[routes.all]\nstrategy = \"balance\"\nuse = [\"f\", \"r\", \"h\", \"p\", \"w\", \"l\"]\n".into(),
    ];
    let mut project = project(&text.concat());
    for name in ["f", "r", "h", "p", "w", "l", "all", "all", "all", "all", "all", "all"] {
        let model = project.model(name).unwrap();
        assert_eq!(model.model.info().name, name);
        assert_eq!(ask(&model).await.unwrap(), "yes", "{name}");
    }
    let asked = one.request_count();
    let weighted = project.model("w").unwrap();
    ask(&weighted).await.unwrap();
    assert_eq!(one.request_count(), asked, "a weight of 0 is asked only for others");
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn each_target_is_asked_with_its_own_settings_and_what_the_request_sets_stands() {
    let (bad, good) = (dead().await, answering("yes").await);
    let text = [
        provider("one", &bad, ""),
        provider("two", &good, ""),
        model("a", "one", "max_tokens = 11\ntemperature = 0.5"),
        model("b", "two", "max_tokens = 22\nseed = 7"),
        "[routes.smart]\nstrategy = \"fallback\"\nuse = [\"a\", \"b\"]\n".into(),
    ];
    let mut project = project(&text.concat());
    for server in [&bad, &good] {
        server.keep_bodies(true);
    }
    let smart = project.model("smart").unwrap();
    assert_eq!(smart.settings, Settings::default());
    ask(&smart).await.unwrap();
    let body = |server: &FakeProvider, at: usize| server.requests()[at].body.clone();
    let (first, second) = (body(&bad, 0), body(&good, 0));
    assert_eq!((&first["max_tokens"], &first["temperature"]), (&11.into(), &0.5.into()), "{first}");
    assert_eq!((&second["max_tokens"], &second["seed"]), (&22.into(), &7.into()), "{second}");
    assert!(second.get("temperature").is_none(), "{second}");

    let settings = Settings { max_tokens: Some(5), ..Settings::default() };
    let request = Request { settings: Arc::new(settings), ..Request::user("Hi") };
    collect(smart.model.stream(request, Context::detached())).await.unwrap();
    let second = body(&good, 1);
    assert_eq!((&second["max_tokens"], &second["seed"]), (&5.into(), &7.into()), "{second}");
    bad.shutdown().await;
    good.shutdown().await;
}

#[tokio::test]
async fn a_target_without_its_key_is_passed_over_and_named() {
    let good = answering("yes").await;
    let text = [
        "[providers.far]\nkind = \"openai\"\nbase_url = \"https://example.com/v1\"\nkey = { env = \"NO_KEY\" }\n".into(),
        provider("near", &good, ""),
        "[routes.smart]\nstrategy = \"fallback\"\nuse = [\"far:m\", \"near:fake-1\"]\n".into(),
        "[routes.none]\nstrategy = \"fallback\"\nuse = [\"far:m\"]\n".into(),
    ];
    let mut project = project(&text.concat());
    let smart = project.model("smart").unwrap();
    assert_eq!(ask(&smart).await.unwrap(), "yes");
    let failed = notes(&smart).await.into_iter().find_map(|note| match note {
        RouteNote::Attempt(note) => match note.end {
            AttemptEnd::Failed(error) => Some((note.target, error)),
            _ => None,
        },
        _ => None,
    });
    let (target, error) = failed.unwrap();
    assert_eq!((&*target, error.kind()), ("far:m", ErrorKind::Unauthorized));
    assert!(error.message().contains("NO_KEY"), "{error}");
    assert_eq!(ask(&project.model("none").unwrap()).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    good.shutdown().await;
}

#[tokio::test]
async fn routes_share_what_they_know_of_a_dead_target() {
    let (bad, good) = (dead().await, answering("yes").await);
    let route = |name: &str| format!("[routes.{name}]\nstrategy = \"fallback\"\nuse = [\"a\", \"b\"]\n");
    let text = [
        provider("one", &bad, ""),
        provider("two", &good, ""),
        model("a", "one", ""),
        model("b", "two", ""),
        route("first"),
        route("second"),
        "[routes.over]\nstrategy = \"balance\"\nuse = [\"first\", \"second\"]\n".into(),
    ];
    let mut project = project(&text.concat());
    let over = project.model("over").unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&over).await.unwrap(), "yes");
    }
    assert_eq!(bad.request_count(), 5, "the breaker opens after five failures, whichever route met them");
    assert_eq!(good.request_count(), 20);
    bad.shutdown().await;
    good.shutdown().await;
}

#[tokio::test]
async fn the_times_of_a_route_stand_in_place_of_the_models_own_and_the_inner_ones_count() {
    let slow =
        FakeProvider::start(Script::new([Turn::text("late").delay(Duration::from_secs(60))])).await.unwrap();
    let good = answering("yes").await;
    let text = [
        provider("slow", &slow, ""),
        provider("good", &good, ""),
        model("a", "slow", "timeout = { first_token = \"50s\" }"),
        "[routes.inner]\nstrategy = \"fallback\"\nuse = [\"a\"]\ntimeout = { first_token = \"100ms\" }\n"
            .into(),
        "[routes.outer]\nstrategy = \"fallback\"\nuse = [\"inner\", \"good:fake-1\"]\n\
         timeout = { first_token = \"40s\" }\n"
            .into(),
    ];
    let mut project = project(&text.concat());
    let started = Instant::now();
    assert_eq!(ask(&project.model("outer").unwrap()).await.unwrap(), "yes");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    slow.shutdown().await;
    good.shutdown().await;
}

#[tokio::test]
async fn the_limits_of_a_provider_hold_for_all_its_models() {
    let good = answering("yes").await;
    let text = [
        provider("p", &good, "limits = { requests_per_minute = 2, queue = 0 }"),
        model("a", "p", "retry = { attempts = 1 }"),
        model("b", "p", "retry = { attempts = 1 }"),
        "[routes.smart]\nstrategy = \"fallback\"\nuse = [\"a\", \"demo\"]\n".into(),
    ];
    let mut project = project(&text.concat());
    let (a, b) = (project.model("a").unwrap(), project.model("b").unwrap());
    ask(&a).await.unwrap();
    ask(&b).await.unwrap();
    let error = ask(&b).await.unwrap_err();
    assert_eq!((error.kind(), error.provider()), (ErrorKind::Busy, Some("p")));
    assert!(error.message().contains("2 requests per minute"), "{error}");
    // A route goes on with another target.
    assert!(ask(&project.model("smart").unwrap()).await.is_ok());
    assert_eq!(good.request_count(), 2);
    good.shutdown().await;
}

#[tokio::test]
async fn what_was_answered_once_is_not_asked_again_whoever_asks() {
    let good = answering("yes").await;
    let text = [
        provider("p", &good, ""),
        model("a", "p", "price = { input = 1, output = 1 }\nmax_tokens = 50"),
        "[routes.smart]\nstrategy = \"fallback\"\nuse = [\"a\"]\n".into(),
        "[agents.one]\nmodel = \"a\"\n[agents.two]\nmodel = \"smart\"\n[cache]\nkind = \"exact\"\n".into(),
    ];
    let mut project = project(&text.concat());
    let mut costs = Vec::new();
    for agent in ["one", "one", "two"] {
        let agent = project.agent(agent, &AgentChanges::default()).unwrap();
        let result = agent.run("Hi").await.unwrap();
        assert_eq!(result.text, "yes");
        costs.push(result.usage.usd.unwrap_or_default());
    }
    assert_eq!(good.request_count(), 1);
    assert!(costs[0] > 0.0 && costs[1..] == [0.0, 0.0], "{costs:?}");
    good.shutdown().await;
}

#[test]
fn the_configuration_and_the_wire_know_the_same_vendors() {
    let known = ambidex_models::vendors::VENDORS.iter().map(|it| (it.name, it.base_url, it.key_variable));
    let configured = ambidex_config::VENDORS.iter().map(|it| (it.name, it.base_url, it.key));
    assert_eq!(configured.collect::<Vec<_>>(), known.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_model_cannot_do_is_refused_before_it_is_sent_and_a_route_goes_on() {
    let (one, two) = (answering("one").await, answering("two").await);
    let text = [
        provider("one", &one, ""),
        provider("two", &two, ""),
        model("blind", "one", "capabilities = { tools = false }"),
        model("able", "two", ""),
        "[routes.smart]\nstrategy = \"fallback\"\nuse = [\"blind\", \"able\"]\n".into(),
        "[agents.a]\nmodel = \"smart\"\ntools = [\"read_file\"]\n".into(),
    ];
    let mut project = project(&text.concat());
    let result = project.agent("a", &AgentChanges::default()).unwrap().run("Hi").await.unwrap();
    assert_eq!((result.text.as_str(), one.request_count()), ("two", 0));
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn the_model_that_a_context_names_summarises() {
    let (one, two) = (answering("the answer").await, answering("the summary").await);
    let text = [
        provider("one", &one, ""),
        provider("two", &two, ""),
        model("small", "one", "context = 256"),
        "[routes.cheap]\nstrategy = \"fallback\"\nuse = [\"two:fake-1\"]\n".into(),
        "[agents.writer]\nmodel = \"small\"\n".into(),
        "context = { compact_at = 0.5, keep_last = 1, summarise_with = \"cheap\" }\n".into(),
    ];
    let agent = project(&text.concat()).agent("writer", &AgentChanges::default()).unwrap();
    let context = agent.definition().context.clone().unwrap();
    assert_eq!((context.compact_at, context.keep_last, context.window), (0.5, 1, Some(256)));
    let said = ["long ago ".repeat(60), "indeed ".repeat(60), "and now?".into()];
    let [first, second, last] = said;
    let input = vec![Message::user(first), Message::assistant(second), Message::user(last)];
    let result = agent.run(input).await.unwrap();
    assert_eq!((result.text.as_str(), result.messages.len()), ("the answer", 4));
    assert_eq!((one.request_count(), two.request_count()), (1, 1));
    one.shutdown().await;
    two.shutdown().await;
}
