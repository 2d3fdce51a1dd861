//! The JSON Schema and the reader agree.

use ambidex_config::{Config, ConfigErrorKind, STARTER};
use serde_json::Value as Json;

use crate::cases::cases;

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&Config::json_schema()).unwrap()
}

fn json(text: &str) -> Option<Json> {
    toml::from_str(text).ok()
}

/// One of everything.
pub const WHOLE: &str = r#"
default_agent = "a"
[store]
url = "memory:"
[runtime]
sync_workers = 4
[providers.p]
kind = "anthropic"
base_url = "https://example.com"
key = { command = ["pass", "x"] }
headers = { x-a = "b", authorization = { env = "T", prefix = "Bearer " } }
pool = { max_idle_per_host = 1, http2 = false }
proxy = { env = "PROXY" }
limits = { concurrent = 1, requests_per_minute = 2, tokens_per_minute = 3, queue = 0 }
[providers.r]
kind = "openai-responses"
[providers.g]
kind = "gemini"
[providers.o]
kind = "ollama"
base_url = "http://127.0.0.1:1"
[models.m]
provider = "p"
name = "n"
price = { input = 1, output = 2.5, cached_input = 0 }
retry = { attempts = 1, base = "0s", cap = "1s" }
timeout = { connect = "1s", first_token = "1s", idle = "1s", total = "1h" }
context = 1000
capabilities = { vision = true, tools = false, parallel_tool_calls = false, max_output = 100 }
max_tokens = 10
temperature = 1
top_p = 0.5
seed = 7
stop = ["x"]
reasoning = { effort = "high", tokens = 5 }
parallel_tool_calls = false
output_method = "tool"
extra = { x = { y = 1 } }
[models.s]
kind = "scripted"
script = "builtin:tour"
[models.d]
kind = "human"
queue = "editors"
timeout = "24h"
[routes.f]
strategy = "fallback"
use = ["r", "openai:n", "m"]
retry = { attempts = 2, base = "1s", cap = "2s" }
timeout = { connect = "1s", first_token = "2s", idle = "3s", total = "4s" }
after_first_token = "fail"
breaker = { failures = 2, open_for = "1m" }
[routes.r]
strategy = "race"
use = ["m", "m"]
winner = "first_valid"
[routes.h]
strategy = "hedge"
use = ["s", "f"]
stagger = "700ms"
[routes.p]
strategy = "hedge"
use = ["s"]
stagger = "p95"
[routes.b]
strategy = "balance"
use = ["m", "s"]
pick = "weighted"
weights = { m = 3, s = 0 }
[cache]
kind = "exact"
ttl = "1d"
capacity = 5
[tools.h]
kind = "http"
method = "PUT"
url = "https://example.com/{id}"
headers = { x-a = "{id}" }
query = { q = "{id}" }
body = { id = "{id}" }
allow_private = true
description = "d"
input = { id = "integer" }
effect = "idempotent"
timeout = "1s"
parallel = false
concurrency = 1
max_output = "64KiB"
retry = { attempts = 2, base = "1m", cap = "1h" }
[tools.c]
kind = "command"
command = ["ls", "{x}"]
cwd = "/"
env = { PATH = "/bin", T = { env = "T" } }
stdin = "{x}"
pass_env = ["SHELL"]
allow_dash = ["x"]
ok_exit_codes = [0, 1]
json = true
input = { x = "string" }
max_output = 4096
[approvals]
read = "ask"
idempotent = "deny"
once = "allow"
[budgets.run]
usd = 1
tokens = 2
tool_calls = 3
wall = "1d"
[agents.a]
mode = "chat"
model = "m"
description = "d"
instructions = "i"
tools = ["h", "c", "read_file"]
max_iterations = 2
tool_concurrency = 2
output = { schema = { a = "string" } }
stop = { after_tools = ["h"], text = "DONE" }
tool_choice = { tool = "h" }
timeout = "1h"
[profiles.x.runtime]
sync_workers = 1
[agents.follower]
mode = "workflow"
workflow = "w"
[workflows.w]
description = "everything"
input = { topic = "string", list = "string[]?" }
output = { text = "steps.one.text" }
max_steps = 100
concurrency = 2
[[workflows.w.steps]]
id = "one"
agent = "a"
prompt = "{{ input.topic }}"
when = "true"
retry = { attempts = 2, base = "1s", cap = "2s" }
timeout = "1m"
cache = true
on_error = "ask"
max_visits = 3
choose = [{ when = "true", go = "two" }, { go = "end" }]
[[workflows.w.steps]]
id = "two"
parallel = ["a", { agent = "a", prompt = "x" }]
merge = { how = "best_of", judge = ["a"], judges = 3, rubric = "good", at_least = 1 }
[[workflows.w.steps]]
id = "three"
needs = ["one"]
human = { question = "?", form = { yes = "boolean" }, expire = "2d" }
[[workflows.w.steps]]
id = "four"
each = { over = "input.list", as = "it", concurrency = 2 }
flow = "v"
input = { x = "{{ it }}" }
[[workflows.w.steps]]
id = "five"
wait = "10m"
[[workflows.w.steps]]
id = "six"
wait = { until = "2026-01-31T09:00:00Z" }
[[workflows.w.steps]]
id = "seven"
tool = "read_file"
args = { path = "x" }
[workflows.v]
input = { x = "string" }
output = "input.x"
steps = [{ id = "one", parallel = ["a"], merge = { how = "vote", field = "x", reduce = "median" } }]
"#;

#[test]
fn what_loads_is_valid() {
    let validator = validator();
    for text in [WHOLE, STARTER, ""] {
        let mut options = ambidex_config::LoadOptions::in_directory("/");
        options.text = Some(text.into());
        ambidex_config::load(&options).unwrap_or_else(|errors| panic!("{errors}"));
        let faults: Vec<String> =
            validator.iter_errors(&json(text).unwrap()).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[test]
fn what_a_schema_can_see_is_refused_by_it_too() {
    use ConfigErrorKind::{Missing, OutOfRange, UnknownKey, WrongType};
    let validator = validator();
    let mut judged = 0;
    for case in cases().iter().filter(|case| case.is_only_a_file()) {
        let errors = case.errors().unwrap();
        let visible =
            errors.iter().any(|error| matches!(error.kind, UnknownKey | WrongType | OutOfRange | Missing));
        let only_a_profile = errors.iter().all(|error| error.key == "profiles");
        if let (true, false, Some(json)) = (visible, only_a_profile, json(&case.text)) {
            judged += 1;
            assert!(!validator.is_valid(&json), "{} is valid by the schema", case.name);
        }
    }
    assert!(judged > 15, "{judged} cases were judged");
}

#[test]
fn every_key_that_the_schema_knows_is_known_to_the_reader() {
    let mut options = ambidex_config::LoadOptions::in_directory("/");
    // `every_key_has_a_case_of_a_wrong_value` covers the other direction.
    options.text = Some(WHOLE.into());
    let loaded = ambidex_config::load(&options).unwrap();
    let whole = json(WHOLE).unwrap();
    for section in ["providers", "models", "routes", "tools", "agents"] {
        for (name, entry) in whole[section].as_object().unwrap() {
            for key in entry.as_object().unwrap().keys() {
                assert!(loaded.origin(&[section, name, key]).is_some(), "{section}.{name}.{key}");
            }
        }
    }
}

#[test]
fn the_configuration_serializes_to_what_its_schema_describes() {
    let mut options = ambidex_config::LoadOptions::in_directory("/");
    options.text = Some(WHOLE.into());
    let mut config = serde_json::to_value(ambidex_config::load(&options).unwrap().config).unwrap();
    let faults: Vec<String> = validator().iter_errors(&config).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    config["store"]["zebra"] = Json::from(1);
    assert!(!validator().is_valid(&config));
}
