//! Emphasis, code and links inside a line, as their characters come.

use super::wrap::{Style, Wrap};

/// A link's text and address are held back until they are whole; beyond this they are plain text.
const LONGEST_LINK: usize = 2_000;

#[derive(Default)]
pub struct Inline {
    style: Style,
    /// Backticks that opened the code that is under way.
    ticks: usize,
    /// A run of one delimiter whose meaning the next character decides.
    run: String,
    /// From `[` on, until it is a link or none.
    link: String,
    escaped: bool,
    /// The character before, for the rules of flanking.
    before: Option<char>,
}

impl Inline {
    /// With a style that the whole line has.
    pub fn styled(style: Style) -> Self {
        Self { style, ..Self::default() }
    }

    pub fn push(&mut self, c: char, wrap: &mut Wrap, out: &mut String) {
        if !self.link.is_empty() {
            return self.in_link(c, wrap, out);
        }
        if std::mem::take(&mut self.escaped) {
            if !c.is_ascii_punctuation() {
                self.plain('\\', wrap, out);
            }
            return self.plain(c, wrap, out);
        }
        if let Some(delimiter) = self.run.chars().next() {
            if c == delimiter {
                self.run.push(c);
                return;
            }
            self.decide(Some(c), wrap, out);
        }
        match c {
            '`' => self.run.push(c),
            _ if self.style.code => self.plain(c, wrap, out),
            '*' | '_' | '~' => self.run.push(c),
            '[' => self.link.push(c),
            '\\' => self.escaped = true,
            _ => self.plain(c, wrap, out),
        }
    }

    /// The end of a line: what was open is closed.
    pub fn end(&mut self, wrap: &mut Wrap, out: &mut String) {
        if !self.link.is_empty() {
            self.not_a_link(wrap, out);
        }
        if std::mem::take(&mut self.escaped) {
            self.plain('\\', wrap, out);
        }
        if !self.run.is_empty() {
            self.decide(None, wrap, out);
        }
    }

    fn plain(&mut self, c: char, wrap: &mut Wrap, out: &mut String) {
        self.before = Some(c);
        if c == ' ' || c == '\t' {
            wrap.blank(self.style, out);
        } else {
            wrap.push(c, self.style);
        }
    }

    fn literal(&mut self, text: &str, wrap: &mut Wrap, out: &mut String) {
        for c in text.chars() {
            self.plain(c, wrap, out);
        }
    }

    /// What a run of delimiters means, now that the character behind it is known.
    fn decide(&mut self, next: Option<char>, wrap: &mut Wrap, out: &mut String) {
        let run = std::mem::take(&mut self.run);
        let count = run.len();
        let delimiter = run.chars().next().unwrap_or(' ');
        if delimiter == '`' {
            if self.style.code && count == self.ticks {
                self.style.code = false;
                self.tick(wrap, out);
            } else if !self.style.code {
                self.ticks = count;
                self.tick(wrap, out);
                self.style.code = true;
            } else {
                self.literal(&run, wrap, out);
            }
            return;
        }
        let space_before = self.before.is_none_or(char::is_whitespace);
        let space_behind = next.is_none_or(char::is_whitespace);
        let inside_a_word =
            self.before.is_some_and(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric);
        let flanks = |on: bool| if on { !space_before } else { !space_behind };
        let may = |on: bool| flanks(on) && !(delimiter == '_' && inside_a_word);
        match (delimiter, count) {
            ('~', 2) if may(self.style.strike) => self.style.strike = !self.style.strike,
            ('*' | '_', 1) if may(self.style.italic) => self.style.italic = !self.style.italic,
            ('*' | '_', 2) if may(self.style.bold) => self.style.bold = !self.style.bold,
            ('*' | '_', 3) if may(self.style.bold) => {
                self.style.bold = !self.style.bold;
                self.style.italic = !self.style.italic;
            }
            _ => self.literal(&run, wrap, out),
        }
    }

    /// Without colours code keeps its marks.
    fn tick(&mut self, wrap: &mut Wrap, out: &mut String) {
        if !wrap.paint().is_on() {
            self.plain('`', wrap, out);
        }
    }

    fn in_link(&mut self, c: char, wrap: &mut Wrap, out: &mut String) {
        let closed = self.link.ends_with(']') && !self.link.contains("](");
        if closed && c != '(' {
            self.not_a_link(wrap, out);
            return self.push(c, wrap, out);
        }
        self.link.push(c);
        if c == ')' && self.link.contains("](") {
            self.whole_link(wrap, out);
        } else if self.link.len() > LONGEST_LINK {
            self.not_a_link(wrap, out);
        }
    }

    fn not_a_link(&mut self, wrap: &mut Wrap, out: &mut String) {
        let text = std::mem::take(&mut self.link);
        self.literal(&text, wrap, out);
    }

    fn whole_link(&mut self, wrap: &mut Wrap, out: &mut String) {
        let link = std::mem::take(&mut self.link);
        let Some((text, address)) = link.split_once("](") else { return };
        let (text, address) = (text.trim_start_matches('['), address.trim_end_matches(')'));
        let style = self.style;
        self.style.underline = true;
        self.literal(text, wrap, out);
        self.style = style;
        if text != address {
            self.style.dim = true;
            self.literal(&format!(" ({address})"), wrap, out);
            self.style = style;
        }
    }
}
