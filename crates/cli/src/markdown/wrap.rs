//! Words onto lines of a width.

use unicode_width::UnicodeWidthChar;

use crate::paint::Paint;

/// How a piece of text is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub bold: bool,
    pub italic: bool,
    pub strike: bool,
    pub code: bool,
    pub underline: bool,
    pub dim: bool,
}

impl Style {
    fn codes(self) -> String {
        let all = [
            (self.bold, "1"),
            (self.dim, "2"),
            (self.italic, "3"),
            (self.underline, "4"),
            (self.strike, "9"),
            (self.code, "36"),
        ];
        let codes: Vec<_> = all.iter().filter(|(on, _)| *on).map(|(_, code)| *code).collect();
        codes.join(";")
    }
}

/// Puts words on lines. Each word carries its style with it, so nothing leaks when output stops.
pub struct Wrap {
    paint: Paint,
    width: usize,
    /// Before each line after the first.
    indent: String,
    indent_width: usize,
    column: usize,
    word: Vec<(Style, String)>,
    word_width: usize,
    blank: Option<Style>,
}

impl Wrap {
    pub fn new(paint: Paint, width: usize) -> Self {
        Self {
            paint,
            width: width.max(20),
            indent: String::new(),
            indent_width: 0,
            column: 0,
            word: Vec::new(),
            word_width: 0,
            blank: None,
        }
    }

    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// Begins a line after `prefix`, which takes `columns`; further lines begin with `indent`.
    pub fn begin(&mut self, prefix: &str, columns: usize, indent: String, out: &mut String) {
        out.push_str(prefix);
        self.column = columns;
        self.indent_width = columns;
        self.indent = indent;
        self.blank = None;
    }

    pub fn push(&mut self, c: char, style: Style) {
        match self.word.last_mut() {
            Some((last, text)) if *last == style => text.push(c),
            _ => self.word.push((style, c.to_string())),
        }
        self.word_width += c.width().unwrap_or(0);
    }

    /// A blank ends the word.
    pub fn blank(&mut self, style: Style, out: &mut String) {
        self.end_word(out);
        self.blank = Some(style);
    }

    pub fn end_word(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let gap = usize::from(self.blank.is_some() && self.column > self.indent_width);
        if self.column + gap + self.word_width > self.width && self.column > self.indent_width {
            out.push('\n');
            out.push_str(&self.indent);
            self.column = self.indent_width;
        } else if gap == 1 {
            // Lines under and through words go on between them.
            let lined = self.blank.filter(|style| style.underline || style.strike);
            let codes = lined.map(Style::codes).unwrap_or_default();
            out.push_str(&self.paint.with(&codes, " "));
            self.column += 1;
        }
        self.blank = None;
        for (style, text) in self.word.drain(..) {
            out.push_str(&self.paint.with(&style.codes(), &text));
        }
        self.column += self.word_width;
        self.word_width = 0;
    }

    pub fn end_line(&mut self, out: &mut String) {
        self.end_word(out);
        out.push('\n');
        self.column = 0;
        self.blank = None;
    }
}
