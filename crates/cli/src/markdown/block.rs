//! What a line is, by how it begins.

#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// Its level, from 1.
    Heading(usize),
    Item {
        depth: usize,
        mark: String,
    },
    Quote,
    Fence {
        fence: String,
        info: String,
    },
    Table,
    Rule,
    Text {
        depth: usize,
    },
}

/// The block and the bytes that are its mark, once the text decides it. `whole`: the line ends here.
pub fn begin(line: &str, whole: bool) -> Option<(Block, usize)> {
    let trimmed = line.trim_start_matches([' ', '\t']);
    let skipped = line.len() - trimmed.len();
    let depth = line[..skipped].chars().map(|c| if c == '\t' { 4 } else { 1 }).sum();
    let text = || (Block::Text { depth }, skipped);
    let first = trimmed.chars().next()?;
    let run = trimmed.chars().take_while(|c| *c == first).count();
    let behind = trimmed.chars().nth(run);
    // The run may still grow.
    if behind.is_none() && !whole && matches!(first, '#' | '`' | '~' | '-' | '*' | '+' | '_' | '>') {
        return None;
    }
    match first {
        '#' if run <= 6 && behind.is_none_or(|c| c == ' ') => {
            Some((Block::Heading(run), skipped + run + usize::from(behind.is_some())))
        }
        '`' | '~' if run >= 3 => {
            if !whole {
                return None;
            }
            let info = trimmed[run..].trim();
            if first == '`' && info.contains('`') {
                return Some(text());
            }
            let block = Block::Fence { fence: first.to_string().repeat(run), info: info.to_owned() };
            Some((block, line.len()))
        }
        '-' | '*' | '_' if run >= 3 && behind.is_none_or(|c| c == ' ') => {
            if whole && trimmed.chars().all(|c| c == first || c == ' ') {
                Some((Block::Rule, line.len()))
            } else if whole || trimmed.trim_end().len() > run {
                Some(text())
            } else {
                None
            }
        }
        '-' | '*' | '+' if run == 1 && behind == Some(' ') => {
            Some((Block::Item { depth, mark: "•".into() }, skipped + 2))
        }
        '>' => Some((Block::Quote, skipped + 1 + usize::from(behind == Some(' ') && run == 1))),
        '|' => Some((Block::Table, skipped)),
        '0'..='9' => numbered(trimmed, whole).map(|found| match found {
            Some((mark, used)) => (Block::Item { depth, mark }, skipped + used),
            None => text(),
        }),
        _ => Some(text()),
    }
}

/// `Some(None)`: no item of a list.
fn numbered(text: &str, whole: bool) -> Option<Option<(String, usize)>> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let mut behind = text[digits..].chars();
    match (behind.next(), behind.next()) {
        _ if digits > 9 => Some(None),
        (Some(mark @ ('.' | ')')), Some(' ')) => {
            Some(Some((format!("{}{mark}", &text[..digits]), digits + 2)))
        }
        (None | Some('.' | ')'), None) if !whole => None,
        _ => Some(None),
    }
}

/// Whether a line ends the code that this fence began.
pub fn closes(line: &str, fence: &str) -> bool {
    let line = line.trim();
    line.len() >= fence.len() && fence.chars().next().is_some_and(|c| line.chars().all(|other| other == c))
}
