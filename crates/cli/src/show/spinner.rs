//! What is under way, in one line that turns.

use std::time::Instant;

use crate::console::one_line;
use crate::paint::Paint;

use super::number::seconds;

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

#[derive(Default)]
pub struct Spinner {
    frame: usize,
    model: Option<Work>,
    thought: String,
    writing: bool,
    tools: Vec<(String, Work)>,
}

struct Work {
    name: String,
    args: String,
    since: Instant,
}

impl Spinner {
    pub fn model(&mut self, name: &str) {
        self.model = Some(Work { name: name.to_owned(), args: String::new(), since: Instant::now() });
        self.thought.clear();
        self.writing = false;
    }

    /// The end of what it thinks is shown.
    pub fn thought(&mut self, text: &str) {
        let skip = text.chars().count().saturating_sub(200);
        self.thought = text.chars().skip(skip).collect();
    }

    pub fn writes(&mut self) {
        self.writing = true;
        self.thought.clear();
    }

    pub fn model_ended(&mut self) {
        self.model = None;
        self.thought.clear();
    }

    pub fn tool(&mut self, id: &str, name: &str, args: String) {
        self.tools.push((id.to_owned(), Work { name: name.to_owned(), args, since: Instant::now() }));
    }

    /// Gives the arguments back.
    pub fn tool_ended(&mut self, id: &str) -> String {
        match self.tools.iter().position(|(other, _)| other == id) {
            Some(at) => self.tools.remove(at).1.args,
            None => String::new(),
        }
    }

    pub fn name_of(&self, id: &str) -> Option<&str> {
        self.tools.iter().find(|(other, _)| other == id).map(|(_, work)| work.name.as_str())
    }

    /// The next frame, while something is under way.
    pub fn turn(&mut self, paint: Paint, width: usize) -> Option<String> {
        self.frame = (self.frame + 1) % FRAMES.len();
        let (text, since) = match (self.tools.as_slice(), &self.model) {
            ([], None) => return None,
            ([], Some(work)) if !self.thought.is_empty() => {
                (format!("{} thinks: {}", work.name, self.thought.replace('\n', " ")), work.since)
            }
            ([], Some(work)) if self.writing => (format!("{} writes", work.name), work.since),
            ([], Some(work)) => (format!("{} …", work.name), work.since),
            ([(_, only)], _) => (format!("{} {}", only.name, only.args), only.since),
            ([(_, first), ..], _) => {
                let names: Vec<_> = self.tools.iter().map(|(_, work)| work.name.as_str()).collect();
                (format!("{} tools: {}", names.len(), names.join(", ")), first.since)
            }
        };
        let elapsed = since.elapsed().as_secs_f64();
        let time = if elapsed < 1.0 { String::new() } else { format!("  {}", seconds(elapsed.floor())) };
        let text = one_line(&text, width.saturating_sub(time.len() + 5));
        Some(format!("  {} {}", paint.cyan(FRAMES[self.frame]), paint.dim(&format!("{text}{time}"))))
    }
}
