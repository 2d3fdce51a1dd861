//! Scripts as TOML: what is wrong is said, and where.

use std::path::Path;

use ambidex_core::model::{Model, Request};
use ambidex_core::{Context, ErrorKind};
use ambidex_models::scripted::ScriptedModel;

use crate::scripted::{Talk, answer, calls};

#[test]
fn every_error_names_its_place_and_its_remedy() {
    let cases = [
        ("", "demo.toml: the script says nothing; add a `[[turns]]` or a `[default]`"),
        ("[[turns]\n", "demo.toml:1:9: unclosed array table, expected `]`"),
        (
            "[[turns]]\n  txet = 'a'\n",
            "demo.toml:2:3: unknown field `txet`, expected one of `when`, `reasoning`, `text`, `refusal`, \
             `json`, `calls`, `finish`, `usage`, `delay`, `pace`, `chunk`, `faults`; did you mean `text`?",
        ),
        ("[[turns]]\ntext = 7\n", "demo.toml:2:8: invalid type: integer `7`, expected a string"),
        (
            "name = 'a'\n[[turns]]\nchunk = 3\n",
            "demo.toml:2:1: the turn says nothing; give it `text`, `json`, `calls`, `reasoning`, `refusal` or \
             `faults` (an empty reply is `text = \"\"`)",
        ),
        (
            "[[turns]]\ntext = 'a'\npace = 'fast'\n",
            "demo.toml:3:8: `fast` is no duration; write it as \"15ms\", \"1.5s\" or \"2m\"",
        ),
        ("[[turns]]\ntext = 'ä'\nchunk = 0\n", "demo.toml:3:9: a piece has at least one character"),
        (
            "[[turns]]\ntext = 'é {{ lasst }}'\n",
            "demo.toml:2:8: `{{ lasst }}` is no placeholder; there are `last`, `user`, `turn`, `sample`, \
             `result.TOOL`, `failure.TOOL`, `match.GROUP`",
        ),
        (
            "turns = [{ text = 'a {{ last }} {{ last' }]\n",
            "demo.toml:1:19: the placeholder `{{ last` has no end; close it with `}}`",
        ),
        (
            "[[turns]]\njson = { a = '{{ last | upper }}' }\n",
            "demo.toml:2:8: `upper` in `{{ last | upper }}` is no filter; there are `lines [TEXT]`, `words`, `chars`, \
             `count`, `number`, `json`, `head N`, `line N`, `before TEXT`, `after TEXT`, `or VALUE`",
        ),
        (
            "[[turns]]\ntext = '{{ last | head x }}'\n",
            "demo.toml:2:8: `head` in `{{ last | head x }}` needs a whole number",
        ),
        (
            "[[turns]]\ncalls = [{ name = 'read file' }]\n",
            "demo.toml:2:19: `read file` is no tool's name: letters, digits, `_` and `-`, 64 at most",
        ),
        (
            "[[turns]]\ncalls = [{ name = 'read', args = 3 }]\n",
            "demo.toml:2:34: `args` is a table, or a text to be sent as it is",
        ),
        (
            "[[turns]]\ntext = 'a'\nfaults = [{ kind = 'rate_limitd' }]\n",
            "demo.toml:3:20: a model has no fault `rate_limitd`; did you mean `rate_limited`?",
        ),
        (
            "[[turns]]\ntext = 'a'\nfaults = [{ kind = 'idle', times = 2, always = true }]\n",
            "demo.toml:3:36: a fault that comes `always` takes no `times`",
        ),
        (
            "[[turns]]\ntext = 'a'\nfinish = 'stopp'\n",
            "demo.toml:3:10: unknown variant `stopp`, expected one of `stop`, `tool_calls`, `length`, \
             `content_filter`, `refusal`, `paused`, `other`; did you mean `stop`?",
        ),
        (
            "[[turns]]\nwhen = { matches = '(' }\ntext = 'a'\n",
            "demo.toml:2:20: `(` is not a regular expression: regex parse error:",
        ),
        ("[[turns]]\nwhen = { turn = 0 }\ntext = 'a'\n", "demo.toml:2:17: turns are counted from 1"),
        ("[[turns]]\nwhen = {}\ntext = 'a'\n", "demo.toml:2:8: the condition is empty; give it `last`"),
        (
            "[default]\nwhen = { turn = 1 }\ntext = 'a'\n",
            "demo.toml:2:8: the default turn takes no `when`: it is for all the rest",
        ),
    ];
    let mut wrong = vec![];
    for (text, expected) in cases {
        let error = ScriptedModel::from_toml_file("demo.toml", text).unwrap_err();
        let said = error.to_string();
        if !said.starts_with(expected) {
            wrong.push(format!("{text}     got {said}\nexpected {expected}"));
        }
        assert_eq!(ambidex_core::Error::from(error).kind(), ErrorKind::ConfigInvalid);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn all_that_can_be_written_is_read() {
    let model = ScriptedModel::from_toml(
        r#"
        name = "full"
        chunk = 3
        [[turns]]
        when = { last = "go", offers = ["read"], output = false }
        reasoning = "hm"
        text = "t"
        calls = [{ name = "read", args = { path = "x", n = 1 } }, { name = "raw", args = "{" }]
        finish = "length"
        usage = { input_tokens = 5, output_tokens = 6, cached_input_tokens = 1, usd = 0.5 }
        delay = "0ms"
        pace = "0s"
        faults = [{ kind = "overloaded", times = 1, after = 2, retry_after = "1s", message = "later" }]
        "#,
    )
    .unwrap();
    assert_eq!((model.info().name.as_str(), model.info().provider.as_str()), ("full", "scripted"));
    let mut talk = Talk::new(model).tools(&["read"]);
    let error = {
        let request = Request { tools: talk.request().tools, ..Request::user("go") };
        let model =
            ScriptedModel::from_toml("[default]\ntext='a'\nfaults=[{kind='overloaded', message='later'}]");
        answer(&model.unwrap(), request, Context::detached()).await.unwrap_err()
    };
    assert_eq!(error.message(), "later");
    talk.push_user("go");
    assert!(talk.try_answer().await.is_err());
    let reply = talk.answer().await;
    assert_eq!(reply.finish, ambidex_core::Finish::Length);
    assert_eq!(reply.usage.usd, Some(0.5));
    assert_eq!(calls(&reply).len(), 2);
}

#[test]
fn a_script_is_opened_by_name_or_as_a_file_below_a_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    assert_eq!(ScriptedModel::open("tour.toml", &folder).unwrap().info().name, "tour");
    assert_eq!(ScriptedModel::open("builtin:tour", &folder).unwrap().info().name, "tour");
    let error = ScriptedModel::open("builtin:tuor", &folder).unwrap_err().to_string();
    assert_eq!(
        error,
        "builtin:tuor: there is no script `builtin:tuor`; there are builtin:demo, builtin:tour"
    );
    let error = ScriptedModel::open("none.toml", &folder).unwrap_err().to_string();
    assert!(error.contains("none.toml: the script cannot be read: No such file"), "{error}");
}
