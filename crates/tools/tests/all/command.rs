use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, ErrorKind, Tool, ToolOutput};
use ambidex_tools::{CommandSpec, CommandTool};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;
use tokio_util::sync::CancellationToken;

use crate::support::{call, fault, text};

fn spec(command: &[&str], input: Value) -> CommandSpec {
    CommandSpec { input, ..CommandSpec::new(command.iter().copied()) }
}

fn tool(spec: CommandSpec) -> CommandTool {
    CommandTool::new("sh", spec).unwrap()
}

fn refused(spec: CommandSpec) -> String {
    let error = CommandTool::new("sh", spec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    error.message().to_owned()
}

#[tokio::test]
async fn each_value_stays_one_argument() {
    let tool = tool(spec(
        &["printf", "[%s]", "{a}", "x{b}y", "{c}"],
        json!({"a": "string", "b": "integer", "c": "string?"}),
    ));
    assert_eq!(
        text(&tool, json!({"a": "two words; $(id) `id` *\n'\"", "b": 3})).await,
        "[two words; $(id) `id` *\n'\"][x3y]"
    );
    assert_eq!(text(&tool, json!({"a": "{b}", "b": 3, "c": ""})).await, "[{b}][x3y][]");
}

#[tokio::test]
async fn a_value_is_no_option_unless_the_template_says_so() {
    let input = || json!({"a": "string"});
    let open = tool(spec(&["printf", "%s", "{a}"], input()));
    let error = fault(&open, json!({"a": "--version"})).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArguments);
    assert!(
        error.message().contains("`a` must not begin with `-`") && error.message().contains("\"--\""),
        "{error}"
    );
    assert_eq!(text(&open, json!({"a": "a-b"})).await, "a-b");

    let behind = tool(spec(&["printf", "%s", "--", "{a}"], input()));
    assert_eq!(text(&behind, json!({"a": "-n"})).await, "---n");
    let inside = tool(spec(&["printf", "%s", "={a}"], input()));
    assert_eq!(text(&inside, json!({"a": "-n"})).await, "=-n");
    let allowed =
        tool(CommandSpec { allow_dash: vec!["a".into()], ..spec(&["printf", "%s", "{a}"], input()) });
    assert_eq!(text(&allowed, json!({"a": "-n"})).await, "-n");
}

#[tokio::test]
async fn a_nul_character_is_refused() {
    let tool = tool(spec(&["printf", "{a}"], json!({"a": "string"})));
    assert!(fault(&tool, json!({"a": "a\0b"})).await.message().contains("NUL"));
}

#[tokio::test]
async fn the_environment_has_only_what_is_declared() {
    // Something that this test has and no tool is given.
    let ours = std::env::vars()
        .map(|(name, _)| name)
        .find(|name| name.starts_with("CARGO") || name == "SHLVL")
        .unwrap();
    let mut description = spec(&["env"], json!({}));
    description.env.insert("SECRET_OF_TOOL".into(), "s3".into());
    assert!(!format!("{description:?}").contains("s3"));
    let told = text(&tool(description.clone()), json!({})).await;
    assert!(told.contains("PATH=") && told.contains("SECRET_OF_TOOL=s3"), "{told}");
    let has = |told: &str| told.lines().any(|line| line.starts_with(&format!("{ours}=")));
    assert!(!has(&told), "{told}");
    description.pass_env.push(ours.clone());
    assert!(has(&text(&tool(description), json!({})).await));
}

#[tokio::test]
async fn standard_input_is_the_template_or_nothing() {
    let none = tool(spec(&["cat"], json!({})));
    assert_eq!(text(&none, json!({})).await, "(no output, exit code 0)");
    let given = tool(CommandSpec { stdin: Some("<{a}>".into()), ..spec(&["cat"], json!({"a": "string"})) });
    let long = "é".repeat(100_000);
    assert_eq!(text(&given, json!({"a": long})).await, format!("<{long}>"));
    // A program that does not read it is no failure.
    let deaf = tool(CommandSpec { stdin: Some("{a}".into()), ..spec(&["true"], json!({"a": "string"})) });
    assert_eq!(text(&deaf, json!({"a": long.repeat(20)})).await, "(no output, exit code 0)");
}

#[tokio::test]
async fn a_failure_shows_its_code_and_what_was_said() {
    let error =
        fault(&tool(spec(&["sh", "-c", "echo out; echo why >&2; exit 3"], json!({}))), json!({})).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::ToolFailed, false));
    assert_eq!(error.message(), "`sh` ended with exit code 3: why");
    let error = fault(&tool(spec(&["sh", "-c", "kill -9 $$"], json!({}))), json!({})).await;
    assert_eq!(error.message(), "`sh` was ended by signal 9");
}

#[tokio::test]
async fn exit_codes_may_be_declared_as_no_failure() {
    let command = &["grep", "-n", "--", "{a}", "/dev/null"];
    assert!(
        fault(&tool(spec(command, json!({"a": "string"}))), json!({"a": "x"}))
            .await
            .message()
            .contains("exit code 1")
    );
    let ok = CommandSpec { ok_exit_codes: vec![0, 1], ..spec(command, json!({"a": "string"})) };
    assert_eq!(text(&tool(ok), json!({"a": "x"})).await, "(no output, exit code 1)");
}

#[tokio::test]
async fn json_comes_back_as_json() {
    let json = |text: &str| tool(CommandSpec { json: true, ..spec(&["printf", "%s", text], json!({})) });
    assert_eq!(call(&json(r#"{{"a":1}}"#), json!({})).await, Ok(ToolOutput::Json(json!({"a": 1}))));
    assert!(fault(&json("no"), json!({})).await.message().contains("not JSON"));
}

#[tokio::test]
async fn a_flood_of_output_is_drained_and_cut() {
    // Much more than a pipe holds, on both; a child that is not read would never end.
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo line $i of the output; echo complaint $i >&2; i=$((i+1)); done";
    let tool = tool(CommandSpec { max_output: Some(1_000), ..spec(&["sh", "-c", script], json!({})) });
    let told = text(&tool, json!({})).await;
    assert!(told.starts_with("line 0 of the output"), "{told}");
    assert!(told.contains("line 19999 of the output") && told.contains("bytes left out"), "{told}");
    assert!(told.contains("[stderr]\ncomplaint 0") && told.trim_end().ends_with("complaint 19999"), "{told}");
    assert!(told.len() < 2_500, "{}", told.len());
}

#[tokio::test]
async fn a_program_that_cannot_start_says_why_and_what_to_do() {
    let error = fault(&tool(spec(&["no-such-program-here"], json!({}))), json!({})).await;
    assert!(
        error.message().contains("`no-such-program-here` was not found") && !error.is_retryable(),
        "{error}"
    );

    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\necho ran\n").unwrap();
    let name = script.to_str().unwrap();
    let error = fault(&tool(spec(&[name], json!({}))), json!({})).await;
    assert!(error.message().contains("chmod +x"), "{error}");

    let nowhere = CommandSpec { cwd: Some(folder.path().join("gone")), ..spec(&["true"], json!({})) };
    assert!(fault(&tool(nowhere), json!({})).await.message().contains("`cwd`"));

    // Somebody still writes it.
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(&script).unwrap();
    let busy = fault(&tool(spec(&[name], json!({}))), json!({})).await;
    assert!(busy.is_retryable(), "{busy}");
    drop(writer);
    assert_eq!(text(&tool(spec(&[name], json!({}))), json!({})).await, "ran\n");
}

#[test]
fn a_wrong_description_names_the_field_and_the_remedy() {
    let a = || json!({"a": "string"});
    for (wrong, told) in [
        (spec(&[], json!({})), "`command` is empty"),
        (spec(&["{a}"], a()), "the program cannot be a placeholder"),
        (spec(&["echo", "{b}"], a()), "`{b}` is not declared"),
        (spec(&["echo"], a()), "`input.a` is used nowhere"),
        (spec(&["echo", "x{a}"], json!({"a": "string?"})), "`command[1]`: `a` may be left out"),
        (spec(&["echo", "{a"], a()), "`command[1]`: a brace"),
        (CommandSpec { allow_dash: vec!["z".into()], ..spec(&["echo", "{a}"], a()) }, "`allow_dash`"),
        (
            CommandSpec { pass_env: vec!["A=B".into()], ..spec(&["echo"], json!({})) },
            "`A=B` is not a variable",
        ),
    ] {
        let message = refused(wrong);
        assert!(message.starts_with("tool `sh`: ") && message.contains(told), "{told}: {message}");
    }
    let spec: CommandSpec =
        serde_json::from_value(json!({"command": ["true"], "effect": "read", "timeout": "2s"})).unwrap();
    let tool = tool(spec);
    assert_eq!((tool.spec().effect, tool.spec().timeout_ms), (EffectClass::Read, Some(2_000)));
}

/// The processes of a group that are not zombies, as the process table tells.
fn alive(group: i32) -> Vec<i32> {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut alive = Vec::new();
    for process in processes {
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        // After the name, which may have spaces: state, parent, group.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        if fields[0] != "Z" && fields[0] != "X" && fields[2] == group.to_string() {
            alive.push(process);
        }
    }
    alive
}

/// Waits until something has come true; the bound only keeps a failing test from hanging.
fn until(what: &str, true_now: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !true_now() {
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "never came true: {what}");
        std::thread::yield_now();
    }
}

/// Waits until the last process of a group has gone: the kernel delivers SIGKILL in its own time.
fn gone(group: i32) {
    until("the group is gone", || alive(group).is_empty());
}

/// Waits until the child was reaped.
fn reaped(child: i32) {
    until("the child is reaped", || !Path::new(&format!("/proc/{child}")).exists());
}

/// A tool whose script writes to a pipe `ready`, and what it wrote there.
struct Script {
    tool: CommandTool,
    folder: tempfile::TempDir,
    token: CancellationToken,
}

impl Script {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("ready");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let description =
            CommandSpec { cwd: Some(folder.path().into()), ..spec(&["sh", "-c", script], json!({})) };
        Self { tool: tool(description), folder, token: CancellationToken::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn context(&self) -> Context {
        let context = Context::detached();
        let scope = ambidex_core::context::RunScope { run: "run".into(), ..Default::default() };
        Context::new(Arc::new(scope), context.effect().into(), 1, self.token.clone(), None)
    }

    /// The group's id, as the script tells it once everything runs.
    async fn group(&self) -> i32 {
        let pipe = tokio::fs::File::open(self.path().join("ready")).await.unwrap();
        let mut line = String::new();
        tokio::io::BufReader::new(pipe).read_line(&mut line).await.unwrap();
        line.trim().parse().unwrap()
    }
}

/// A child, a grandchild and a grandchild of that, all of which would sleep for minutes.
const FAMILY: &str = "sleep 300 & (sleep 301 & sleep 302) & echo $$ > ready; wait";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_ends_the_whole_family() {
    let script = Script::new(FAMILY);
    let call = tokio::spawn(script.tool.call(json!({}), script.context()));
    let group = script.group().await;
    assert!(!alive(group).is_empty());
    script.token.cancel();
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    // Nothing is left when the call has returned; the grandchildren were ended by the same signals.
    gone(group);
    assert!(!Path::new(&format!("/proc/{group}")).exists(), "the child was not reaped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_asked_before_it_is_ended() {
    let script =
        Script::new("trap 'echo asked > note; exit 0' TERM; echo $$ > ready; while :; do sleep 0.01; done");
    let call = tokio::spawn(script.tool.call(json!({}), script.context()));
    let group = script.group().await;
    script.token.cancel();
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(fs::read_to_string(script.path().join("note")).unwrap(), "asked\n");
    gone(group);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_does_not_listen_is_ended_after_the_grace() {
    let script = Script::new("trap '' TERM; sleep 300 & echo $$ > ready; while :; do sleep 300; done");
    assert!(script.tool.cancel_grace() > ambidex_tools::command::GRACE);
    let call = tokio::spawn(script.tool.call(json!({}), script.context()));
    let group = script.group().await;
    script.token.cancel();
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    gone(group);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_ends_the_family_at_once() {
    let script = Script::new(FAMILY);
    let call = tokio::spawn(script.tool.call(json!({}), script.context()));
    let group = script.group().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gone(group);
    // Reaped as well, by the thread that started it.
    reaped(group);
}

#[test]
fn a_runtime_that_ends_takes_its_children_along() {
    let script = Script::new(FAMILY);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let call = runtime.spawn(script.tool.call(json!({}), script.context()));
    let group = runtime.block_on(script.group());
    drop(runtime);
    drop(call);
    gone(group);
    reaped(group);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_leaves_behind_is_ended() {
    let script = Script::new("sleep 300 & echo $$ > ready; echo done");
    let call = tokio::spawn(script.tool.call(json!({}), script.context()));
    let group = script.group().await;
    // The sleeper holds the output open; it does not hold the call.
    assert_eq!(call.await.unwrap().unwrap().to_text(), "done\n");
    gone(group);
}

#[tokio::test]
async fn a_cancelled_call_starts_nothing() {
    let script = Script::new("echo ran > note");
    script.token.cancel();
    let error = script.tool.call(json!({}), script.context()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!script.path().join("note").exists());
}

/// Not a test of its own: what `a_killed_process_takes_its_child_along` starts and kills.
#[test]
fn helper_that_is_killed() {
    let Ok(folder) = std::env::var("AMBIDEX_TEST_FOLDER") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut description = spec(&["sh", "-c", "echo $$ > ready; exec sleep 300"], json!({}));
    description.cwd = Some(folder.into());
    let _ = runtime.block_on(tool(description).call(json!({}), Context::detached()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_process_takes_its_child_along() {
    let script = Script::new("");
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "command::helper_that_is_killed"])
        .env("AMBIDEX_TEST_FOLDER", script.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let group = script.group().await;
    assert_eq!(alive(group).len(), 1);
    parent.kill().unwrap();
    parent.wait().unwrap();
    gone(group);
}
