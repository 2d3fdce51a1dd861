//! Markdown for a terminal, as it streams: a word is shown when its end is known, code by the line, a table
//! when it is whole.

mod block;
mod inline;
mod table;
mod wrap;

use crate::console::is_printable;
use crate::paint::Paint;

use block::Block;
use inline::Inline;
use wrap::{Style, Wrap};

/// Turns pieces of Markdown into pieces for a terminal.
pub struct Markdown {
    wrap: Wrap,
    width: usize,
    inline: Inline,
    state: State,
    /// The start of a line that is not understood yet, or a whole line where only that makes sense.
    held: String,
    /// Something was shown.
    begun: bool,
    /// An empty line comes before what follows.
    gap: bool,
}

#[derive(Default)]
enum State {
    /// At the start of a line.
    #[default]
    Start,
    /// Inside a line of text.
    Text,
    /// Inside a fence that this text closes.
    Fence(String),
    Table(Vec<String>),
}

impl Markdown {
    pub fn new(paint: Paint, width: usize) -> Self {
        Self {
            wrap: Wrap::new(paint, width),
            width,
            inline: Inline::default(),
            state: State::default(),
            held: String::new(),
            begun: false,
            gap: false,
        }
    }

    /// What is to be shown now that this came.
    pub fn push(&mut self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            if c == '\n' {
                self.end_of_line(&mut out);
            } else if c == '\t' || is_printable(c) {
                self.character(c, &mut out);
            }
        }
        out
    }

    /// What was held back. The next piece begins anew.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        let nothing_open = self.held.is_empty() && matches!(self.state, State::Start | State::Fence(_));
        if !nothing_open {
            self.end_of_line(&mut out);
        }
        if let State::Table(_) = &self.state {
            self.draw_table(&mut out);
        }
        if let State::Fence(_) = &self.state {
            self.close_fence(&mut out);
        }
        self.gap = false;
        self.begun = false;
        out
    }

    fn character(&mut self, c: char, out: &mut String) {
        match &self.state {
            State::Text => self.inline.push(c, &mut self.wrap, out),
            State::Fence(_) | State::Table(_) => self.held.push(c),
            State::Start => {
                self.held.push(c);
                if let Some((block, used)) = block::begin(&self.held, false) {
                    self.begin(block, used, out);
                }
            }
        }
    }

    fn end_of_line(&mut self, out: &mut String) {
        match std::mem::take(&mut self.state) {
            State::Text => self.end_text(out),
            State::Fence(fence) => {
                let line = std::mem::take(&mut self.held);
                if block::closes(&line, &fence) {
                    self.close_fence(out);
                } else {
                    self.code(&line, out);
                    self.state = State::Fence(fence);
                }
            }
            State::Table(mut rows) => {
                if self.held.trim_start().starts_with('|') {
                    rows.push(std::mem::take(&mut self.held));
                    self.state = State::Table(rows);
                } else {
                    let line = std::mem::take(&mut self.held);
                    self.state = State::Table(rows);
                    self.draw_table(out);
                    self.held = line;
                    self.whole_line(out);
                }
            }
            State::Start => self.whole_line(out),
        }
    }

    /// A line whose start was not understood before its end.
    fn whole_line(&mut self, out: &mut String) {
        if self.held.trim().is_empty() {
            self.held.clear();
            self.gap = self.begun;
            return;
        }
        let Some((block, used)) = block::begin(&self.held, true) else { return };
        self.begin(block, used, out);
        if matches!(self.state, State::Text) {
            self.state = State::Start;
            self.end_text(out);
        }
    }

    fn end_text(&mut self, out: &mut String) {
        self.inline.end(&mut self.wrap, out);
        self.wrap.end_line(out);
        self.inline = Inline::default();
    }

    /// Starts a block; what of the held text is not its mark is its text.
    fn begin(&mut self, block: Block, used: usize, out: &mut String) {
        if std::mem::take(&mut self.gap) {
            out.push('\n');
        }
        self.begun = true;
        let held = std::mem::take(&mut self.held);
        let rest = held.get(used..).unwrap_or_default().to_owned();
        let paint = self.wrap.paint();
        let mut style = Style::default();
        match block {
            Block::Rule => {
                out.push_str(&paint.dim(&"─".repeat(self.width.min(40))));
                out.push('\n');
                return;
            }
            Block::Fence { fence, info } => {
                let title = if info.is_empty() { String::new() } else { format!(" {info}") };
                out.push_str(&paint.dim(&format!("╭─{title}")));
                out.push('\n');
                self.state = State::Fence(fence);
                return;
            }
            Block::Table => {
                // The row is complete only with its end, which the caller sees next.
                self.held = held;
                self.state = State::Table(Vec::new());
                return;
            }
            Block::Heading(level) => {
                style = Style { bold: true, underline: level == 1, ..style };
                let mark = if paint.is_on() { String::new() } else { format!("{} ", "#".repeat(level)) };
                self.wrap.begin(&mark, mark.len(), String::new(), out);
            }
            Block::Quote => {
                let bar = paint.dim("│ ");
                style.italic = true;
                self.wrap.begin(&bar, 2, bar.clone(), out);
            }
            Block::Item { depth, mark } => {
                let columns = depth + mark.chars().count() + 1;
                let prefix = format!("{}{} ", " ".repeat(depth), paint.cyan(&mark));
                self.wrap.begin(&prefix, columns, " ".repeat(columns), out);
            }
            Block::Text { depth } => {
                let indent = " ".repeat(depth);
                self.wrap.begin(&indent, depth, indent.clone(), out);
            }
        }
        self.inline = Inline::styled(style);
        self.state = State::Text;
        for c in rest.chars() {
            self.inline.push(c, &mut self.wrap, out);
        }
    }

    fn code(&mut self, line: &str, out: &mut String) {
        let paint = self.wrap.paint();
        let line = line.replace('\t', "    ");
        out.push_str(&format!("{}{}\n", paint.dim("│ "), paint.cyan(&line)));
    }

    fn close_fence(&mut self, out: &mut String) {
        out.push_str(&self.wrap.paint().dim("╰─"));
        out.push('\n');
        self.state = State::Start;
    }

    fn draw_table(&mut self, out: &mut String) {
        if let State::Table(rows) = std::mem::take(&mut self.state) {
            out.push_str(&table::draw(&rows, self.wrap.paint(), self.width));
        }
    }
}
