//! Where a command speaks: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use unicode_width::UnicodeWidthChar;

use crate::paint::Paint;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 100;

pub struct Console {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    colour: bool,
    pub quiet: bool,
    /// The cursor of the terminal stands at the start of a line.
    at_line_start: bool,
    /// A line that the next output wipes away, such as a spinner.
    transient: Option<String>,
}

impl Console {
    pub fn of_process(quiet: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
            colour: !no_colour && !dumb,
            quiet,
            at_line_start: true,
            transient: None,
        }
    }

    pub fn stdin_is_terminal(&self) -> bool {
        self.stdin
    }

    pub fn stdout_is_terminal(&self) -> bool {
        self.stdout
    }

    pub fn stderr_is_terminal(&self) -> bool {
        self.stderr
    }

    /// A person can be asked and can answer.
    pub fn is_interactive(&self) -> bool {
        self.stdin && self.stderr
    }

    pub fn stdout_paint(&self) -> Paint {
        Paint::new(self.colour && self.stdout)
    }

    pub fn stderr_paint(&self) -> Paint {
        Paint::new(self.colour && self.stderr)
    }

    /// Columns of the terminal; looked up each time, since it may be resized.
    pub fn width(&self) -> usize {
        let of = |size: rustix::termios::Winsize| usize::from(size.ws_col);
        let asked = match (self.stdout, self.stderr) {
            (true, _) => rustix::termios::tcgetwinsize(io::stdout()).map(of),
            (_, true) => rustix::termios::tcgetwinsize(io::stderr()).map(of),
            _ => return WIDTH,
        };
        asked.ok().filter(|columns| *columns >= 20).unwrap_or(80)
    }

    /// Writes to stdout as it is.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.stdout {
            self.wipe();
            self.at_line_start = text.ends_with('\n');
        }
        io::stdout().lock().write_all(text.as_bytes())
    }

    /// Writes to stdout, with a line's end where there is none.
    pub fn print_line(&mut self, text: &str) -> io::Result<()> {
        self.print(text)?;
        if text.ends_with('\n') { Ok(()) } else { self.print("\n") }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }

    /// Lines for the person at stderr, unless he wants it quiet.
    pub fn say(&mut self, text: &str) {
        if !self.quiet {
            self.complain(text);
        }
    }

    /// Lines on stderr. What cannot be written there cannot be told to anybody.
    pub fn complain(&mut self, text: &str) {
        let again = self.transient.clone();
        self.wipe();
        self.end_line();
        let mut text = text.to_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if let Some(again) = again {
            text.push_str(&again);
            self.transient = Some(again);
        }
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    pub fn error(&mut self, message: &str, help: Option<&str>) {
        let paint = self.stderr_paint();
        let mut text = format!("{}: {}", paint.with("1;31", "error"), printable(message));
        if let Some(help) = help {
            text.push_str(&format!("\n {} {help}", paint.with("1;34", "= help:")));
        }
        self.complain(&text);
    }

    /// Ends the line the cursor is in, where a terminal shows both streams.
    pub fn end_line(&mut self) {
        if self.stdout && self.stderr && !self.at_line_start {
            self.at_line_start = true;
            let _ = io::stdout().lock().write_all(b"\n").and_then(|()| io::stdout().lock().flush());
        }
    }

    /// Shows a line that the next output wipes away. Only on a terminal, and only at the start of a line.
    pub fn show_transient(&mut self, line: &str) {
        let inside_a_line = self.stdout && !self.at_line_start;
        if !self.stderr || inside_a_line {
            return;
        }
        let shown = format!("\r\u{1b}[2K{line}");
        let _ = io::stderr().lock().write_all(shown.as_bytes());
        self.transient = Some(line.to_owned());
    }

    pub fn wipe(&mut self) {
        if let Some(shown) = self.transient.take() {
            // A narrow terminal shows a long prompt in several rows; the cursor is in the last.
            let above = columns(&uncoloured(&shown)).saturating_sub(1) / self.width();
            let erase = format!("\r\u{1b}[2K{}", "\u{1b}[1A\u{1b}[2K".repeat(above));
            let _ = io::stderr().lock().write_all(erase.as_bytes());
        }
    }

    /// A question on stderr whose answer is typed behind it; later lines come above it.
    pub fn prompt(&mut self, text: &str) {
        self.wipe();
        self.end_line();
        let _ = io::stderr().lock().write_all(text.as_bytes());
        self.transient = Some(text.to_owned());
    }

    /// The person ended the prompt's line himself.
    pub fn prompt_answered(&mut self) {
        self.transient = None;
        self.at_line_start = true;
    }
}

/// Text from outside without what would move a terminal's cursor or change its state.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| is_printable(*c) || matches!(c, '\n' | '\t')).collect()
}

/// Neither moves the cursor nor turns the direction in which text is read.
pub fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line of at most `width` columns; what is left out is marked.
pub fn one_line(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut blank = false;
    for c in text.trim().chars() {
        let c = if c.is_whitespace() || !is_printable(c) { ' ' } else { c };
        if c == ' ' && std::mem::replace(&mut blank, c == ' ') {
            continue;
        }
        blank = c == ' ';
        used += c.width().unwrap_or(0);
        if used > width {
            while out.chars().last().is_some_and(|_| columns(&out) + 1 > width) {
                out.pop();
            }
            out.push('…');
            return out;
        }
        out.push(c);
    }
    out
}

/// Columns a text takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Without the sequences that [`Paint`] puts around words.
fn uncoloured(text: &str) -> String {
    let mut inside = false;
    let shown = text.chars().filter(|c| {
        let was = inside;
        inside = if inside { *c != 'm' } else { *c == '\u{1b}' };
        !was && !inside
    });
    shown.collect()
}
