//! The manual says what the code does: its table of keys comes from the schema, its examples load.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use ambidex_config::{Config, LoadOptions, Style, load};
use serde_json::Value as Json;

const BEGIN: &str = "<!-- keys: from the schema, by `make docs` -->\n";
const END: &str = "<!-- end of keys -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn manual_lists_every_key() {
    let path = root().join("docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the keys");
    let (_, after) = rest.split_once(END).expect("the mark behind the keys");
    let wanted = format!("{before}{BEGIN}\n{}{END}{after}", Manual(&Config::json_schema()).keys());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(found == wanted, "docs/configuration.md is not what the schema says; run: make docs");
}

#[test]
fn manual_examples_load() {
    let mut files = vec![root().join("README.md")];
    files.extend(std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut examples = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(file).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // The first line of another file says which it is.
            if block.starts_with("# ") && !block.starts_with("# ambidex.toml") {
                continue;
            }
            let mut options = LoadOptions::in_directory(root());
            options.text = Some(block.to_owned());
            options.check_profiles = true;
            if let Err(errors) = load(&options) {
                panic!("{}: {}", file.display(), errors.render(Style::Plain));
            }
            examples += 1;
        }
    }
    assert!(examples >= 5, "only {examples} examples were found");
}

#[test]
fn the_page_on_workflows_names_every_key() {
    let text = std::fs::read_to_string(root().join("docs/workflows.md")).unwrap();
    let schema = Config::json_schema();
    for definition in ["Workflow", "Step", "Each", "Choose", "Merge", "Human"] {
        let properties = schema["$defs"][definition]["properties"].as_object().expect(definition);
        for key in properties.keys() {
            let is_named = [
                format!("`{key}`"),
                format!("{key}, "),
                format!("{key} }}"),
                format!("{key}:"),
                format!("{key} ="),
            ];
            assert!(is_named.iter().any(|named| text.contains(named.as_str())), "{definition}.{key}");
        }
    }
}

/// The keys of a schema as Markdown.
struct Manual<'a>(&'a Json);

impl Manual<'_> {
    fn keys(&self) -> String {
        let mut out = String::new();
        let mut top = Vec::new();
        let mut sections = Vec::new();
        for (name, schema) in properties(self.0) {
            if schema["additionalProperties"].is_object() && name != "profiles" {
                sections.push((format!("[{name}.NAME]"), self.target(&schema["additionalProperties"])));
            } else if self.target(schema)["properties"].is_object() {
                match self.only_section(self.target(schema)) {
                    Some((inner, section)) => sections.push((format!("[{name}.{inner}]"), section)),
                    None => sections.push((format!("[{name}]"), self.target(schema))),
                }
            } else {
                top.push((name, schema));
            }
        }
        self.rows("", &top, &Json::Null, &mut out);
        for (title, section) in sections {
            let description = text(section);
            // The schema's own words begin with the title.
            let words = description.split_once("]`: ").map_or("", |(_, words)| words);
            write!(out, "### `{title}`\n\n").unwrap();
            if !words.is_empty() {
                write!(out, "{}\n\n", upper(words)).unwrap();
            }
            let mut every = String::new();
            for kind in section["oneOf"].as_array().into_iter().flatten() {
                let named = properties(kind).find_map(|(tag, is)| Some((tag, is["const"].as_str()?)));
                let (tag, name) = named.unwrap();
                write!(out, "With `{tag} = \"{name}\"`: {}\n\n", lower(text(kind))).unwrap();
                let keys: Vec<_> = properties(kind).filter(|(key, _)| *key != tag).collect();
                if !keys.is_empty() {
                    self.rows("", &keys, &kind["required"], &mut out);
                }
                every = format!("With every {tag}:\n\n");
            }
            out.push_str(&every);
            self.rows("", &properties(section).collect::<Vec<_>>(), &section["required"], &mut out);
        }
        out
    }

    /// `[budgets]` has only `[budgets.run]`.
    fn only_section<'a>(&'a self, schema: &'a Json) -> Option<(&'a str, &'a Json)> {
        let mut keys = properties(schema);
        let (name, inner) = keys.next()?;
        let target = self.target(inner);
        (keys.next().is_none() && target["properties"].is_object()).then_some((name, target))
    }

    fn rows(&self, prefix: &str, keys: &[(&str, &Json)], required: &Json, out: &mut String) {
        if prefix.is_empty() {
            out.push_str("| key | value | default | |\n|---|---|---|---|\n");
        }
        for (name, schema) in keys {
            let target = self.target(schema);
            let key = format!("{prefix}{name}");
            if target["properties"].is_object() && target["description"] != self.0["description"] {
                let words = if text(schema).is_empty() { text(target) } else { text(schema) };
                let words = words.strip_prefix(&format!("`{name}`: ")).unwrap_or(words);
                writeln!(out, "| `{key}` | table | | {} |", upper(&cell(words))).unwrap();
                let inner: Vec<_> = properties(target).collect();
                self.rows(&format!("{key}."), &inner, &target["required"], out);
                continue;
            }
            let default = match &schema["default"] {
                _ if required.as_array().is_some_and(|names| names.iter().any(|it| it == name)) => {
                    match prefix {
                        "" => "required".into(),
                        table => format!("required in `{}`", table.trim_end_matches('.')),
                    }
                }
                Json::Null | Json::Object(_) => String::new(),
                value => format!("`{value}`"),
            };
            let mut words = text(schema).to_owned();
            for value in target["oneOf"].as_array().into_iter().flatten() {
                if let (Some(name), false) = (value["const"].as_str(), text(value).is_empty()) {
                    write!(words, " `{name}`: {}", text(value)).unwrap();
                }
            }
            let cells = [format!("`{key}`"), self.kind(schema), default, words.trim().to_owned()];
            writeln!(out, "| {} |", cells.map(|text| cell(&text)).join(" | ")).unwrap();
        }
        if prefix.is_empty() {
            out.push('\n');
        }
    }

    /// Behind a reference, and without the `null` of what may be absent.
    fn target<'a>(&'a self, schema: &'a Json) -> &'a Json {
        if let Some(name) = reference(schema) {
            return self.target(&self.0["$defs"][name]);
        }
        let choices = schema["anyOf"].as_array().map(|all| all.iter().filter(|it| it["type"] != "null"));
        match choices.map(Iterator::collect::<Vec<_>>).as_deref() {
            Some([only]) => self.target(only),
            _ => schema,
        }
    }

    fn kind(&self, schema: &Json) -> String {
        let named = reference(schema).or_else(|| {
            let choices = schema["anyOf"].as_array()?;
            choices.iter().filter(|it| it["type"] != "null").find_map(reference)
        });
        match named {
            Some("Duration") => return "duration".into(),
            Some("Size") => return "size".into(),
            Some("Stagger") => return "`\"p95\"`, duration".into(),
            Some("Secret") => return "secret".into(),
            Some("TextOrSecret") => return "text or secret".into(),
            Some("Proxy") => return "URL, `\"none\"`, secret".into(),
            Some("StoreUrl") => return "URL, secret".into(),
            Some("Body") => return "text, or a table or list sent as JSON".into(),
            Some("ToolChoice") => {
                return "`\"auto\"`, `\"none\"`, `\"required\"`, `{ tool = \"NAME\" }`".into();
            }
            Some("InstructionsSchema") => return "text, `{ file = \"PATH\" }`".into(),
            Some("SchemaOrPath") => return "path, table".into(),
            _ => {}
        }
        let schema = self.target(schema);
        let words = values(schema);
        if !words.is_empty() {
            return words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
        }
        let kind = match &schema["type"] {
            Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null"),
            kind => kind.as_str(),
        };
        match kind {
            Some("string") => "text".into(),
            Some(kind @ ("integer" | "number")) => match (&schema["minimum"], &schema["maximum"]) {
                (Json::Number(least), Json::Number(most)) => {
                    format!("{kind}, {} to {}", number(least), number(most))
                }
                _ => kind.into(),
            },
            Some("boolean") => "`true`, `false`".into(),
            Some("array") => format!("list: {}", self.kind(&schema["items"])),
            Some("object") if schema["additionalProperties"].is_object() => {
                format!("table: {}", self.kind(&schema["additionalProperties"]))
            }
            _ => "table".into(),
        }
    }
}

fn properties(schema: &Json) -> impl Iterator<Item = (&str, &Json)> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, schema)| (name.as_str(), schema))
}

fn reference(schema: &Json) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

fn text(schema: &Json) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// The words a text may be.
fn values(schema: &Json) -> Vec<&str> {
    let all = schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let one = schema["oneOf"].as_array().into_iter().flatten();
    all.chain(schema["const"].as_str()).chain(one.flat_map(values)).collect()
}

/// One line, whose bars divide no cells.
fn cell(words: &str) -> String {
    words.replace('\n', " ").replace('|', "\\|")
}

/// As one writes it in TOML.
fn number(number: &serde_json::Number) -> String {
    let text = number.to_string();
    let text = text.trim_end_matches(".0");
    if !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return text.to_owned();
    }
    let digits: Vec<_> = text.bytes().rev().collect::<Vec<_>>().chunks(3).map(<[u8]>::to_vec).collect();
    let grouped: Vec<u8> = digits.join(&b'_').into_iter().rev().collect();
    String::from_utf8(grouped).unwrap()
}

fn upper(words: &str) -> String {
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}

fn lower(words: &str) -> String {
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}
