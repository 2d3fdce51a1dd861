//! Colours, where they are wanted.

/// Paints text with terminal colours, or leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    pub fn new(on: bool) -> Self {
        Self(on)
    }

    pub fn is_on(self) -> bool {
        self.0
    }

    /// `codes` as in `ESC [ codes m`.
    pub fn with(self, codes: &str, text: &str) -> String {
        if self.0 && !codes.is_empty() && !text.is_empty() {
            format!("\u{1b}[{codes}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }
}
