//! `ambidex chat`: line by line, each turn a run with the messages so far.

use std::path::Path;
use std::sync::Arc;

use ambidex_core::definition::Mode;
use ambidex_core::message::{Part, Role};
use ambidex_core::question::Why;
use ambidex_core::{ErrorKind, Message};
use ambidex_engine::project::Project;
use ambidex_engine::{OnWaiting, RunOptions};
use tokio_util::sync::CancellationToken;

use crate::args::{ChatArgs, Common};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::Lines;
use crate::interrupts::Interrupts;
use crate::project::{self, Chosen};
use crate::show::{Format, Show, number};
use crate::thread_args::OnThreadArgs;

use super::run::tell_of_the_offline_model;
use super::threads;
use super::watch::{Watcher, watch};

const HELP: &str = "/help         this
/clear        forget what was said
/save FILE    write the conversation as Markdown
/exit         end; Ctrl-D too
Ctrl-C ends the answer under way.";

pub async fn chat(
    args: &ChatArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let (mut project, store) = project::open_stored(common).await?;
    // To a person who talks a cut reply is an answer, whatever the agent's mode.
    let chosen = project::choose(&mut project, &args.agent, Some(Mode::Chat))?;
    tell_of_the_offline_model(&chosen, console);
    let interactive = console.is_interactive();
    if interactive {
        let paint = console.stderr_paint();
        let name = &chosen.agent.definition().name;
        let model = &chosen.agent.definition().model;
        console.say(&paint.dim(&format!("{name} on {model}; /help lists commands, Ctrl-D ends")));
    }
    let thread = threads::chosen(&args.on, project.engine(), store.is_some(), console).await?;
    let mut conversation =
        Conversation { chosen, interactive, messages: Vec::new(), lines: None, on: args.on.clone(), thread };
    conversation.load(&project, console).await?;
    // Of the last turn; a person at a terminal has seen how each turn ended.
    let mut last = Exit::Done;
    let mut interrupted = false;
    loop {
        let line = match conversation.line(console, &mut interrupts).await? {
            Typed::Line(line) => line,
            Typed::End => return Ok(last),
            Typed::Interrupted { terminated } => {
                if terminated || !interactive || std::mem::replace(&mut interrupted, true) {
                    return Ok(Exit::Cancelled);
                }
                console.complain("Ctrl-D or /exit ends; Ctrl-C once more ends, too");
                continue;
            }
        };
        interrupted = false;
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => return Ok(last),
            "/help" => console.complain(HELP),
            "/clear" if conversation.thread.is_some() => {
                console.complain("what is stored stays; begin another conversation with --thread NEW, or `ambidex threads delete`");
            }
            "/clear" => {
                conversation.messages.clear();
                console.say("forgotten");
            }
            command if command.starts_with("/save") => {
                conversation.save(command.trim_start_matches("/save").trim(), console);
            }
            command if command.starts_with('/') && !command.contains(' ') => {
                console.complain(&format!("there is no {command}; /help lists what there is"));
            }
            text => {
                let ended = conversation.turn(text, &mut project, console, &interrupts).await?;
                if !interactive {
                    last = ended;
                }
                if interrupts.heard().terminated {
                    return Ok(Exit::Cancelled);
                }
            }
        }
    }
}

enum Typed {
    Line(String),
    End,
    Interrupted { terminated: bool },
}

struct Conversation {
    chosen: Chosen,
    interactive: bool,
    messages: Vec<Arc<Message>>,
    lines: Option<Lines>,
    on: OnThreadArgs,
    /// Where it is stored.
    thread: Option<String>,
}

impl Conversation {
    /// What was said on the stored thread before.
    async fn load(&mut self, project: &Project, console: &mut Console) -> Result<(), Failure> {
        let Some(thread) = &self.thread else { return Ok(()) };
        match project.engine().threads().export(thread).await {
            Ok(file) => self.messages = file.messages.into_iter().map(|it| it.message).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::building(&error)),
        }
        if self.interactive && !self.messages.is_empty() {
            let paint = console.stderr_paint();
            let count = number::counted(self.messages.len() as u64, "message");
            console
                .say(&paint.dim(&format!("on the thread {thread}, after {count}; /save FILE writes them")));
        }
        Ok(())
    }

    async fn line(&mut self, console: &mut Console, interrupts: &mut Interrupts) -> Result<Typed, Failure> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => self.lines.insert(Lines::of_stdin()?),
        };
        if self.interactive {
            let prompt = console.stderr_paint().with("1;36", "› ");
            console.prompt(&prompt);
        }
        interrupts.mark_heard();
        let typed = tokio::select! {
            line = lines.next() => line.map_or(Typed::End, Typed::Line),
            heard = interrupts.next() => Typed::Interrupted { terminated: heard.terminated },
        };
        if self.interactive {
            console.prompt_answered();
            if !matches!(typed, Typed::Line(_)) {
                console.complain("");
            }
        }
        Ok(typed)
    }

    async fn turn(
        &mut self,
        text: &str,
        project: &mut Project,
        console: &mut Console,
        interrupts: &Interrupts,
    ) -> Result<Exit, Failure> {
        // A stored thread brings what was said before.
        let mut messages = if self.thread.is_some() { vec![] } else { self.messages.clone() };
        messages.push(Message::user(text));
        let agent = &self.chosen.agent;
        let options = RunOptions {
            timeout: Some(self.chosen.timeout),
            on_waiting: if self.interactive { OnWaiting::Stay } else { OnWaiting::Return },
            ..RunOptions::default()
        };
        let options = threads::on(&self.on, self.thread.clone(), options);
        let mut show = Show::new(console, Format::Text, agent.definition().output.is_some());
        show.summary = self.interactive;
        let handle = agent.start(messages, options).map_err(|error| Failure::building(&error))?;
        let watcher = Watcher {
            console,
            show: &mut show,
            interrupts,
            lines: &mut self.lines,
            open: Vec::new(),
            interactive: self.interactive,
            project,
        };
        let ended = watch(handle, watcher).await?;
        show.end(console, &ended).map_err(Failure::from_stdout)?;
        let exit = Exit::of_run(&ended);
        match ended {
            // A turn that came to nothing is not part of the conversation: it can be asked again.
            Ok(_) if exit == Exit::Done && self.thread.is_some() => self.load_again(project).await?,
            Ok(result) if exit == Exit::Done => self.messages = result.messages.to_vec(),
            Ok(result) if exit == Exit::Waiting => {
                if result.questions.iter().any(|question| question.why == Why::Reply) {
                    console.error(
                        "a person answers as the model here, and there is no terminal to ask",
                        Some("use `ambidex run`, whose runs can wait, or `ambidex chat` at a terminal"),
                    );
                    return Ok(exit);
                }
                let tools: Vec<_> = result.questions.iter().map(|question| question.tool.as_str()).collect();
                console.error(
                    &format!(
                        "`{}` needs a person's word, and there is no terminal to ask",
                        tools.join("`, `")
                    ),
                    Some("use `ambidex run`, whose runs can wait, or allow the call in [approvals]"),
                );
            }
            Ok(_) => console.error(
                "the turn stopped at its limit of model calls or its budget, and was left out",
                Some("raise --max-iterations or [budgets.run]"),
            ),
            Err(_) => {}
        }
        Ok(exit)
    }

    /// All of it, also what stands there as a summary.
    async fn load_again(&mut self, project: &Project) -> Result<(), Failure> {
        if let Some(thread) = &self.thread {
            let from = self.messages.len() as u64;
            let more = project.engine().threads().messages(thread, from, usize::MAX).await;
            let more = more.map_err(|error| Failure::building(&error))?;
            self.messages.extend(more.into_iter().map(|it| it.message));
        }
        Ok(())
    }

    fn save(&self, file: &str, console: &mut Console) {
        if file.is_empty() {
            return console.complain("say where: /save FILE");
        }
        match std::fs::write(Path::new(file), markdown(&self.messages)) {
            Ok(()) => console.say(&format!("saved {} messages to {file}", self.messages.len())),
            Err(error) => console.error(&format!("cannot write {file}: {error}"), Some("give another path")),
        }
    }
}

pub fn markdown(messages: &[Arc<Message>]) -> String {
    let mut out = String::new();
    for message in messages {
        let who = match message.role {
            Role::System => "System",
            Role::User => "You",
            Role::Assistant => "Model",
            Role::Tool => "Tool",
        };
        out.push_str(&format!("**{who}**\n\n"));
        for part in &message.parts {
            match part {
                Part::Text { text } | Part::Refusal { text } => {
                    out.push_str(&format!("{}\n\n", text.trim_end()))
                }
                Part::Image(image) => out.push_str(&format!("[an image, {}]\n\n", image.media_type)),
                Part::ToolCall(call) => out.push_str(&format!("calls `{}`\n\n", call.name)),
                Part::ToolResult(result) => {
                    out.push_str(&format!("`{}`:\n\n```\n{}\n```\n\n", result.name, result.text.trim_end()));
                }
                Part::Reasoning { .. } | Part::Opaque { .. } => {}
            }
        }
    }
    out
}
