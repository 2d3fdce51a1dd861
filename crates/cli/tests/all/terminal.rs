//! What a person sees: the binary in a pseudo-terminal, read as a screen.

use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::people::people;
use crate::support::Place;

const PATIENCE: Duration = Duration::from_secs(120);
const ROWS: u16 = 40;
const COLUMNS: u16 = 80;

struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    output: Receiver<Vec<u8>>,
    typing: Box<dyn Write + Send>,
    screen: vt100::Parser,
    raw: Vec<u8>,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    fn start(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_wide(place, args, variables, COLUMNS)
    }

    fn start_wide(place: &Place, args: &[&str], variables: &[(&str, &str)], columns: u16) -> Self {
        let size = PtySize { rows: ROWS, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_ambidex"));
        command.args(args);
        command.cwd(place.path());
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", place.path());
        command.env("TERM", "xterm-256color");
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("started");
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let typing = pair.master.take_writer().expect("a writer");
        let rows = NonZero::new(ROWS).expect("not zero");
        let columns = NonZero::new(columns).expect("not zero");
        let screen = vt100::Parser::new(rows, columns, 0);
        Self { child, output, typing, screen, raw: Vec::new(), _master: pair.master }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads until the screen shows this.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        while !self.text().contains(text) {
            match self.output.recv_timeout(PATIENCE) {
                Ok(bytes) => self.take(&bytes),
                Err(error) => panic!("{error}: no {text:?} on\n{}", self.text()),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.screen.process(bytes);
    }

    fn types(&mut self, text: &str) {
        self.typing.write_all(text.as_bytes()).expect("typed");
        self.typing.flush().expect("typed");
    }

    /// Reads to the end; the exit code.
    fn ends(&mut self) -> u32 {
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.take(&bytes);
        }
        self.child.wait().expect("ended").exit_code()
    }

    /// The first cell of this text.
    fn cell_of(&self, text: &str) -> vt100::Cell {
        let screen = self.screen.screen();
        for row in 0..ROWS {
            let line = screen.contents_between(row, 0, row, COLUMNS);
            if let Some(at) = line.find(text) {
                let column = u16::try_from(line[..at].chars().count()).expect("a column");
                return screen.cell(row, column).expect("a cell").clone();
            }
        }
        panic!("no {text:?} on\n{}", self.text());
    }
}

const WORDS: &str = r#"
[[turns]]
chunk = 3
text = """
## Plan

Some **strong** and *soft* words, `code_here`, snake_case and 2 * 3, in a line that is long enough to be wrapped.

- first
- second

```rust
let x = 1;
```

| a | b |
|---|---|
| 1 | **2** |
"""
"#;

#[test]
fn markdown_is_drawn_as_it_streams() {
    let place = Place::scripted(WORDS, "");
    let mut terminal = Terminal::start(&place, &["run", "Speak"], &[]);
    assert_eq!(terminal.ends(), 0);
    let text = terminal.text();
    let expected = "Plan\n\nSome strong and soft words, code_here, snake_case and 2 * 3, in a line that is\n\
        long enough to be wrapped.\n\n• first\n• second\n\n╭─ rust\n│ let x = 1;\n╰─\n\na │ b\n──┼──\n1 │ 2\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(terminal.cell_of("strong").bold() && !terminal.cell_of("words").bold());
    assert!(terminal.cell_of("soft").italic());
    assert!(terminal.cell_of("Plan").bold());
    assert!(text.contains("✓ done · 1 model call"), "{text}");
}

#[test]
fn without_colours_no_escape_is_written_but_for_the_spinner() {
    let place = Place::scripted(WORDS, "");
    let mut terminal = Terminal::start(&place, &["run", "Speak"], &[("NO_COLOR", "1")]);
    assert_eq!(terminal.ends(), 0);
    let raw = String::from_utf8_lossy(&terminal.raw).replace("\u{1b}[2K", "");
    assert!(!raw.contains('\u{1b}'), "{raw:?}");
    assert!(terminal.text().contains("## Plan") && terminal.text().contains("`code_here`"));
}

#[test]
fn what_a_model_says_cannot_drive_the_terminal() {
    let script = "[default]\ntext = \"a\\u001b[2Jb\\u001b]0;title\\u0007c\"\n";
    let place = Place::scripted(script, "");
    let mut terminal = Terminal::start(&place, &["run", "Speak"], &[("NO_COLOR", "1")]);
    assert_eq!(terminal.ends(), 0);
    assert!(!terminal.raw.windows(4).any(|bytes| bytes == b"\x1b[2J"), "it cleared the screen");
    assert!(terminal.text().contains("a[2Jb]0;titlec"), "{}", terminal.text());
}

const TOOL: &str = r#"tools = ["make"]
[tools.make]
kind = "command"
command = ["touch", "{name}"]
input = { name = "string" }
effect = "once"
"#;
const CALL: &str = r#"
[[turns]]
calls = [{ name = "make", args = { name = "a.txt" } }]
[[turns]]
text = "That is **done**."
"#;

#[test]
fn a_call_is_approved_at_the_terminal() {
    let place = Place::scripted(CALL, TOOL);
    let mut terminal = Terminal::start(&place, &["run", "Make it"], &[]);
    terminal.shows("[y]es, [n]o, [e]dit");
    assert!(terminal.text().contains("\"name\": \"a.txt\"") && !place.has("a.txt"));
    terminal.types("maybe\n");
    terminal.shows("`maybe` is none of these");
    terminal.types("e\n");
    terminal.shows("arguments as JSON:");
    terminal.types("{\"name\": \"b.txt\"}\n");
    assert_eq!(terminal.ends(), 0);
    assert!(place.has("b.txt") && !place.has("a.txt"));
    assert!(terminal.text().contains("✓ make  b.txt"), "{}", terminal.text());
    assert!(terminal.text().contains("That is done."));
}

#[test]
fn a_person_answers_as_the_model_at_the_terminal() {
    let place = people();
    let mut terminal = Terminal::start(&place, &["run", "-a", "desk", "How large is ambidex.toml?"], &[]);
    terminal.shows("[t]ext, [c]all a tool or [d]ecline?");
    assert!(terminal.text().contains("You are the model `desk` (editors)"), "{}", terminal.text());
    assert!(terminal.text().contains("user: How large is ambidex.toml?"));
    terminal.types("x\n");
    terminal.shows("`x` is none of these");
    // A tool call through its form.
    terminal.types("c\n");
    terminal.shows("name (text):");
    terminal.types("\n");
    terminal.shows("`name` is needed");
    terminal.types("ambidex.toml\n");
    terminal.shows("[s]end, or call [a]nother tool?");
    terminal.types("s\n");
    terminal.shows("✓ size");
    terminal.shows("tool: size gave");
    terminal.types("text\n");
    terminal.shows("its end is a line with one dot");
    terminal.types("It has **two** lines:\nthis is the second.\n.\n");
    assert_eq!(terminal.ends(), 0);
    assert!(terminal.text().contains("It has two lines:"), "{}", terminal.text());
    assert!(terminal.text().contains("✓ done · 2 model calls"), "{}", terminal.text());
}

#[test]
fn an_output_is_asked_field_by_field() {
    let place = people();
    let mut terminal = Terminal::start(&place, &["run", "-a", "form", "A number"], &[]);
    terminal.shows("[o]utput or [d]ecline?");
    terminal.types("o\n");
    terminal.shows("n (integer):");
    terminal.types("four\n");
    terminal.shows("`four` is no integer");
    terminal.types("4\n");
    assert_eq!(terminal.ends(), 0);
    assert!(terminal.text().contains("\"n\""), "{}", terminal.text());
}

#[test]
fn in_a_chat_a_person_answers_too_and_ctrl_c_ends_his_turn() {
    let place = people();
    let mut terminal = Terminal::start(&place, &["chat", "-a", "desk"], &[]);
    terminal.shows("› ");
    terminal.types("Hello?\n");
    terminal.shows("[t]ext, [c]all");
    terminal.types("t\n");
    terminal.shows("one dot");
    terminal.types("Hello yourself.\n.\n");
    terminal.shows("✓ done");
    terminal.types("And now?\n");
    terminal.shows("user: And now?");
    terminal.shows("model: Hello yourself.");
    terminal.types("\u{3}");
    terminal.shows("cancelled");
    terminal.types("/exit\n");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn an_edit_that_the_tool_would_refuse_is_asked_again() {
    let place = Place::scripted(CALL, TOOL);
    let mut terminal = Terminal::start(&place, &["run", "Make it"], &[]);
    terminal.shows("[y]es, [n]o, [e]dit");
    terminal.types("e\n");
    terminal.shows("arguments as JSON:");
    terminal.types("{\"nam\": \"b.txt\"}\n");
    terminal.shows("`name` is missing");
    terminal.types("y\n");
    assert_eq!(terminal.ends(), 0);
    assert!(place.has("a.txt") && !place.has("b.txt"));
}

#[test]
fn a_question_wider_than_the_terminal_is_there_once() {
    let script = r#"
[[turns]]
calls = [{ name = "make", args = { name = "a.txt" } }, { name = "look", args = {} }]
[[turns]]
text = "Over."
"#;
    let look = r#"
[tools.look]
kind = "command"
command = ["sh", "-c", "until [ -e go ]; do sleep 0.02; done"]
effect = "read"
"#;
    let tools = format!("{}{look}", TOOL.replace("[\"make\"]", "[\"make\", \"look\"]"));
    let place = Place::scripted(script, &tools);
    let mut terminal = Terminal::start_wide(&place, &["run", "Make it"], &[], 40);
    terminal.shows("]nswer yourself?");
    place.write("go", "");
    terminal.shows("✓ look");
    terminal.types("y\n");
    assert_eq!(terminal.ends(), 0);
    assert_eq!(terminal.text().matches("[y]es, [n]o").count(), 1, "{}", terminal.text());
}

#[test]
fn a_person_who_leaves_finds_the_run_in_a_file() {
    let place = Place::scripted(CALL, TOOL);
    let mut terminal = Terminal::start(&place, &["run", "Make it"], &[]);
    terminal.shows("[y]es, [n]o, [e]dit");
    terminal.types("\u{4}");
    assert_eq!(terminal.ends(), 3);
    assert!(terminal.text().contains("it is kept in ./ambidex-run-"), "{}", terminal.text());
    let file = place.run_files().pop().expect("the run's file");
    place.ambidex(&["run", "--resume", file.to_str().expect("UTF-8"), "--yes"]).ends(0).prints("done");
    assert!(place.has("a.txt"));
}

#[test]
fn ctrl_c_in_a_chat_ends_the_turn_and_not_the_chat() {
    let script = "[[turns]]\nwhen = { last = \"hang\" }\ntext = \"x\"\nfaults = [{ kind = \"idle\", always = true }]\n\
        [default]\ntext = \"Still here.\"\n";
    let place = Place::scripted(script, "mode = \"chat\"\n");
    let mut terminal = Terminal::start(&place, &["chat"], &[]);
    terminal.shows("›");
    terminal.types("hang\n");
    terminal.shows("script …");
    terminal.types("\u{3}");
    terminal.shows("cancelled");
    terminal.types("hello\n");
    terminal.shows("Still here.");
    terminal.types("\u{4}");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_batch_shows_how_far_it_is() {
    let place = Place::scripted("delay = \"30ms\"\n[default]\ntext = \"ok\"\n", "");
    place.write("tasks.jsonl", &"\"again\"\n".repeat(60));
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl", "--concurrency", "2"];
    let mut terminal = Terminal::start(&place, &args, &[]);
    terminal.shows("/60 · ");
    terminal.shows(" left");
    terminal.shows("2 running");
    terminal.shows("█");
    assert_eq!(terminal.ends(), 0);
    terminal.shows("✓ 60 of 60 done");
    assert!(!terminal.text().contains('░'), "the bar is gone:\n{}", terminal.text());
}
