//! The verbs that run no task.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use crate::support::{Place, Ran};

#[test]
fn version_and_help_are_results() {
    let place = Place::new();
    let version = format!("ambidex {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.ambidex(&["version"]).ends(0).out, version);
    assert_eq!(place.ambidex(&["--version"]).ends(0).out, version);
    let short = place.ambidex(&[]).ends(0);
    assert_eq!(short.out, place.ambidex(&["help"]).ends(0).out);
    assert!(short.out.lines().count() < 45, "short help is short");
    place.ambidex(&["help", "run"]).ends(0).prints("Exit codes: 0 done");
    place.ambidex(&["help", "rum"]).ends(2).says("topics are: codes, run");
}

#[test]
fn help_codes_lists_every_code() {
    let ran = Place::new().ambidex(&["help", "codes"]).ends(0);
    for (kind, meaning, _) in ambidex_core::ErrorKind::ALL {
        assert!(ran.out.contains(kind.code()) && ran.out.contains(meaning), "{kind}");
    }
    for code in 0..=8 {
        assert!(ran.out.contains(&format!("\n  {code}  ")), "{code}");
    }
}

#[test]
fn schemas_are_schemas() {
    let place = Place::new();
    for of in ["events", "records", "config"] {
        let schema = place.ambidex(&["schema", of]).ends(0).json();
        jsonschema::validator_for(&schema).expect(of);
    }
    assert_eq!(place.ambidex(&["config", "schema"]).out, place.ambidex(&["schema", "config"]).out);
}

#[test]
fn completions_know_the_verbs() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        place.ambidex(&["completion", shell]).ends(0).prints("doctor");
    }
}

#[test]
fn the_starter_runs_as_it_is_and_is_never_overwritten() {
    let place = Place::new();
    place
        .ambidex(&["config", "init"])
        .ends(0)
        .says("wrote ./ambidex.toml")
        .says("ambidex run \"list files in .\"");
    place.write("notes.txt", "TODO: write more\n");
    place.ambidex(&["run", "-q", "list files in ."]).ends(0).prints("notes.txt");
    place.ambidex(&["run", "-q", "search TODO"]).ends(0).prints("notes.txt:1:");
    place
        .ambidex(&["config", "check"])
        .ends(0)
        .prints("agents: helper")
        .prints("profiles, checked too: careful");
    place.ambidex(&["run", "-q", "hello"]).ends(0).prints("offline model");
    place.write("ambidex.toml", "# mine\n");
    place.ambidex(&["config", "init"]).ends(1).says("is there already");
    assert_eq!(place.read("ambidex.toml"), "# mine\n");
}

#[test]
fn show_says_where_a_value_comes_from_and_hides_secrets() {
    let place = Place::new();
    place.write(
        "ambidex.toml",
        "[providers.own]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\nkey = { env = \"OWN\" }\n",
    );
    let ran = place
        .ambidex_with(&["config", "show", "--origin", "-c", "runtime.sync_workers=3"], &[("OWN", "s3cret")]);
    let ran = ran
        .ends(0)
        .prints("key = { env = \"OWN\" }  # ambidex.toml:4:7 (set)")
        .prints("sync_workers = 3  # -c");
    assert!(!ran.out.contains("s3cret"));
    let settings = place.ambidex(&["config", "show", "--json"]).ends(0).json();
    assert!(
        settings.as_array().is_some_and(|all| all.iter().any(|it| it["key"] == "providers.own.base_url"))
    );
}

#[test]
fn models_are_listed_and_tested() {
    let more = "[models.priced]\nprovider = \"openai\"\nname = \"X-1\"\ncontext = 128000\n\
        price = { input = 1.25, output = 10.0 }\n\
        [routes.smart]\nstrategy = \"fallback\"\nuse = [\"priced\", \"script\"]\n";
    let place = Place::scripted("[default]\ntext = \"ok\"\n", more);
    let ran = place.ambidex(&["models", "list"]).ends(0);
    let row = ran.out.lines().find(|line| line.starts_with("priced")).expect("a row");
    assert!(
        row.contains("openai")
            && row.contains("X-1")
            && row.contains("$1.25 / $10")
            && row.contains("128,000")
    );
    let list = place.ambidex(&["models", "list", "--json"]).ends(0).json();
    assert!(list.as_array().is_some_and(|all| all.iter().any(|it| it["name"] == "script")));
    place.ambidex(&["models", "test", "script"]).ends(0).prints("✓ script").prints("first token");
    let tested = place.ambidex(&["models", "test", "script", "priced", "--json"]).ends(1).json();
    assert_eq!((&tested[0]["ok"], &tested[1]["ok"]), (&true.into(), &false.into()));
    assert_eq!(tested[1]["error"]["code"], "unauthorized");

    ran.prints("ROUTE  STRATEGY  USES").prints("smart  fallback  priced, script");
    let route =
        list.as_array().and_then(|all| all.iter().find(|it| it["name"] == "smart")).expect("the route");
    assert_eq!(
        (&route["route"], &route["use"]),
        (&"fallback".into(), &serde_json::json!(["priced", "script"]))
    );
    // Its first target has no key.
    place.ambidex(&["models", "test", "smart"]).ends(0).prints("✓ smart");
    let ran = place.ambidex(&["run", "-m", "smart", "Hi"]).ends(0);
    assert_eq!(ran.out.trim(), "ok");
    ran.says("priced → script: unauthorized");
    place.ambidex(&["config", "check"]).ends(0).prints("routes: smart");
    place.ambidex(&["run", "-m", "smrat", "Hi"]).ends(2).says("smart");
}

#[test]
fn a_provider_is_asked_for_the_models_it_has() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            assert_eq!(lines.next().as_deref(), Some("GET /api/tags HTTP/1.1"));
            let _head = lines.take_while(|line| !line.is_empty()).count();
            let body = r#"{"models":[{"name":"qwen3:8b","details":{"parameter_size":"8.2B"}}]}"#;
            let head = "content-type: application/json\r\nconnection: close";
            write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .unwrap();
        }
    });
    let more = format!("[providers.ollama]\nbase_url = \"http://{address}\"\n");
    let place = Place::scripted("[default]\ntext = \"ok\"\n", &more);
    place.ambidex(&["models", "list", "ollama"]).ends(0).prints("ollama:qwen3:8b").prints("8.2B");
    let list = place.ambidex(&["models", "list", "ollama", "--json"]).ends(0).json();
    assert_eq!((&list[0]["name"], &list[0]["about"]), (&"ollama:qwen3:8b".into(), &"8.2B".into()));
    server.join().unwrap();
    place.ambidex(&["models", "list", "nobody"]).ends(6).says("there is no provider `nobody`");
}

const TOOLS: &str = r#"
[tools.start]
kind = "command"
description = "The first bytes."
command = ["head", "-c", "{bytes}", "{file}"]
input = { file = "string", bytes = "integer" }
effect = "read"
[tools.slow]
kind = "command"
command = ["sleep", "60"]
timeout = "100ms"
effect = "read"
retry = { attempts = 1 }
"#;

#[test]
fn tools_are_listed_described_and_called() {
    let place = Place::new();
    place.write("ambidex.toml", TOOLS);
    place.write("a.txt", "12345");
    let ran = place.ambidex(&["tools", "list"]).ends(0);
    assert!(ran.out.lines().any(|row| row.starts_with("start") && row.contains("file bytes")), "{}", ran.out);
    let schema = place.ambidex(&["tools", "schema", "start"]).ends(0).json();
    assert_eq!(schema["input"]["required"], serde_json::json!(["file", "bytes"]));
    place.ambidex(&["tools", "call", "start", "-i", "file=a.txt", "-i", "bytes=3"]).ends(0).prints("123");
    place.ambidex(&["tools", "call", "start", r#"{"file": "a.txt", "bytes": 2}"#]).ends(0).prints("12");
    place.ambidex(&["tools", "call", "read_file", "-i", "path=a.txt"]).ends(0).prints("12345");
    let row = |ran: &Ran, name: &str| ran.out.lines().find(|row| row.starts_with(name)).unwrap().to_owned();
    assert!(row(&ran, "read_file").contains("built-in"), "{}", ran.out);
    place.write("ambidex.toml", &TOOLS.replace("tools.start", "tools.read_file"));
    let ran = place.ambidex(&["tools", "list"]).ends(0);
    assert_eq!(ran.out.lines().filter(|row| row.starts_with("read_file")).count(), 1, "{}", ran.out);
    assert!(row(&ran, "read_file").contains("ambidex.toml"), "{}", ran.out);
}

#[test]
fn a_call_that_cannot_be_made_or_fails_has_an_exit_code() {
    let place = Place::new();
    place.write("ambidex.toml", TOOLS);
    let call = |args: &[&str]| place.ambidex(&[&["tools", "call"], args].concat());
    call(&["stert"]).ends(2).says("there is no tool `stert`").says("Did you mean `start`?");
    call(&["start"]).ends(2).says("file").says("ambidex tools schema start");
    call(&["start", "-i", "file=a", "-i", "bytes=many"]).ends(2).says("`many` is no integer");
    call(&["start", "[]"]).ends(2).says("arguments are a JSON object");
    call(&["start", "-i", "file=none.txt", "-i", "bytes=1"]).ends(1).says("[tool_failed]");
    call(&["slow"]).ends(8).says("[tool_timeout]");
}

#[test]
fn the_doctor_tells_what_is_wrong_with_the_configuration() {
    let place = Place::new();
    place.ambidex(&["doctor"]).ends(0).prints("no ambidex.toml").prints("store").prints("open files");
    place.write("ambidex.toml", "[agents.a]\nmodel = \"none\"\n");
    place.ambidex(&["doctor"]).ends(1).prints("✗ configuration").prints("ambidex.toml:2:9");
}
