//! What planner and agents of a team are told.

use std::fmt::Write as _;

use super::analysis::{Analysis, Part};
use crate::merge::{MemberOutput, mark};

pub(super) const PLANNER: &str = "You plan the work of a team of agents. You are given a task and the agents there are. Divide the \
task into parts that each suit one agent; where one agent can do it all as well, give one part. A part needs another \
only where it cannot be done without its output: parts that need nothing of each other are done at the same time. Every \
agent sees the whole task, its own part and the outputs it needs, and nothing else.";

/// How files are told apart from what is said about them.
const FILES: &str = "Give each file whole, in a fenced block that names its path where it opens, like this:\n\n\
```text path=docs/notes.txt\n...\n```\n";

/// An agent as a planner knows it.
pub(super) struct Known<'a> {
    pub name: &'a str,
    pub about: &'a str,
}

pub(super) fn to_plan<'a>(task: &str, agents: impl Iterator<Item = Known<'a>>, most: usize) -> String {
    let mark = mark([task].into_iter());
    let mut prompt = format!("<task {mark}>\n{task}\n</task {mark}>\n\nThe agents:\n");
    for Known { name, about } in agents {
        let about = if about.is_empty() { "(nothing is said about it)" } else { about };
        let _ = writeln!(prompt, "- {name}: {about}");
    }
    let _ = write!(prompt, "\nGive at most {most} parts.");
    prompt
}

pub(super) fn to_repair(asked: &str, given: &str, problems: &[String]) -> String {
    let mut prompt =
        format!("{asked}\n\nYou gave this plan before, and it cannot be followed:\n\n{given}\n\nBecause:\n");
    problems.iter().for_each(|problem| {
        let _ = writeln!(prompt, "- {problem}");
    });
    prompt.push_str("\nGive the plan again, whole, with that put right.");
    prompt
}

/// What a part's agent is told. Where it is the whole task, that alone.
pub(super) struct Brief<'a> {
    pub task: &'a str,
    pub analysis: &'a Analysis,
    pub part: &'a Part,
    /// In the order of its needs.
    pub needs: Vec<&'a MemberOutput>,
    /// What it gave before, and what judges said of that.
    pub before: Option<(&'a str, &'a [String])>,
    pub wants_files: bool,
}

impl Brief<'_> {
    pub(super) fn text(&self) -> String {
        let is_whole = self.part.description == self.task;
        let texts = self.needs.iter().map(|output| output.text.as_str()).chain([self.task]);
        let mark = mark(texts.chain(self.before.map(|(text, _)| text)));
        let mut prompt = String::new();
        if is_whole {
            prompt.push_str(self.task);
        } else {
            let _ = write!(
                prompt,
                "You are one of a team. The whole task:\n\n<task {mark}>\n{}\n</task {mark}>\n",
                self.task
            );
            let _ = write!(prompt, "\nYour part of it, `{}`:\n\n{}\n", self.part.id, self.part.description);
            if !self.part.expected.is_empty() {
                let _ = write!(prompt, "\nWhat you are to give: {}\n", self.part.expected);
            }
            let others: Vec<_> = self
                .analysis
                .parts
                .iter()
                .filter(|part| part.id != self.part.id)
                .map(|part| &*part.id)
                .collect();
            if !others.is_empty() {
                let _ = write!(prompt, "\nOthers do `{}`. Do your part alone.\n", others.join("`, `"));
            }
        }
        for output in &self.needs {
            let part = output.part.as_deref().unwrap_or_default();
            match &output.failed {
                Some(failure) => {
                    let _ = write!(
                        prompt,
                        "\nThe part `{part}` by {} failed: {}\n",
                        output.author, failure.message
                    );
                }
                None => {
                    let author = &output.author;
                    let text = &output.text;
                    let _ = write!(
                        prompt,
                        "\n<output of=\"{part}\" by=\"{author}\" {mark}>\n{text}\n</output {mark}>\n"
                    );
                }
            }
        }
        if let Some((text, reasons)) = self.before {
            let _ = write!(prompt, "\nYou gave this before:\n\n<before {mark}>\n{text}\n</before {mark}>\n");
            prompt.push_str("\nIt is not good enough yet. Judges said:\n");
            reasons.iter().for_each(|reason| {
                let _ = writeln!(prompt, "- {reason}");
            });
            prompt.push_str("\nGive it again, whole and better.\n");
        }
        if self.wants_files {
            let _ = write!(prompt, "\n{FILES}");
        }
        prompt
    }
}
