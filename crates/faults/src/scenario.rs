//! The task of every row: what the provider says turn by turn, the tools, and the history that is due.

use std::sync::{Arc, Mutex, PoisonError};

use ambidex::tools::FunctionTool;
use ambidex::{Context, EffectClass, Error, Tool, ToolOutput, ToolSpec};
use ambidex_fake_provider::{Fault, Match, Part, Script, Turn, When};
use serde_json::{Value, json};

use crate::case::{Case, Strikes};

pub const TASK: &str = "What is in the folder docs, and how big is the readme?";
/// Model calls a run may make: enough for each row that ends, and an end for the one that does not.
pub const MAX_ITERATIONS: u32 = 6;
/// What a run tells a model whose reply was cut.
pub const GO_ON: &str = "Your reply was cut at the token limit. Go on exactly where it stopped.";

/// One turn of the model.
pub struct Says {
    pub text: &'static str,
    pub calls: Vec<(&'static str, Value)>,
}

/// The turns as they are meant to arrive.
pub fn turns() -> [Says; 3] {
    [
        Says {
            text: "I list the folder — ä🌍 — and look at the readme's size.",
            calls: vec![
                ("list", json!({"path": "docs/ä🌍"})),
                ("size", json!({"path": "README.md", "unit": "bytes"})),
            ],
        },
        Says {
            text: "One folder is left, «übrig», so I list it too.",
            calls: vec![("list", json!({"path": "docs/übrig"}))],
        },
        Says {
            text: "Die Ordner enthalten zwei Dateien; the readme has 5,120 bytes — done ✓ 🦀.",
            calls: vec![],
        },
    ]
}

/// The text in halves, as a reply that is cut leaves it.
pub fn halves(text: &str) -> (String, String) {
    let middle = text.chars().count() / 2;
    (text.chars().take(middle).collect(), text.chars().skip(middle).collect())
}

/// Whether the fault is in a tool call of the reply: it strikes only turns that have one.
pub fn is_in_a_call(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::ArgumentsCut
            | Fault::ArgumentsCutUnsaid
            | Fault::ArgumentsNotJson
            | Fault::ArgumentsNotObject
            | Fault::ArgumentsEmpty
            | Fault::DeepArguments
            | Fault::DuplicateIdEqual
            | Fault::DuplicateIdUnequal
            | Fault::UnknownTool
    )
}

/// Whether the struck reply arrives, so that the next turn follows it instead of another attempt.
fn goes_into_history(fault: Fault) -> bool {
    is_in_a_call(fault) && fault != Fault::DuplicateIdUnequal
}

/// What the provider plays in this row.
pub fn script(case: Case) -> Script {
    let when = match case.strikes {
        Strikes::Always => When::Always,
        Strikes::First if goes_into_history(case.fault) => When::Once,
        Strikes::First => When::First,
    };
    let mut script = Script::default();
    for says in turns() {
        let struck = match case.fault {
            // A reply that is cut is the worst where it could pass for the result.
            Fault::FinishLength => says.calls.is_empty(),
            fault if is_in_a_call(fault) => !says.calls.is_empty(),
            _ => true,
        };
        let calls = says.calls.into_iter().map(|(name, arguments)| Part::call(name, arguments));
        // Thinking goes before the calls it leads to, and has to come back with them.
        let thinks = (calls.len() > 0).then(|| Part::reasoning("Ich überlege: what is there? 🤔"));
        let parts = thinks.into_iter().chain([Part::text(says.text)]).chain(calls);
        // Every byte of that fault is a wake-up on both sides.
        let chars = if case.fault == Fault::ByteByByte { 20 } else { 7 };
        let turn = Turn::new(parts).chunks(chars).interleaved();
        script.turns.push(if struck { turn.fault(case.fault, when) } else { turn });
    }
    if case.fault == Fault::FinishLength {
        let [.., last] = turns();
        let rest = Turn::text(halves(last.text).1).when(Match::LastContains(GO_ON.to_owned()));
        let rest = if case.strikes == Strikes::Always { rest.fault(case.fault, when) } else { rest };
        script.turns.push(rest);
    }
    script
}

/// Which calls ran, in the order they began.
#[derive(Clone, Default)]
pub struct Ran(Arc<Mutex<Vec<String>>>);

impl Ran {
    fn note(&self, name: &str, arguments: &Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call(name, arguments));
    }

    pub fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A call as it is compared and shown.
pub fn call(name: &str, arguments: &Value) -> String {
    format!("{name}{arguments}")
}

/// The two tools. They write down each call that reaches them, with its arguments.
pub fn tools(ran: &Ran) -> [impl Tool + use<>; 2] {
    ["list", "size"].map(|name| {
        let mut spec = ToolSpec::new(name, format!("Gives the {name} of a path."));
        spec.effect = EffectClass::Read;
        // Nothing is required, so that only the arguments' wholeness decides whether a call runs.
        spec.input = json!({
            "type": "object",
            "properties": {"path": {}, "unit": {"type": "string"}},
        });
        let ran = ran.clone();
        FunctionTool::dynamic(spec, move |arguments: Value, _: Context| {
            ran.note(name, &arguments);
            let result = result(name, &arguments);
            async move { Ok::<_, Error>(ToolOutput::Text(result)) }
        })
    })
}

/// What a tool answers.
pub fn result(name: &str, arguments: &Value) -> String {
    format!("{name} of {}", arguments["path"].as_str().unwrap_or("."))
}

/// One message of a history, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    User(String),
    Assistant {
        text: String,
        /// As [`call`] writes them; `name: broken` where the arguments are none.
        calls: Vec<String>,
    },
    /// A tool's answer; of a failed call only the code.
    Answer(Result<String, String>),
}
