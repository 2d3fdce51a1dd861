//! Which turn answers, and what is put into it.

use ambidex_core::message::Message;
use ambidex_core::model::Request;
use ambidex_core::usage::Price;
use ambidex_core::{Context, ErrorKind, Finish, Usage};
use ambidex_models::scripted::{ScriptedModel, Turn, When};
use serde_json::{Value, json};

use crate::scripted::{Talk, answer, calls};

fn script(text: &str) -> ScriptedModel {
    ScriptedModel::from_toml(text).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn turns_without_a_condition_come_in_order() {
    let mut talk = Talk::new(ScriptedModel::new(["one", "two"]));
    assert_eq!(talk.say("a").await.text(), "one");
    assert_eq!(talk.say("b").await.text(), "two");
}

#[tokio::test]
async fn one_model_serves_conversations_that_are_interleaved() {
    let model = ScriptedModel::new(["one", "two"]);
    let (mut first, mut second) = (Talk::new(model.clone()), Talk::new(model));
    assert_eq!(first.say("a").await.text(), "one");
    assert_eq!(second.say("a").await.text(), "one");
    assert_eq!(second.say("b").await.text(), "two");
    assert_eq!(first.say("b").await.text(), "two");
}

#[tokio::test]
async fn asking_again_with_the_same_history_gives_the_same_reply() {
    let mut talk = Talk::new(ScriptedModel::new([Turn::call("a", json!({"x": 1})), Turn::text("end")]));
    let first = talk.say("go").await;
    let request = Request { history: vec![Message::user("go")].into(), ..Request::default() };
    let model = ScriptedModel::new([Turn::call("a", json!({"x": 1})), Turn::text("end")]);
    assert_eq!(answer(&model, request, Context::detached()).await.unwrap().message, first.message);
}

#[tokio::test]
async fn a_call_that_no_turn_answers_fails_and_says_what_was_asked() {
    let mut talk = Talk::new(ScriptedModel::new(["only"]));
    talk.say("a").await;
    let request = Request {
        history: vec![Message::assistant("only"), Message::user("and now?")].into(),
        ..talk.request()
    };
    let error =
        answer(&ScriptedModel::new(["only"]).named("demo"), request, Context::detached()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(!error.is_retryable());
    assert_eq!(
        error.message(),
        "the scripted model `demo`: none of the script's 1 turn answers model call 2 of this conversation \
         (last message: \"and now?\"); add a turn or a default one"
    );
}

#[tokio::test]
async fn the_default_turn_answers_the_rest() {
    let mut talk = Talk::new(ScriptedModel::new(["one"]).otherwise("rest"));
    assert_eq!(talk.say("a").await.text(), "one");
    assert_eq!(talk.say("b").await.text(), "rest");
    assert_eq!(talk.say("c").await.text(), "rest");
}

#[tokio::test]
async fn a_condition_goes_before_the_order_and_does_not_use_it_up() {
    let model = script(
        r#"
        [[turns]]
        calls = [{ name = "read", args = { path = "a" } }]
        [[turns]]
        text = "done"
        [[turns]]
        when = { failed = true }
        text = "once more"
        calls = [{ name = "read", args = { path = "b" } }]
        "#,
    );
    let mut talk = Talk::new(model.clone());
    talk.say("go").await;
    assert_eq!(talk.results(&[("fine", false)]).await.text(), "done");

    let mut talk = Talk::new(model);
    talk.say("go").await;
    let again = talk.results(&[("no such file", true)]).await;
    assert_eq!(
        (again.text().as_str(), calls(&again)),
        ("once more", vec![("read".into(), json!({"path": "b"}))])
    );
    assert_eq!(talk.results(&[("fine", false)]).await.text(), "done");
}

#[tokio::test]
async fn the_first_condition_that_holds_wins() {
    let model = script(
        r#"
        turns = [
            { when = { last = "Read" }, text = "contains" },
            { when = { matches = '^re' }, text = "matches" },
            { when = { turn = 3 }, text = "third" },
            { when = { offers = ["x", "y"] }, text = "both offered" },
        ]
        default = { text = "rest" }
        "#,
    );
    let mut talk = Talk::new(model).tools(&["x"]);
    assert_eq!(talk.say("please READ it").await.text(), "contains");
    assert_eq!(talk.say("Remove it").await.text(), "matches");
    assert_eq!(talk.say("what?").await.text(), "third");
    assert_eq!(talk.say("what?").await.text(), "rest");
    let mut talk = talk.tools(&["x", "y"]);
    assert_eq!(talk.say("what?").await.text(), "both offered");
}

#[tokio::test]
async fn conditions_on_a_result_must_hold_for_one_and_the_same_fresh_result() {
    let turns = [
        Turn::text("b failed badly").when(When::new().tool("b").failed(true).result_contains("bad")),
        Turn::text("a is fine").when(When::new().tool("a").failed(false)),
    ];
    let mut talk =
        Talk::new(ScriptedModel::new(turns).otherwise(Turn::call("a", json!({})).and_call("b", json!({}))));
    talk.say("go").await;
    // `a` says bad, `b` failed, but neither does both.
    assert_eq!(talk.results(&[("bad", false), ("poor", true)]).await.text(), "a is fine");
    // The results of before are no longer fresh.
    assert_eq!(talk.say("go on").await.message.tool_calls().count(), 2);
    assert_eq!(talk.results(&[("fine", false), ("bad", true)]).await.text(), "b failed badly");
}

#[tokio::test]
async fn a_persons_words_are_matched_only_when_they_are_the_last_message() {
    let turn = Turn::call("a", json!({})).when(When::new().last("go"));
    let mut talk = Talk::new(ScriptedModel::new([turn]).otherwise("done"));
    assert_eq!(talk.say("go").await.finish, Finish::ToolCalls);
    assert_eq!(talk.results(&[("go", false)]).await.text(), "done");
}

#[tokio::test]
async fn call_ids_tell_the_number_of_the_model_call_and_of_the_tool_call() {
    let turn = Turn::call("a", json!({})).and_call("b", json!({}));
    let mut talk = Talk::new(ScriptedModel::new(Vec::<Turn>::new()).otherwise(turn));
    let ids = |reply: &ambidex_core::reply::Reply| {
        reply.message.tool_calls().map(|call| call.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&talk.say("go").await), ["call_1_1", "call_1_2"]);
    assert_eq!(ids(&talk.results(&[("", false), ("", false)]).await), ["call_2_1", "call_2_2"]);
}

#[tokio::test]
async fn placeholders_are_filled_once_and_values_are_never_expanded() {
    let model = script(
        r#"
        [[turns]]
        when = { matches = '^read (?<path>\S+) and (\S+)' }
        text = "{{ match.path }} then {{ match.2 }}, call {{turn}}: {{ last }}"
        calls = [{ name = "read", args = { path = "{{ match.path }}", deep = ["{{ match.2 }}!"] } }]
        [[turns]]
        text = 'got {{ result.read }} of {{ user }}, {{ "{{" }} stays'
        "#,
    );
    let mut talk = Talk::new(model);
    let reply = talk.say("read {{turn}} and b").await;
    assert_eq!(reply.text(), "{{turn}} then b, call 1: read {{turn}} and b");
    assert_eq!(calls(&reply), [("read".into(), json!({"path": "{{turn}}", "deep": ["b!"]}))]);
    let reply = talk.results(&[("{{ user }}", false)]).await;
    assert_eq!(reply.text(), "got {{ user }} of read {{turn}} and b, {{ stays");
}

#[tokio::test]
async fn results_are_found_by_tool_or_call_and_looked_into() {
    let text = r#"
        [[turns]]
        calls = [{ name = "read", args = {} }, { name = "read", args = {} }, { name = "list" }]
        [[turns]]
        [turns.json]
        latest = "{{ result.read }}"
        first = "{{ result.call_1_1 | head 1 }}"
        lines = "{{ result.call_1_1 | lines }}"
        items = "{{ result.call_1_1 | lines items }}"
        failure = "{{ failure.read | or none }}"
        words = "{{ result.call_1_1 | words }}"
        chars = "{{ result.call_1_1 | chars }}"
        second = "{{ result.call_1_1 | line 2 | after \": \" }}"
        before = "{{ result.call_1_1 | line 2 | before : }}"
        number = "{{ result.call_1_1 | number }}"
        count = "{{ result.list.files | count }}"
        name = "{{ result.list.files.1.name }}"
        total = "{{ result.list.total }}"
        all = "{{ result.list.files.0 }}"
        mixed = "total {{ result.list.total }}"
        absent = "{{ result.other | lines | or 0 }}"
        beyond = "{{ result.list.files.7.name | or nothing here }}"
        parsed = "{{ result.list | json }}"
        fixed = [1, 2.5, true]
    "#;
    let mut talk = Talk::new(script(text));
    talk.say("go").await;
    let list = r#"{"total": 2, "files": [{"name": "a"}, {"name": "b"}]}"#;
    let reply = talk.results(&[("one two\nkey: 37 items\n", false), ("x", false), (list, false)]).await;
    let expected = json!({
        "latest": "x", "first": "one two", "lines": 2, "items": 1, "failure": "none", "words": 5, "chars": 22, "second": "37 items",
        "before": "key", "number": 37, "count": 2, "name": "b", "total": 2, "all": {"name": "a"},
        "mixed": "total 2", "absent": 0, "beyond": "nothing here",
        "parsed": serde_json::from_str::<Value>(list).unwrap(), "fixed": [1, 2.5, true],
    });
    // As text, for the members keep the order of the script.
    assert_eq!(reply.text(), expected.to_string());
}

#[tokio::test]
async fn a_failure_is_no_result() {
    let text = "[[turns]]\ncalls = [{ name = 'a' }, { name = 'a' }]\n[[turns]]\ntext = '{{ result.a }}, {{ failure.a }}'";
    let mut talk = Talk::new(script(text));
    talk.say("go").await;
    assert_eq!(talk.results(&[("fine", false), ("bad", true)]).await.text(), "fine, bad");
}

#[tokio::test]
async fn a_placeholder_without_a_value_is_an_error_that_names_it() {
    let mut talk = Talk::new(script("turns = [{ text = 'x {{ result.read.total }}' }]"));
    let error = talk.try_answer().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(
        error.message(),
        "the scripted model `script`: turn 1: the placeholder `{{ result.read.total }}` has no value here; \
         give it one with `{{ result.read.total | or ... }}`"
    );
}

#[tokio::test]
async fn text_given_in_code_is_said_as_it_is() {
    let mut talk =
        Talk::new(ScriptedModel::new([Turn::text("{{ last }}"), Turn::template("{{ last }}").unwrap()]));
    assert_eq!(talk.say("a").await.text(), "{{ last }}");
    assert_eq!(talk.say("b").await.text(), "b");
    let error = Turn::template("{{ lost }}").unwrap_err();
    assert!(error.to_string().starts_with("<code>: `{{ lost }}` is no placeholder"), "{error}");
}

#[tokio::test]
async fn json_takes_the_place_of_text_only_where_it_is_asked_for() {
    let turn = || Turn::json(json!({"n": 1})).and_text("one");
    let mut plain = Talk::new(ScriptedModel::new([turn()]));
    assert_eq!(plain.say("go").await.text(), "one");
    let mut wanted = Talk::new(ScriptedModel::new([turn()])).output(json!({"type": "object"}));
    assert_eq!(wanted.say("go").await.text(), r#"{"n":1}"#);
    let mut always = Talk::new(ScriptedModel::new([Turn::json(json!({"n": 1}))]));
    assert_eq!(always.say("go").await.text(), r#"{"n":1}"#);
}

#[tokio::test]
async fn a_sample_follows_the_schema_that_is_asked_for() {
    let schema = json!({
        "type": "object",
        "required": ["title", "score", "kind", "items", "tree"],
        "additionalProperties": false,
        "properties": {
            "title": {"type": "string", "minLength": 12, "maxLength": 14},
            "score": {"type": "integer", "minimum": 5, "maximum": 9},
            "share": {"type": "number", "exclusiveMaximum": 0.5},
            "kind": {"enum": ["a", "b"]},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "items": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/item"}},
            "tree": {"$ref": "#/$defs/tree"},
        },
        "$defs": {
            "item": {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}},
            "tree": {"type": "object", "required": ["children"], "properties": {
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
            }},
        },
    });
    let model = script("[default]\njson = '{{ sample }}'");
    let mut talk = Talk::new(model).output(schema.clone());
    let sample: Value = serde_json::from_str(&talk.say("go").await.text()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<_> = validator.iter_errors(&sample).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?} in {sample}");
    assert_eq!(sample["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn usage_is_an_estimate_unless_the_turn_gives_it_and_costs_what_the_price_says() {
    let price = Price { input: 1.0, output: 10.0, cached_input: None };
    let given = Usage { input_tokens: 1_000_000, output_tokens: 100_000, ..Usage::default() };
    let turns = [Turn::text("12345").reasoning("1234"), Turn::text("x").usage(given)];
    let mut talk = Talk::new(ScriptedModel::new(turns).price(Some(price)));
    let usage = talk.say("12345678").await.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.reasoning_tokens), (2, 3, 1));
    assert!(usage.estimated);
    assert_eq!(usage.usd, Some(32.0 / 1e6));
    let usage = talk.say("more").await.usage;
    assert_eq!((usage, usage.estimated), (Usage { usd: Some(2.0), ..given }, false));
}

#[tokio::test]
async fn the_finish_follows_from_what_is_said_unless_the_turn_gives_it() {
    let turns = [
        Turn::text("a"),
        Turn::call("t", json!({})),
        Turn::default().refusal("no"),
        Turn::empty(),
        Turn::text("cut").finish(Finish::Length),
    ];
    let mut talk = Talk::new(ScriptedModel::new(turns));
    let mut finishes = vec![];
    for _ in 0..5 {
        finishes.push(talk.say("go").await.finish);
    }
    assert_eq!(finishes, [Finish::Stop, Finish::ToolCalls, Finish::Refusal, Finish::Stop, Finish::Length]);
}

#[tokio::test]
async fn argument_text_may_be_anything() {
    let turn = Turn::default().and_raw_call("t", r#"{"path": "a"#).and_raw_call("u", "");
    let mut talk = Talk::new(ScriptedModel::new([turn]));
    let reply = talk.say("go").await;
    assert_eq!(calls(&reply), [("t".into(), json!({"raw": r#"{"path": "a"#})), ("u".into(), json!({}))]);
}
