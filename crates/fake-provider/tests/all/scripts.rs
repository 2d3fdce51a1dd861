//! Which turn answers, and which attempt a fault strikes.

use ambidex_fake_provider::{FakeProvider, Fault, Match, Part, Script, Turn, When, Wire};
use serde_json::{Value, json};

use crate::client::{post, post_as, request};
use crate::{history, reader};

fn continued(wire: Wire, result: &str) -> Value {
    let mut body = request(wire, true);
    let call = ("a".to_owned(), "read".to_owned(), "{}".to_owned());
    history::answer(wire, &mut body, "", &[call], history::ELSEWHERE, result);
    body
}

async fn text(provider: &FakeProvider, wire: Wire, body: &Value) -> String {
    reader::read(wire, true, &post(provider.addr(), wire, body).await).unwrap().text
}

#[tokio::test]
async fn turns_answer_by_position_or_by_what_they_match() {
    let script = Script::new([
        Turn::text("first"),
        Turn::text("it failed").when(Match::LastContains("ENOENT".into())),
        Turn::text("second"),
        Turn::text("mine").when(Match::All(vec![Match::Run("r9".into()), Match::LastRole("tool".into())])),
    ]);
    let provider = FakeProvider::start(script).await.unwrap();
    for wire in Wire::ALL {
        assert_eq!(text(&provider, wire, &request(wire, true)).await, "first");
        assert_eq!(text(&provider, wire, &continued(wire, "fine")).await, "second");
        assert_eq!(text(&provider, wire, &continued(wire, "error: ENOENT")).await, "it failed");
        let response = post_as(provider.addr(), wire, "r9", &continued(wire, "fine")).await;
        assert_eq!(reader::read(wire, true, &response).unwrap().text, "mine");
    }
}

#[tokio::test]
async fn a_conversation_without_a_turn_is_refused() {
    let provider = FakeProvider::start(Script::new([Turn::text("only")])).await.unwrap();
    for wire in Wire::ALL {
        let response = post(provider.addr(), wire, &continued(wire, "more")).await;
        assert_eq!(response.status, Some(400));
        assert!(response.text().contains("1 assistant messages so far"), "{}", response.text());
    }
}

#[tokio::test]
async fn attempts_are_counted_per_run_and_per_turn() {
    let script =
        Script::new([Turn::text("one"), Turn::text("two")]).with_fault(Fault::Status503, When::First);
    let provider = FakeProvider::start(script).await.unwrap();
    for wire in Wire::ALL {
        let mut statuses = Vec::new();
        for run in ["a", "b", "a", "b"].map(|run| format!("{run}-{}", wire.as_str())) {
            let response = post_as(provider.addr(), wire, &run, &request(wire, true)).await;
            statuses.push(response.status.unwrap());
        }
        assert_eq!(statuses, [503, 503, 200, 200]);
        // The next turn of a run begins with a first attempt again.
        let run = format!("a-{}", wire.as_str());
        let next = post_as(provider.addr(), wire, &run, &continued(wire, "x")).await;
        assert_eq!(next.status, Some(503));
        let last = provider.requests().pop().unwrap();
        assert_eq!((last.run.as_str(), last.attempt, last.fault), (run.as_str(), 1, Some(Fault::Status503)));
    }
}

#[tokio::test]
async fn a_marker_in_the_first_user_message_names_the_run() {
    let provider =
        FakeProvider::start(Script::text("ok").with_fault(Fault::Status500, When::Attempt(2))).await.unwrap();
    for wire in Wire::ALL {
        let statuses = async |name: &str| {
            let mut body = request(wire, false);
            history::ask(wire, &mut body, &format!("[run:{name}] go"));
            let mut out = Vec::new();
            for _ in 0..3 {
                out.push(post(provider.addr(), wire, &body).await.status.unwrap());
            }
            out
        };
        assert_eq!(statuses(&format!("x{}", wire.as_str())).await, [200, 500, 200]);
        assert_eq!(statuses(&format!("y{}", wire.as_str())).await, [200, 500, 200]);
    }
}

#[tokio::test]
async fn a_turns_own_fault_comes_before_the_scripts() {
    let turn = Turn::text("x").fault(Fault::Status404, When::Always);
    let provider =
        FakeProvider::start(Script::new([turn]).with_fault(Fault::Status500, When::Always)).await.unwrap();
    let response = post(provider.addr(), Wire::OpenAi, &request(Wire::OpenAi, true)).await;
    assert_eq!(response.status, Some(404));
}

#[tokio::test]
async fn once_strikes_the_first_request_of_a_run_only() {
    let script = Script::new([Turn::text("one"), Turn::text("two")]).with_fault(Fault::Status500, When::Once);
    let provider = FakeProvider::start(script).await.unwrap();
    for wire in Wire::ALL {
        for run in ["a", "b"].map(|run| format!("{run}-{}", wire.as_str())) {
            let mut statuses = Vec::new();
            for body in [request(wire, true), request(wire, true), continued(wire, "x"), continued(wire, "x")]
            {
                statuses.push(post_as(provider.addr(), wire, &run, &body).await.status.unwrap());
            }
            assert_eq!(statuses, [500, 200, 200, 200]);
        }
    }
}

#[tokio::test]
async fn a_turn_can_belong_to_a_model() {
    let script = Script::new([Turn::text("other"), Turn::text("mine").when(Match::Model("big".into()))]);
    let provider = FakeProvider::start(script).await.unwrap();
    for wire in Wire::ALL {
        let mut body = request(wire, true);
        assert_eq!(text(&provider, wire, &body).await, "other");
        body["model"] = json!("big");
        assert_eq!(text(&provider, wire, &body).await, "mine");
    }
}

#[tokio::test]
async fn a_new_script_counts_anew() {
    let faulty = || Script::text("x").with_fault(Fault::Status500, When::First);
    let provider = FakeProvider::start(faulty()).await.unwrap();
    let body = request(Wire::OpenAi, true);
    assert_eq!(post(provider.addr(), Wire::OpenAi, &body).await.status, Some(500));
    assert_eq!(post(provider.addr(), Wire::OpenAi, &body).await.status, Some(200));
    provider.set_script(faulty());
    assert_eq!(post(provider.addr(), Wire::OpenAi, &body).await.status, Some(500));
}

#[test]
fn a_script_is_the_same_in_json() {
    let script = Script::new([Turn::new([
        Part::reasoning("hm"),
        Part::RedactedReasoning("secret".into()),
        Part::call_with_id("i", "read", json!({"path": "x"})),
        Part::Refusal("no".into()),
    ])
    .when(Match::All(vec![Match::Any, Match::Turn(2)]))
    .chunks(3)
    .fault(Fault::StallPings, When::Attempt(2))])
    .with_fault(Fault::RateLimitMillis, When::First);
    let json = serde_json::to_string(&script).unwrap();
    assert_eq!(Script::from_json(&json).unwrap(), script);
    let error = Script::from_json(r#"{"turns": [{"partz": []}]}"#).unwrap_err().to_string();
    assert!(error.contains("partz") && error.contains("line 1"), "{error}");
}
