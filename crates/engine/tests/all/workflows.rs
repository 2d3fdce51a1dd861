//! Workflows through the public door: what steps are given, where paths go, what becomes of failures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::event::Status;
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::question::Answer;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxStream, Context, Error, ErrorKind, ToolOutput};
use ambidex_engine::workflow::Format;
use ambidex_engine::{Agent, Engine, OnWaiting, RunOptions, Workflow, WorkflowBuilder};
use ambidex_tools::FunctionTool;
use serde_json::{Value, json};

type Say = dyn Fn(&str) -> Result<String, Error> + Send + Sync;

/// Answers what it is told with what a closure makes of it.
struct Saying(ModelInfo, Arc<Say>);

impl Model for Saying {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn stream(&self, request: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let last = request.history.last().map(|message| message.text()).unwrap_or_default();
        let chunks = match (self.1)(&last) {
            Ok(text) => vec![Ok(Chunk::Text { part: 0, text }), Ok(Chunk::End(Finish::Stop))],
            Err(error) => vec![Err(error)],
        };
        Box::pin(futures_util::stream::iter(chunks))
    }
}

fn agent(name: &str, say: impl Fn(&str) -> Result<String, Error> + Send + Sync + 'static) -> Agent {
    let model = Saying(ModelInfo::new(name, "test"), Arc::new(say));
    Agent::builder().name(name).model(model).build().unwrap()
}

/// Gives back its task in brackets.
fn echo(name: &str) -> Agent {
    let own = name.to_owned();
    agent(name, move |task| Ok(format!("{own}[{task}]")))
}

fn scoring(scores: &'static [u32]) -> Agent {
    let at = AtomicU32::new(0);
    let say = move |_: &str| {
        let at = at.fetch_add(1, SeqCst) as usize;
        Ok(json!({ "score": scores[at.min(scores.len() - 1)] }).to_string())
    };
    let model = Saying(ModelInfo::new("critic", "test"), Arc::new(say));
    let schema =
        json!({ "type": "object", "properties": { "score": { "type": "integer" } }, "required": ["score"] });
    Agent::builder().name("critic").model(model).output_schema("verdict", schema).build().unwrap()
}

fn flow(text: &str) -> WorkflowBuilder {
    let definition: toml::Table = toml::from_str(text).unwrap();
    Workflow::builder("test").definition(serde_json::to_value(definition).unwrap())
}

#[tokio::test]
async fn steps_follow_their_needs_and_see_what_was_given_before() {
    let flow = flow(
        r#"
        input = { topic = "string" }
        steps = [
            { id = "plan", agent = "a", prompt = "plan {{ input.topic }}" },
            { id = "left", needs = ["plan"], agent = "b", prompt = "left of {{ steps.plan.text }}" },
            { id = "right", needs = ["plan"], agent = "b" },
            { id = "whole", needs = ["left", "right"], agent = "a", prompt = "{{ steps.left }} + {{ steps.right.text | upper }}" },
        ]
        "#,
    );
    let flow = flow.agent("a", echo("a")).agent("b", echo("b")).build().unwrap();
    let result = flow.run(json!({ "topic": "rivers" })).await.unwrap();
    assert_eq!(result.text, "a[b[left of a[plan rivers]] + B[A[PLAN RIVERS]]]");
    assert_eq!(result.output, Some(Value::from(result.text.clone())));
    // A text is the input that takes a task.
    let again = flow.run("rivers").await.unwrap();
    assert_eq!(again.text, result.text);
}

#[tokio::test]
async fn a_value_that_looks_like_a_template_stays_what_it_is() {
    let flow = flow(
        r#"
        input = { topic = "string" }
        steps = [
            { id = "one", agent = "a", prompt = "{{ input.topic }}" },
            { id = "two", needs = ["one"], agent = "a", prompt = "<{{ steps.one.text }}>" },
        ]
        "#,
    );
    let flow = flow.agent("a", echo("a")).build().unwrap();
    let result = flow.run(json!({ "topic": "{{ input.secret }}{% for %}" })).await.unwrap();
    assert_eq!(result.text, "a[<a[{{ input.secret }}{% for %}]>]");
}

#[tokio::test]
async fn a_judge_sends_work_back_until_it_is_good_and_visits_are_counted() {
    let flow = flow(
        r#"
        output = { text = "steps.publish.text", rounds = "visits.plan", score = "steps.judge.score" }
        steps = [
            { id = "plan", agent = "a", prompt = "plan" },
            { id = "judge", needs = ["plan"], parallel = ["critic", "critic", "critic"], merge = { how = "vote", field = "score", reduce = "median" } },
            { id = "gate", needs = ["judge"], choose = [
                { when = "steps.judge.score >= 8", go = "publish" },
                { when = "visits.plan < 3", go = "plan" },
                { go = "ask" },
            ] },
            { id = "ask", human = { question = "Publish?", form = { publish = "boolean" }, expire = "2d" }, choose = [
                { when = "steps.ask.publish", go = "publish" },
                { go = "end" },
            ] },
            { id = "publish", agent = "a", prompt = "publish {{ steps.plan.text }}" },
        ]
        "#,
    );
    let scores: &[u32] = &[5, 6, 7, 9, 8, 9];
    let flow = flow.agent("a", echo("a")).agent("critic", scoring(scores)).build().unwrap();
    let result = flow.run(json!({})).await.unwrap();
    assert_eq!(result.output, Some(json!({ "text": "a[publish a[plan]]", "rounds": 2, "score": 9 })));
}

#[tokio::test]
async fn a_person_decides_and_his_answer_is_held_against_the_form() {
    let flow = flow(
        r#"
        steps = [
            { id = "ask", human = { question = "Publish?", form = { publish = "boolean", note = "string?" } }, choose = [
                { when = "steps.ask.publish", go = "publish" },
                { go = "end" },
            ] },
            { id = "publish", agent = "a", prompt = "publish{{ ': ' ~ steps.ask.note if steps.ask.note is defined }}" },
        ]
        "#,
    );
    let engine = Engine::default();
    let flow = flow.agent("a", echo("a")).engine(&engine).build().unwrap();
    let options = || RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() };
    let waiting = flow.run_with(json!({}), options()).await.unwrap();
    assert_eq!(waiting.status, Status::Waiting);
    let question = waiting.questions[0].clone();
    assert_eq!(question.args["question"], "Publish?");
    let wrong = Answer::Answer { answer: json!({ "publish": "perhaps" }) };
    let refused = engine.answer(&question.id, wrong).await.unwrap_err().to_string();
    assert!(refused.contains("publish"), "{refused}");
    engine.answer(&question.id, Answer::Answer { answer: json!({ "publish": true }) }).await.unwrap();
    let handle = flow.resume(&waiting.run, vec![], options()).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap().text, "a[publish]");
}

#[tokio::test]
async fn each_element_runs_once_and_failures_leave_a_gap() {
    let flow = flow(
        r#"
        input = { names = "string[]" }
        output = { texts = "steps.greet.map(it, has(it.error) ? '-' : it.text)", failed = "errors.size()" }
        steps = [
            { id = "greet", each = { over = "input.names", as = "name", concurrency = 2 }, agent = "a", prompt = "hello {{ name }}", on_error = "continue" },
            { id = "all", needs = ["greet"], agent = "a", prompt = "{% for it in steps.greet %}{{ it.text }};{% endfor %}" },
        ]
        "#,
    );
    let picky = agent("a", |task| match task {
        "hello Bob" => Err(Error::new(ErrorKind::Refused, "not Bob")),
        other => Ok(other.to_owned()),
    });
    let flow = flow.agent("a", picky).build().unwrap();
    let result = flow.run(json!({ "names": ["Ann", "Bob", "Cat"] })).await.unwrap();
    assert_eq!(result.output, Some(json!({ "texts": ["hello Ann", "-", "hello Cat"], "failed": 1 })));
}

fn adder(calls: &Arc<AtomicU32>) -> Arc<dyn ambidex_core::tool::Tool> {
    let calls = calls.clone();
    let spec = ToolSpec {
        effect: EffectClass::Idempotent,
        input: json!({
            "type": "object",
            "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } },
            "required": ["a"],
            "additionalProperties": false,
        }),
        ..ToolSpec::new("add", "adds")
    };
    let add = move |args: Value, _: Context| {
        calls.fetch_add(1, SeqCst);
        let sum = args["a"].as_i64().unwrap_or(0) + args["b"].as_i64().unwrap_or(1);
        async move { Ok::<_, Error>(ToolOutput::Json(json!({ "sum": sum }))) }
    };
    Arc::new(FunctionTool::dynamic(spec, add))
}

#[tokio::test]
async fn a_lone_expression_keeps_its_type_and_a_loop_runs_a_thousand_times() {
    let calls = Arc::new(AtomicU32::new(0));
    let flow = flow(
        r#"
        output = "steps.count.sum"
        steps = [
            { id = "count", tool = "add", args = { a = "{{ steps.count.sum if steps.count is defined else 0 }}" }, choose = [
                { when = "steps.count.sum < 1000", go = "count" },
                { go = "end" },
            ] },
        ]
        "#,
    );
    let flow = flow.tool(adder(&calls)).build().unwrap();
    let result = flow.run(json!({})).await.unwrap();
    assert_eq!((result.output, calls.load(SeqCst)), (Some(json!(1000)), 1000));
}

#[tokio::test]
async fn a_step_that_is_left_out_lets_the_path_go_on() {
    let flow = flow(
        r#"
        input = { deep = "boolean" }
        steps = [
            { id = "short", agent = "a", prompt = "short" },
            { id = "deep", needs = ["short"], when = "input.deep", agent = "a", prompt = "deep" },
            { id = "last", needs = ["deep"], agent = "a", prompt = "{{ steps.deep.text if steps.deep is defined else steps.short.text }}" },
        ]
        "#,
    );
    let flow = flow.agent("a", echo("a")).build().unwrap();
    assert_eq!(flow.run(json!({ "deep": true })).await.unwrap().text, "a[a[deep]]");
    assert_eq!(flow.run(json!({ "deep": false })).await.unwrap().text, "a[a[short]]");
}

#[tokio::test]
async fn workflows_run_workflows_with_inputs_of_their_own() {
    let inner = flow(
        r#"
        input = { word = "string", times = { type = "integer", default = 2 } }
        steps = [{ id = "say", agent = "a", prompt = "{{ input.word * input.times }}" }]
        "#,
    );
    let inner = inner.agent("a", echo("a")).build().unwrap();
    let outer = |input: &str| {
        flow(&format!(
            r#"
            input = {{ words = "string[]" }}
            output = "steps.all.map(it, it.text)"
            steps = [{{ id = "all", each = {{ over = "input.words", as = "word" }}, flow = "inner", input = {input} }}]
            "#
        ))
        .flow("inner", inner.clone())
        .build()
    };
    let result =
        outer("{ word = \"{{ word }}\" }").unwrap().run(json!({ "words": ["x", "y"] })).await.unwrap();
    assert_eq!(result.output, Some(json!(["a[xx]", "a[yy]"])));
    let error = outer("{ word = 3 }").err().unwrap();
    assert!(error.message().contains("wants a text for `word`, and is given a whole number"), "{error}");
    let error = outer("{ wrod = \"x\" }").err().unwrap();
    assert!(error.message().contains("takes no `wrod`; did you mean `word`?"), "{error}");
}

#[tokio::test]
async fn a_person_is_asked_about_a_failure() {
    let tries = Arc::new(AtomicU32::new(0));
    let seen = tries.clone();
    let flaky = agent("a", move |_| match seen.fetch_add(1, SeqCst) {
        0 => Err(Error::new(ErrorKind::Refused, "not today")),
        _ => Ok("done".into()),
    });
    let flow = flow(
        r#"steps = [
            { id = "work", agent = "a", prompt = "work", on_error = "ask" },
            { id = "after", needs = ["work"], agent = "b", prompt = "{{ steps.work.text }}" },
        ]"#,
    );
    let engine = Engine::default();
    let flow = flow.agent("a", flaky).agent("b", echo("b")).engine(&engine).build().unwrap();
    let options = || RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() };
    for (decision, expected) in [("retry", Ok("b[done]")), ("skip", Ok("b[]")), ("fail", Err("not today"))] {
        tries.store(0, SeqCst);
        let waiting = flow.run_with(json!({}), options()).await.unwrap();
        let question = &waiting.questions[0];
        assert!(question.args["question"].as_str().unwrap().contains("not today"), "{question:?}");
        engine
            .answer(&question.id, Answer::Answer { answer: json!({ "decision": decision }) })
            .await
            .unwrap();
        let ended = flow.resume(&waiting.run, vec![], options()).await.unwrap().outcome().await;
        match expected {
            Ok(text) => assert_eq!(ended.unwrap().text, text),
            Err(why) => assert!(ended.err().unwrap().to_string().contains(why)),
        }
    }
}

#[tokio::test]
async fn one_step_runs_alone_on_what_it_is_given() {
    let calls = Arc::new(AtomicU32::new(0));
    let flow = flow(
        r#"
        input = { topic = "string" }
        steps = [
            { id = "plan", agent = "a", prompt = "plan {{ input.topic }}" },
            { id = "draft", needs = ["plan"], agent = "a", prompt = "draft {{ steps.plan.text }}" },
        ]
        "#,
    );
    let flow = flow.agent("a", echo("a")).tool(adder(&calls)).build().unwrap();
    assert_eq!(flow.run_stage("plan", json!({ "topic": "x" })).await.unwrap().text, "a[plan x]");
    let given = json!({ "steps": { "plan": { "text": "my plan" } } });
    assert_eq!(flow.run_stage("draft", given).await.unwrap().text, "a[draft my plan]");
    let error = flow.run_stage("draft", json!({})).await.err().unwrap().to_string();
    assert!(error.contains("step `draft`, `prompt`: `steps.plan.text` is not there"), "{error}");
    let error = flow.run_stage("drft", json!({})).await.err().unwrap().to_string();
    assert!(error.contains("did you mean `draft`?"), "{error}");
}

#[tokio::test]
async fn inputs_are_held_against_what_is_declared() {
    let flow = flow(
        r#"
        input = { topic = "string", count = "integer", tags = "string[]?" }
        steps = [{ id = "plan", agent = "a", prompt = "plan" }]
        "#,
    );
    let flow = flow.agent("a", echo("a")).build().unwrap();
    let error = |input: Value| flow.state(input).err().unwrap().message().to_owned();
    assert_eq!(
        error(json!({ "topc": "x" })),
        "the input of the workflow `test`: `topic` is missing; `count` is missing; `topc` is not declared; did you \
         mean `topic`?; declared are topic: string, count: integer, tags?: string[]"
    );
    let wrong = error(json!({ "topic": "x", "count": "three" }));
    assert!(wrong.contains("count") && wrong.contains("integer"), "{wrong}");
    assert!(flow.state(json!({ "topic": "x", "count": 3, "tags": ["a"] })).is_ok());
}

#[tokio::test]
async fn what_cannot_be_evaluated_names_place_step_key_and_text() {
    let flow = flow(
        r#"
        input = { data = "object" }
        steps = [
            { id = "plan", agent = "a", prompt = "plan", choose = [{ when = "input.data.score > 3", go = "end" }, { go = "more" }] },
            { id = "more", agent = "a", prompt = "more" },
        ]
        "#,
    );
    let flow = flow.agent("a", echo("a")).build().unwrap();
    let ended = flow.run(json!({ "data": {} })).await.err().unwrap();
    assert_eq!(ended.error.code(), "expression_failed");
    let text = ended.error.message();
    assert!(
        text.contains("workflow test: step `plan`, `choose[0].when`: `input.data.score` is not there"),
        "{text}"
    );
    assert!(text.ends_with("it reads: input.data.score > 3"), "{text}");
    let ended = flow.run(json!({ "data": { "score": "high" } })).await.err().unwrap();
    assert!(ended.error.message().contains("a text cannot be compared with a number"), "{ended}");
}

#[test]
fn drawings_show_every_step_and_escape_what_they_show() {
    let flow = flow(
        r#"
        input = { topic = "string" }
        steps = [
            { id = "plan", agent = "a", prompt = "plan" },
            { id = "gate", needs = ["plan"], choose = [{ when = "visits.plan < 3 && input.topic != '<b>'", go = "plan" }, { go = "end" }] },
        ]
        "#,
    );
    let flow = flow.agent("a", echo("a")).build().unwrap();
    let text = flow.draw(Format::Text);
    assert!(text.contains("plan") && text.contains("if visits.plan < 3"), "{text}");
    let mermaid = flow.draw(Format::Mermaid);
    assert!(mermaid.contains("s1 -.->|\"visits.plan #lt; 3 #amp;#amp;"), "{mermaid}");
    let svg = flow.draw(Format::Svg);
    assert!(svg.contains("visits.plan &lt; 3") && !svg.contains("<b>"), "{svg}");
}
