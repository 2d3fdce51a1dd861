//! What a person reads who made a mistake: what was tried, what was found, what to do.

use std::net::TcpListener;

use crate::support::Place;

fn hello() -> Place {
    Place::scripted("[default]\ntext = \"Hello.\"\n", "")
}

/// The address of a port that nobody listens on.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_wrong_flag_is_named_with_the_nearest() {
    let ran = hello().ambidex(&["run", "--modle", "x", "Task"]).ends(2).says("--modle").says("'--model'");
    assert_eq!(ran.out, "");
}

#[test]
fn a_flag_before_its_verb_is_told_its_place() {
    let place = hello();
    let ran = place.ambidex(&["-m", "script", "run", "Task"]).ends(2);
    ran.says("`-m` stands before the verb").says("ambidex run -m ...");
    place.ambidex(&["--json", "run", "Task"]).ends(2).says("ambidex run --json ...");
    place.ambidex(&["--nonsense", "run", "Task"]).ends(2).says("unexpected argument '--nonsense'");
}

#[test]
fn a_task_without_quotes_is_told_to_have_them() {
    hello().ambidex(&["run", "list", "files"]).ends(2).says("`files` is one word too many").says("in quotes");
    hello().ambidex(&["run", "hi", "--json", "there"]).ends(2).says("`there` is one word too many");
}

#[test]
fn an_unknown_verb_is_named_with_the_nearest() {
    hello().ambidex(&["rum", "Task"]).ends(2).says("unrecognized subcommand 'rum'").says("'run'");
}

#[test]
fn verbs_and_flags_of_later_versions_are_refused_in_so_many_words() {
    let place = hello();
    let ran = place.ambidex(&["serve"]).ends(2).says("`serve` is planned and not in this version");
    assert!(!ran.err.contains("unrecognized"), "{}", ran.err);
    place
        .ambidex(&["run", "--detach", "Task"])
        .ends(7)
        .says("no server is running")
        .says("leave --detach out");
}

#[test]
fn no_task_is_no_run() {
    hello().ambidex(&["run"]).ends(2).says("there is no task").says("ambidex run \"list files in .\"");
}

#[test]
fn limits_have_a_range() {
    let place = hello();
    place.ambidex(&["run", "--max-iterations", "0", "T"]).ends(2).says("1..=10000");
    place.ambidex(&["run", "--max-usd", "nothing", "T"]).ends(2).says("such as 0.50");
    place.ambidex(&["run", "--timeout", "5", "T"]).ends(2).says("\"5s\"");
    place.ambidex(&["run", "--timeout", "-1m", "T"]).ends(2).says("'-1m'").says("\"5s\"");
    place.ambidex(&["run", "--max-usd", "-1", "T"]).ends(2).says("such as 0.50");
    place.ambidex(&["run", "--max-iterations", "-1", "T"]).ends(2).says("1..=10000");
    place.ambidex(&["run", "--json", "--result-json", "T"]).ends(2).says("cannot be used with");
}

#[test]
fn an_unknown_agent_or_model_names_those_there_are() {
    let place = hello();
    place.ambidex(&["run", "-a", "writer", "T"]).ends(2).says("there is no agent `writer`").says("worker");
    let ran = place.ambidex(&["run", "-m", "big", "T"]).ends(2).says("there is no model `big`");
    ran.says("script").says("openai:NAME");
}

#[test]
fn several_agents_without_a_default_must_be_named() {
    let place = Place::scripted("[default]\ntext = \"x\"\n", "[agents.other]\nmodel = \"script\"\n");
    place.ambidex(&["run", "T"]).ends(2).says("which agent?").says("worker, other").says("default_agent");
    place.ambidex(&["run", "-q", "-a", "other", "T"]).ends(0);
}

#[test]
fn a_wrong_configuration_is_exit_6_with_its_place() {
    let place = Place::new();
    place.write("ambidex.toml", "[agents.writer]\nmodell = \"demo\"\n");
    let ran = place.ambidex(&["run", "T"]).ends(6).says("ambidex.toml:2:1").says("did you mean: model");
    assert!(ran.err.contains("2 | modell"), "{}", ran.err);
    place
        .ambidex(&["--config", "none.toml", "run", "T"])
        .ends(6)
        .says("none.toml")
        .says("ambidex config init");
    place.ambidex(&["-c", "agents.writer", "config", "check"]).ends(6).says("agents.writer");
}

#[test]
fn a_missing_key_says_which_variable() {
    let place = Place::new();
    let ran = place.ambidex(&["run", "-m", "openai:some-model", "T"]).ends(6).says("OPENAI_API_KEY");
    ran.says("= help:");
    place.ambidex(&["run", "-m", "anthropic:some-model", "T"]).ends(6).says("ANTHROPIC_API_KEY");
}

#[test]
fn an_unreachable_provider_says_where_and_what_to_do() {
    let place = Place::new();
    let url = format!("http://{}/v1", closed_port());
    let variables = [("OPENAI_BASE_URL", url.as_str())];
    let flags = ["-c", "models.far={provider=\"openai\",name=\"x\",retry={attempts=1}}"];
    let ran = place.ambidex_with(&[flags[0], flags[1], "run", "-m", "far", "T"], &variables).ends(1);
    let ran = ran.says("[connect_failed]").says("ambidex doctor");
    assert!(ran.err.contains(url.trim_start_matches("http://").trim_end_matches("/v1")), "{}", ran.err);
    let ran = place.ambidex_with(&[flags[0], flags[1], "models", "test", "far"], &variables).ends(1);
    ran.prints("✗ far").prints("connect_failed");
    let ran = place.ambidex_with(&["doctor"], &variables).ends(1);
    ran.prints("✗ openai").prints(&url).prints("check base_url");
}

#[test]
fn a_folder_that_cannot_be_written_to_says_what_to_do() {
    let place = Place::new();
    place.write("file", "");
    place
        .ambidex(&["config", "init", "file/below"])
        .ends(1)
        .says("cannot write file/below/ambidex.toml")
        .says("FOLDER");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let place = hello();
    place
        .ambidex(&["run", "T", "--file", "none.txt"])
        .ends(2)
        .says("cannot read none.txt")
        .says("check the path");
    std::fs::write(place.path().join("bytes"), [0xff, 0xfe, 0]).expect("written");
    place.ambidex(&["run", "T", "--file", "bytes"]).ends(2).says("bytes is not UTF-8 text");
    place.ambidex(&["run", "--resume", "none.jsonl"]).ends(2).says("none.jsonl");
    place.write("other.jsonl", "{}\n");
    place.ambidex(&["run", "--resume", "other.jsonl"]).ends(2).says("not the file of a run");
}

#[test]
fn a_full_disk_is_no_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = hello().command(&["schema", "events"]);
    let child = command.current_dir("/").stdout(full).spawn().expect("started");
    crate::support::wait(child).ends(1).says("cannot write to stdout");
}

#[test]
fn a_wrong_script_is_found_by_config_check() {
    let place = Place::scripted("[[turns]]\ntxt = \"x\"\n", "");
    let ran = place.ambidex(&["config", "check"]).ends(6).says("script.toml:2:1").says("did you mean `text`");
    assert_eq!(ran.out, "");
}

#[test]
fn a_tool_without_its_key_does_not_hide_the_others() {
    let place = Place::new();
    place.write(
        "ambidex.toml",
        "[tools.ticket]\nkind = \"http\"\nurl = \"https://tickets.example.com/\"\n\
         headers = { authorization = { env = \"TICKET_TOKEN\" } }\n",
    );
    let ran = place.ambidex(&["tools", "list"]).ends(6).says("TICKET_TOKEN is not set").prints("read_file");
    assert!(!ran.out.contains("ticket"), "{}", ran.out);
    place.ambidex(&["doctor"]).ends(1).prints("✗ tools").prints("TICKET_TOKEN is not set");
}
