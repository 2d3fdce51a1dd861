//! A second process of the operating system finishes what SIGKILL left of the first.
//!
//! The test binary plays both parts: it starts itself again for one test, told by a variable that it is the
//! child.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use ambidex_core::BoxFuture;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing, Why};
use ambidex_core::store::{Batch, Lease, Store, StoreError, Stored};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{Context, ToolOutput};
use ambidex_engine::{Agent, Engine, RunFile, RunOptions};
use ambidex_tools::FunctionTool;
use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::deadly::asks;
use crate::support::{Planned, assert_answered, call, heard, ms};

const CHILD: &str = "AMBIDEX_TEST_CHILD";

/// The folder of a child, in a child.
pub fn child_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// This test again, in a process of its own.
pub fn again(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, folder);
    command
}

/// Records in a file: on disk when the commit is acknowledged.
pub struct FileStore {
    memory: MemoryStore,
    file: Mutex<File>,
}

impl FileStore {
    /// What a torn write left of the last line is cut off.
    pub fn open(folder: &Path) -> (Self, bool) {
        let path = folder.join("run");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let memory = MemoryStore::new();
        if whole > 0 {
            RunFile::parse(&text[..whole]).unwrap().restore(&memory).unwrap();
        }
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.set_len(whole as u64).unwrap();
        (Self { memory, file: Mutex::new(file) }, whole > 0)
    }
}

impl Store for FileStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.memory.claim(run, lease, now)
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        self.memory.renew(run, epoch, until)
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.memory.load(run)
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut text = String::new();
        for record in &batch.records {
            text.push_str(&(serde_json::to_string(record).unwrap() + "\n"));
        }
        let done = self.memory.commit(run, epoch, expected, batch).now_or_never().unwrap();
        if done.is_ok() {
            if expected == 0 {
                let stored = self.memory.load(run).now_or_never().unwrap().unwrap();
                text = RunFile::new(run, stored).to_text().unwrap();
            }
            let mut file = self.file.lock().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.sync_data().unwrap();
            // The parent says when it has seen it, so it can kill here and not a few commits later.
            if text.contains("\"asked\":") {
                println!("asked");
            }
            println!("committed");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        Box::pin(std::future::ready(done))
    }
}

impl Questions for FileStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        self.memory.ask(question)
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        self.memory.withdraw(id)
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        self.memory.answer(id, answer)
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        self.memory.open(run)
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.memory.answered(id)
    }
}

/// What calls did, in a file that survives.
#[derive(Clone)]
struct Diary(Arc<Mutex<File>>);

impl Diary {
    fn write(&self, entry: Value) {
        self.0.lock().unwrap().write_all(format!("{entry}\n").as_bytes()).unwrap();
    }

    fn read(folder: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join("diary")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn tool(&self, name: &str, effect: EffectClass) -> FunctionTool {
        let diary = self.clone();
        let spec = ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new(name, "for tests") };
        FunctionTool::dynamic(spec, move |arguments, context: Context| {
            let diary = diary.clone();
            async move {
                let key = context.idempotency_key();
                diary.write(json!(["begun", key]));
                ms(arguments["ms"].as_u64().unwrap_or(1)).await;
                let text = format!("did {arguments}");
                diary.write(json!(["done", key, text]));
                Ok(ToolOutput::Text(text))
            }
        })
        .effect(effect)
    }
}

async fn live(folder: &Path) {
    let diary = OpenOptions::new().create(true).append(true).open(folder.join("diary")).unwrap();
    let diary = Diary(Arc::new(Mutex::new(diary)));
    let (store, goes_on) = FileStore::open(folder);
    let store = Arc::new(store);
    let engine = Engine::builder().store(store.clone()).build();
    let turns = vec![
        vec![call("pay", json!({"ms": 15})), call("look", json!({"ms": 5})), call("send", json!({"ms": 10}))],
        vec![call("send", json!({"ms": 3})), call("look", json!({"ms": 9})), call("put", json!({"ms": 1}))],
    ];
    let agent = Agent::builder()
        .engine(&engine)
        .model(Planned::new(turns))
        .tool(diary.tool("look", EffectClass::Read))
        .tool(diary.tool("put", EffectClass::Idempotent))
        .tool(diary.tool("pay", EffectClass::Once))
        .tool(diary.tool("send", EffectClass::Undeclared))
        .approvals(asks(false, false, true))
        .build()
        .unwrap();
    let options = RunOptions { id: Some("run".into()), ..RunOptions::default() };
    let handle = match goes_on {
        true => agent.resume("run", vec![], options).await.unwrap(),
        false => agent.start_unwatched("go", options).unwrap(),
    };
    let mut outcome = std::pin::pin!(handle.outcome());
    let result = loop {
        tokio::select! {
            result = &mut outcome => break result.unwrap(),
            () = ms(2) => {}
        }
        for question in store.open(None).await.unwrap() {
            let key = format!("run/{}", question.about);
            let done =
                Diary::read(folder).into_iter().find(|entry| entry[0] == "done" && entry[1] == json!(key));
            let answer = match (question.why, done) {
                (Why::Reply, _) => panic!("no model here is a person"),
                (Why::Approval, _) => Answer::Approve,
                (Why::InDoubt, Some(done)) => Answer::Answer { answer: done[2].clone() },
                (Why::InDoubt, None) => {
                    diary.write(json!(["repeat", key]));
                    Answer::Repeat
                }
            };
            store.answer(&question.id, answer).await.unwrap();
        }
    };
    assert_answered(&result.messages);
    println!("\nheard {}", json!([result.status, heard(&result.messages)]));
}

/// Lets one process live until it has committed so often, or to its end; what it heard if it ended.
fn life(folder: &Path, commits: usize) -> Option<String> {
    let mut command = again("process::a_run_outlives_processes_killed_at_any_commit", folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut heard = None;
    let mut left = commits;
    for line in &mut lines {
        if line.ends_with("committed") {
            left -= 1;
            match left {
                0 => child.kill().unwrap(),
                _ => seen.write_all(b"\n").unwrap(),
            }
        }
        heard = line.strip_prefix("heard ").map(str::to_owned).or(heard);
    }
    let status = child.wait().unwrap();
    assert!(heard.is_none() || left == 0 || status.success(), "{status}");
    assert!(heard.is_some() || left == 0, "the child failed: {status}");
    heard
}

/// Lets one process live until it has committed what it announced with this word, or to its end; what it heard
/// if it ended.
pub fn lives(mut command: Command, killed_after: &str) -> Option<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = child.stdin.take().unwrap();
    let (mut heard, mut last) = (None, false);
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
        last |= line.ends_with(killed_after);
        if line.ends_with("committed") {
            match last {
                true => child.kill().unwrap(),
                false => seen.write_all(b"\n").unwrap(),
            }
        }
        heard = line.strip_prefix("heard ").map(str::to_owned).or(heard);
    }
    let status = child.wait().unwrap();
    assert!(last || status.success(), "the child failed: {status}");
    heard
}

#[test]
fn a_run_outlives_processes_killed_at_any_commit() {
    if let Some(folder) = child_folder() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        return runtime.block_on(live(&folder));
    }
    let fresh = || tempfile::tempdir().unwrap();
    let base = life(fresh().path(), usize::MAX).unwrap();
    assert!(base.starts_with("[\"succeeded\""), "{base}");
    let mut killed = 0;
    for point in 1..=12 {
        let folder = fresh();
        // Killed at this commit, again soon after, then left in peace.
        let mut lives = [point, 2, usize::MAX].into_iter();
        let heard = loop {
            if let Some(heard) = life(folder.path(), lives.next().unwrap()) {
                break heard;
            }
            killed += 1;
        };
        assert_eq!(heard, base, "killed at commit {point}");
        let diary = Diary::read(folder.path());
        let count = |what: &str, key: &Value| {
            diary.iter().filter(|entry| entry[0] == what && entry[1] == *key).count()
        };
        for key in ["run/t0.0", "run/t0.2", "run/t1.0"].map(Value::from) {
            let (begun, repeats) = (count("begun", &key), count("repeat", &key));
            assert!(1 <= begun && begun <= 1 + repeats, "{key} ran {begun} times, repeated {repeats}");
        }
        let keys: std::collections::BTreeSet<_> = diary.iter().map(|entry| entry[1].to_string()).collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
    }
    assert!(killed >= 16, "{killed} processes were killed");
}
