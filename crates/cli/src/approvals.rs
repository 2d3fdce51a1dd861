//! Questions of a run, asked and answered at the terminal.

use std::collections::VecDeque;

use ambidex_core::question::{Answer, Question, Why};
use serde_json::Value;

use crate::console::{columns, printable};
use crate::form::Form;
use crate::paint::Paint;
use crate::relay::{self, Writing, Written};

/// What a person is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: String,
    pub tool: String,
    pub args: Value,
    pub why: Why,
    /// Where a model's reply is wanted: all of what is asked.
    pub reply: Option<Box<Question>>,
}

impl From<Question> for Asked {
    fn from(question: Question) -> Self {
        let reply = (question.why == Why::Reply).then(|| Box::new(question.clone()));
        Self { id: question.id, tool: question.tool, args: question.args, why: question.why, reply }
    }
}

/// Whether a question is asked by a step of a workflow, and not about a call.
pub fn is_form(id: &str) -> bool {
    id.rsplit('/').next().is_some_and(|effect| effect.starts_with("human:"))
}

impl Asked {
    /// The form, where one is to be filled in.
    fn form(&self) -> Option<Form> {
        is_form(&self.id).then(|| Form::new("answer", &self.args["form"]))
    }
}

/// What a line typed by a person means.
pub enum Said {
    /// A question is answered.
    Answered { id: String, answer: Answer },
    /// More text of a reply that is not whole yet.
    Writes { id: String, text: String },
    /// Ask on, after saying this.
    Again(Option<String>),
}

/// Questions in their order; the first is the one that is asked.
#[derive(Default)]
pub struct Approvals {
    open: VecDeque<Asked>,
    stage: Stage,
    writing: Writing,
    /// Of the first question, while it is filled in.
    form: Option<Form>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Choice,
    Reason,
    Edit,
    Result,
}

impl Approvals {
    pub fn ask(&mut self, question: Asked) {
        self.open.push_back(question);
        if self.open.len() == 1 {
            self.begin();
        }
    }

    /// Whether it waits for an answer here.
    pub fn knows(&self, id: &str) -> bool {
        self.open.iter().any(|question| question.id == id)
    }

    /// A question that needs no answer any more.
    pub fn withdraw(&mut self, id: &str) {
        if self.open.front().is_some_and(|question| question.id == id) {
            self.begin();
        }
        self.open.retain(|question| question.id != id);
        if self.form.is_none() {
            self.form = self.open.front().and_then(Asked::form);
        }
    }

    /// The next question begins at its beginning.
    fn begin(&mut self) {
        self.stage = Stage::Choice;
        self.writing = Writing::default();
        self.form = self.open.front().and_then(Asked::form);
    }

    pub fn is_asking(&self) -> bool {
        !self.open.is_empty()
    }

    /// The question in full, shown once before its prompt.
    pub fn describe(&self, paint: Paint, width: usize) -> Option<String> {
        self.open.front().map(|question| describe(question, paint, width))
    }

    pub fn prompt(&self, paint: Paint) -> String {
        if let Some(relay) = self.open.front().and_then(|asked| asked.reply.as_ref()?.relay.as_deref()) {
            return paint.bold(&self.writing.prompt(relay));
        }
        if let Some(form) = &self.form {
            return paint.bold(&form.prompt());
        }
        let text = match (self.stage, self.open.front().map(|question| question.why)) {
            (Stage::Choice, Some(Why::InDoubt)) => "[r]un it again, [n]o, or [a]nswer with its result? ",
            (Stage::Choice, _) => "[y]es, [n]o, [e]dit the arguments, or [a]nswer yourself? ",
            (Stage::Reason, _) => "reason, for the model: ",
            (Stage::Edit, _) => "arguments as JSON: ",
            (Stage::Result, _) => "result, JSON or text: ",
        };
        paint.bold(text)
    }

    /// `fits` says whether edited arguments are what a tool takes.
    pub fn line(&mut self, line: &str, fits: &mut dyn FnMut(&str, &Value) -> Result<(), String>) -> Said {
        let Some(question) = self.open.front() else { return Said::Again(None) };
        if let Some(wanted) = &question.reply {
            return match self.writing.line(line, wanted) {
                Written::Again(why) => Said::Again(why),
                Written::Text(text) => Said::Writes { id: wanted.id.clone(), text },
                Written::Answer(answer) => self.answered(answer),
            };
        }
        let line = line.trim();
        if let Some(form) = &mut self.form {
            return match form.line(line) {
                Ok(Some(answer)) => self.answered(Answer::Answer { answer }),
                Ok(None) => Said::Again(None),
                // Where no form says what an answer is, a text is one.
                Err(_) if question.args["form"].is_null() => {
                    let answer = Value::String(line.to_owned());
                    self.answered(Answer::Answer { answer })
                }
                Err(why) => Said::Again(Some(why)),
            };
        }
        let doubt = question.why == Why::InDoubt;
        let answer = match self.stage {
            Stage::Choice => match line.to_lowercase().as_str() {
                "y" | "yes" if !doubt => Answer::Approve,
                "r" | "repeat" if doubt => Answer::Repeat,
                "n" | "no" => return self.turn_to(Stage::Reason),
                "e" | "edit" if !doubt => return self.turn_to(Stage::Edit),
                "a" | "answer" => return self.turn_to(Stage::Result),
                "" => return Said::Again(None),
                other => return Said::Again(Some(format!("`{other}` is none of these"))),
            },
            Stage::Reason => Answer::Reject { reason: reason(line) },
            Stage::Edit => {
                match arguments(line).and_then(|args| fits(&question.tool, &args).map(|()| args)) {
                    Ok(args) => Answer::Edit { args },
                    Err(why) => {
                        self.stage = Stage::Choice;
                        return Said::Again(Some(why));
                    }
                }
            }
            Stage::Result => Answer::Answer { answer: json_or_text(line) },
        };
        self.answered(answer)
    }

    fn answered(&mut self, answer: Answer) -> Said {
        let asked = self.open.pop_front();
        self.begin();
        match asked {
            Some(question) => Said::Answered { id: question.id, answer },
            None => Said::Again(None),
        }
    }

    fn turn_to(&mut self, stage: Stage) -> Said {
        self.stage = stage;
        Said::Again(None)
    }
}

/// The words for a call that is not to run.
pub fn reason(text: &str) -> String {
    if text.is_empty() { "a person said no".to_owned() } else { text.to_owned() }
}

/// The arguments of a call, an object.
pub fn arguments(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("arguments are a JSON object, such as {\"path\": \".\"}".to_owned()),
        Err(error) => Err(format!("this is not JSON: {error}")),
    }
}

pub fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// The question with its arguments, framed.
pub fn describe(question: &Asked, paint: Paint, width: usize) -> String {
    let room = width.saturating_sub(3).max(20);
    if let Some(relay) = question.reply.as_ref().and_then(|question| question.relay.as_deref()) {
        return relay::describe(relay, paint, &|line| wrapped(line, room));
    }
    if is_form(&question.id) {
        let text = question.args["question"].as_str().unwrap_or_default();
        let bar = paint.yellow("│");
        let mut out = format!("{} {}\n", paint.yellow("╭─"), paint.bold("A person is asked."));
        for line in printable(text).lines() {
            wrapped(line, room).iter().for_each(|piece| out.push_str(&format!("{bar} {piece}\n")));
        }
        for (name, schema) in question.args["form"]["properties"].as_object().into_iter().flatten() {
            let of = match schema["enum"].as_array() {
                Some(choices) => choices.iter().map(Value::to_string).collect::<Vec<_>>().join(" | "),
                None => schema["type"].as_str().unwrap_or("any").to_owned(),
            };
            out.push_str(&format!("{bar}   {}\n", paint.dim(&printable(&format!("{name}: {of}")))));
        }
        out.push_str(&paint.yellow("╰─"));
        return out;
    }
    let head = match question.why {
        Why::Reply => "A model's reply is wanted.".to_owned(),
        Why::Approval => format!("May `{}` run?", question.tool),
        Why::InDoubt => format!(
            "May `{}` run again? It was under way when its process ended, and may have happened.",
            question.tool
        ),
    };
    let bar = paint.yellow("│");
    let mut out = format!("{} {}\n", paint.yellow("╭─"), paint.bold(&printable(&head)));
    let arguments = serde_json::to_string_pretty(&question.args).unwrap_or_default();
    for line in printable(&arguments).lines() {
        for piece in wrapped(line, room) {
            out.push_str(&format!("{bar} {piece}\n"));
        }
    }
    out.push_str(&paint.yellow("╰─"));
    out
}

fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in line.chars() {
        if let Some(last) = pieces.last_mut() {
            if columns(last) >= width {
                pieces.push(c.to_string());
            } else {
                last.push(c);
            }
        }
    }
    pieces
}
