//! Keeps a key that was pasted into a configuration out of the messages about it.

const SENSITIVE: [&str; 8] =
    ["key", "token", "secret", "password", "passwd", "authorization", "cookie", "credential"];

/// Names that hold one of the words above and no secret.
const HARMLESS: [&str; 6] =
    ["tokens", "max_tokens", "first_token", "after_first_token", "tokens_per_minute", "idempotency-key"];

/// Whether a value under this name is likely a secret.
pub(crate) fn sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !HARMLESS.contains(&name.as_str()) && SENSITIVE.iter().any(|word| name.contains(word))
}

/// A source line with every value of a sensitive name replaced by stars of the same length,
/// so that a caret still stands where it should.
pub(crate) fn redact_line(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let mut out = chars.clone();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '"' | '\'' => at = after_string(&chars, at),
            '#' => break,
            '=' if sensitive(&name_before(&chars, at)) => {
                let value = (at + 1..chars.len()).find(|i| !chars[*i].is_whitespace()).unwrap_or(chars.len());
                let end = match chars.get(value) {
                    // A table or an array is looked into, or is the reference that we ask for.
                    None | Some('{' | '[') => value,
                    Some('"' | '\'') => after_string(&chars, value),
                    Some(_) if harmless_scalar(&chars[value..]) => value,
                    Some(_) => chars.len(),
                };
                for c in &mut out[value..end] {
                    if *c != '"' && *c != '\'' {
                        *c = '*';
                    }
                }
                at = end.max(at + 1);
            }
            _ => at += 1,
        }
    }
    redact_parameters(redact_credentials(out.into_iter().collect()))
}

/// `?password=...` in a URL: the value.
fn redact_parameters(line: String) -> String {
    const NAME: &str = "password=";
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some(start) = rest.find(NAME).map(|at| at + NAME.len()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(['&', '"', '\'', ' ']).unwrap_or(rest.len());
        out.push_str(&"*".repeat(rest[..end].chars().count()));
        rest = &rest[end..];
    }
    out + rest
}

/// A number or a truth value up to a comment.
fn harmless_scalar(rest: &[char]) -> bool {
    let text: String = rest.iter().take_while(|c| !"#,}".contains(**c)).collect();
    let text = text.trim();
    text == "true" || text == "false" || (text.len() < 12 && text.replace('_', "").parse::<f64>().is_ok())
}

/// `https://user:password@host`: the part before the `@`.
fn redact_credentials(line: String) -> String {
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some(start) = rest.find("://").map(|at| at + 3) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let url = &rest[..rest.find(['"', '\'', ' ']).unwrap_or(rest.len())];
        let authority = &url[..url.find('/').unwrap_or(url.len())];
        // A password may hold a slash.
        let at = authority.rfind('@').or_else(|| url.find('@').filter(|at| url[..*at].contains(':')));
        if let Some(at) = at {
            out.push_str(&"*".repeat(rest[..at].chars().count()));
            rest = &rest[at..];
        }
    }
    out + rest
}

fn after_string(chars: &[char], open: usize) -> usize {
    let quote = chars[open];
    let mut at = open + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' && quote == '"' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The dotted name that ends before `end`.
fn name_before(chars: &[char], end: usize) -> String {
    let mut name: Vec<char> = chars[..end]
        .iter()
        .rev()
        .skip_while(|c| c.is_whitespace())
        .take_while(|c| c.is_alphanumeric() || "_-.\"'".contains(**c))
        .copied()
        .collect();
    name.reverse();
    let name: String = name.into_iter().filter(|c| !"\"'".contains(*c)).collect();
    // The last part decides: `providers.openai.key`, `AMBIDEX__PROVIDERS__OPENAI__KEY`.
    let last = name.rsplit('.').next().unwrap_or_default();
    last.rsplit("__").next().unwrap_or_default().to_owned()
}
