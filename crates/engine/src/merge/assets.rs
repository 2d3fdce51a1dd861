//! Files and documents in what members gave, and where they disagree. Found by rules, not by a model.
//!
//! An output that is an object lists them under `assets` or `files`, as `{path, content}` or as `{PATH: CONTENT}`. In
//! a text they are fenced blocks whose path stands in the line that opens them (` ```rust path=src/main.rs`, or
//! ` ```src/main.rs`) or alone in the line before. A text without any is one document.

use serde_json::Value;

use super::integrated::{Asset, AssetConflict, AssetKind};
use super::member::MemberOutput;

/// `scores` are the members', in their order.
pub(super) fn of(members: &[(&MemberOutput, Option<f64>)]) -> Vec<Asset> {
    // With the place of the member it came from.
    let mut found: Vec<(Asset, usize)> = vec![];
    for (at, (member, _)) in members.iter().enumerate() {
        for asset in of_member(member) {
            let same = |(other, _): &&mut (Asset, usize)| {
                other.path == asset.path && other.content.trim_end() == asset.content.trim_end()
            };
            match found.iter_mut().find(same) {
                Some((other, _)) => {
                    if other.author != asset.author && !other.also_by.contains(&asset.author) {
                        other.also_by.push(asset.author);
                    }
                }
                None => found.push((asset, at)),
            }
        }
    }
    let score = |at: usize| members.get(at).and_then(|(_, score)| *score).unwrap_or(f64::NEG_INFINITY);
    let versions: Vec<(String, String, usize)> =
        found.iter().map(|(asset, at)| (asset.path.clone(), asset.author.clone(), *at)).collect();
    for (number, (asset, _)) in found.iter_mut().enumerate() {
        let same = || versions.iter().enumerate().filter(|(_, (path, ..))| *path == asset.path);
        let with: Vec<String> =
            same().filter(|(other, _)| *other != number).map(|(_, (_, author, _))| author.clone()).collect();
        if with.is_empty() {
            continue;
        }
        let mut best = number;
        for (other, (.., at)) in same() {
            let (theirs, ours) =
                (score(*at), versions.get(best).map_or(f64::NEG_INFINITY, |best| score(best.2)));
            if theirs > ours || (theirs.total_cmp(&ours).is_eq() && other < best) {
                best = other;
            }
        }
        asset.conflict = Some(AssetConflict { with, chosen: best == number });
    }
    found.into_iter().map(|(asset, _)| asset).collect()
}

fn of_member(member: &MemberOutput) -> Vec<Asset> {
    let listed = member.data().map(|data| listed(&data)).unwrap_or_default();
    let mut files = if listed.is_empty() { fenced(&member.text) } else { listed };
    if files.is_empty() && !member.text.trim().is_empty() {
        let name = match &member.part {
            Some(part) if slug(part) != slug(&member.author) => {
                format!("{}-{}.md", slug(&member.author), slug(part))
            }
            _ => format!("{}.md", slug(&member.author)),
        };
        files.push((name, member.text.clone(), Some(AssetKind::Document)));
    }
    let mut assets: Vec<Asset> = vec![];
    for (path, content, kind) in files {
        let path = normal(&path);
        let kind = kind.unwrap_or_else(|| kind_of(&path));
        let (author, part) = (member.author.clone(), member.part.clone());
        // Of one member the last version counts.
        assets.retain(|asset| asset.path != path);
        assets.push(Asset { path, kind, author, part, also_by: vec![], content, conflict: None });
    }
    assets
}

type File = (String, String, Option<AssetKind>);

fn listed(data: &Value) -> Vec<File> {
    let Some(list) = data.get("assets").or_else(|| data.get("files")) else { return vec![] };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match list {
        Value::Array(list) => list
            .iter()
            .filter_map(|file| {
                let path = ["path", "name", "file"].iter().find_map(|key| file.get(key)?.as_str())?;
                let kind = file.get("kind").cloned().and_then(|kind| serde_json::from_value(kind).ok());
                Some((path.to_owned(), text(file.get("content")?), kind))
            })
            .collect(),
        Value::Object(files) => {
            files.iter().map(|(path, content)| (path.clone(), text(content), None)).collect()
        }
        _ => vec![],
    }
}

/// Blocks of a Markdown text that have a path.
fn fenced(text: &str) -> Vec<File> {
    let mut files = vec![];
    let mut before = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((fence, info)) = opening(line) else {
            if !line.trim().is_empty() {
                before = line;
            }
            continue;
        };
        let path = path_of_info(info).or_else(|| path_of_line(before));
        let mut content = String::new();
        let mut closed = false;
        for line in lines.by_ref() {
            if closes(line, fence) {
                closed = true;
                break;
            }
            content.push_str(line);
            content.push('\n');
        }
        before = "";
        // What is cut off is no file.
        if let Some(path) = path.filter(|_| closed) {
            files.push((path, content, None));
        }
    }
    files
}

/// The signs of a fence, and what follows them.
fn opening(line: &str) -> Option<(&str, &str)> {
    let line = line
        .strip_prefix("   ")
        .or_else(|| line.strip_prefix("  "))
        .or_else(|| line.strip_prefix(' '))
        .unwrap_or(line);
    let sign = line.chars().next().filter(|sign| matches!(sign, '`' | '~'))?;
    let end = line.find(|c| c != sign).unwrap_or(line.len());
    let (fence, info) = line.split_at(end);
    (fence.len() >= 3 && !(sign == '`' && info.contains('`'))).then(|| (fence, info.trim()))
}

fn closes(line: &str, fence: &str) -> bool {
    let line = line.trim();
    line.len() >= fence.len() && line.chars().all(|c| fence.starts_with(c))
}

fn path_of_info(info: &str) -> Option<String> {
    for key in ["path=", "file=", "title=", "filename="] {
        if let Some((_, rest)) = info.split_once(key) {
            let path = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next(),
                None => rest.split_whitespace().next(),
            };
            return path.map(|path| path.trim_end_matches('}').to_owned()).filter(|path| !path.is_empty());
        }
    }
    let word = info.split_whitespace().next()?;
    let path = word.split_once(':').map_or(word, |(_, path)| path);
    is_path(path).then(|| path.to_owned())
}

/// A line that holds a path and nothing else but what marks it: `### src/main.rs`, `**src/main.rs**:`, `File: a.txt`.
fn path_of_line(line: &str) -> Option<String> {
    let mut line = line.trim().trim_start_matches(['#', '-', '*', '>', ' ']);
    for word in ["File:", "file:", "Path:", "path:", "Filename:", "filename:"] {
        line = line.strip_prefix(word).unwrap_or(line);
    }
    let path = line.trim_matches([' ', '`', '*', '_', ':', '"']);
    is_path(path).then(|| path.to_owned())
}

/// A path with a slash or an extension, and no sign that paths rarely have.
fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@' | '\\');
    let extended = text
        .rsplit_once('.')
        .is_some_and(|(_, end)| (1..=10).contains(&end.len()) && end.starts_with(char::is_alphabetic));
    !text.is_empty() && text.chars().all(plain) && (text.contains('/') || extended) && !text.ends_with('/')
}

/// One path, one spelling. One that leads elsewhere stays so, and is refused when it is to be written.
fn normal(path: &str) -> String {
    let path = path.trim().replace('\\', "/");
    let kept: Vec<_> = path
        .split('/')
        .enumerate()
        .filter(|(at, part)| *part != "." && (*at == 0 || !part.is_empty()))
        .collect();
    kept.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join("/")
}

fn kind_of(path: &str) -> AssetKind {
    let end = path.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    match end.as_deref() {
        Some("md" | "markdown" | "txt" | "rst" | "adoc" | "org" | "pdf" | "docx") => AssetKind::Document,
        _ => AssetKind::File,
    }
}

/// A name as part of a file's name.
pub(super) fn slug(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let plain = plain.trim_matches('-').to_owned();
    if plain.is_empty() { "member".into() } else { plain }
}
