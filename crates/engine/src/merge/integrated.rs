//! What `integrate` gives: assets, their quality, how to bring them into use, and what to do next.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use ambidex_core::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::member::Failure;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Integrated {
    /// Every version that a member gave.
    pub assets: Vec<Asset>,
    pub quality: Quality,
    pub deployment: Deployment,
    pub actions: Vec<Action>,
}

/// A file or document that a member gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// Below the folder of all assets, with `/` between names.
    pub path: String,
    pub kind: AssetKind,
    pub author: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Who else gave the same content under this path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_by: Vec<String>,
    pub content: String,
    /// Where several gave different contents under this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<AssetConflict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssetKind {
    File,
    /// To be read: Markdown, plain text, or a whole answer without files in it.
    Document,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetConflict {
    /// Authors of the other versions.
    pub with: Vec<String>,
    /// Whether this version counts: the one of the member scored highest, of equals the first.
    pub chosen: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// From 0 to 10, the median of the judges. Nothing where no judge answered.
    pub overall: Option<f64>,
    pub agents: Vec<AgentQuality>,
    /// Where agents did parts of a larger task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartQuality>,
    /// Judges that answered.
    pub judges: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rubric: Vec<String>,
    /// What judges said of the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Members and judges that gave nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failure>,
}

/// What judges said of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentQuality {
    pub author: String,
    /// From 0 to 10: the median of the judges, of several outputs the mean of their medians.
    pub score: Option<f64>,
    /// One for each judge and output.
    pub scores: Vec<f64>,
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartQuality {
    pub part: String,
    pub author: String,
    pub score: Option<f64>,
    pub scores: Vec<f64>,
    pub reasons: Vec<String>,
}

/// How to bring the assets into use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    pub steps: Vec<String>,
    pub checks: Vec<String>,
    pub risks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    pub what: String,
    pub who: String,
    /// `high`, `medium` or `low`.
    pub priority: String,
}

impl Integrated {
    /// Paths with several versions, and who gave one: the chosen first.
    pub fn conflicts(&self) -> Vec<(&str, Vec<&Asset>)> {
        let mut found: Vec<(&str, Vec<&Asset>)> = vec![];
        for asset in self.assets.iter().filter(|asset| asset.conflict.is_some()) {
            match found.iter_mut().find(|(path, _)| *path == asset.path) {
                Some((_, versions)) => versions.push(asset),
                None => found.push((&asset.path, vec![asset])),
            }
        }
        for (_, versions) in &mut found {
            versions.sort_by_key(|asset| asset.conflict.as_ref().is_none_or(|conflict| !conflict.chosen));
        }
        found
    }

    /// Writes the assets below a folder, which is made where it is not there: of a conflict the chosen version under
    /// its path, the others beside it as `PATH.AUTHOR`. Gives what was written. Blocks.
    ///
    /// # Errors
    /// `invalid_arguments`: a path leads out of the folder, or through a symbolic link; nothing is written then.
    /// `tool_failed`: the folder or a file of it cannot be written.
    pub fn write_to(&self, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
        let folder = folder.as_ref();
        let mut plan = Vec::with_capacity(self.assets.len());
        for asset in &self.assets {
            let mut path = relative(&asset.path)?;
            if asset.conflict.as_ref().is_some_and(|conflict| !conflict.chosen) {
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(format!(".{}", super::assets::slug(&asset.author)));
                path.set_file_name(name);
            }
            refuse_links(folder, &path)?;
            while plan.iter().any(|(taken, _)| *taken == path) {
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push("~");
                path.set_file_name(name);
            }
            plan.push((path, &asset.content));
        }
        let failed = |path: &Path, error: std::io::Error| {
            Error::new(ErrorKind::ToolFailed, format!("{} cannot be written: {error}", path.display()))
        };
        let mut written = Vec::with_capacity(plan.len());
        for (path, content) in plan {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
            }
            std::fs::write(&path, content).map_err(|error| failed(&path, error))?;
            written.push(path);
        }
        Ok(written)
    }

    /// For people: Markdown without the contents of assets.
    pub fn summary(&self) -> String {
        let mut text = String::from("## Assets\n\n");
        for asset in &self.assets {
            let _ = write!(text, "- `{}` by {}", asset.path, asset.author);
            if let Some(conflict) = &asset.conflict {
                let word = if conflict.chosen { "chosen" } else { "not chosen" };
                let _ = write!(text, " ({word}; another version by {})", conflict.with.join(", "));
            }
            text.push('\n');
        }
        let shown =
            |score: Option<f64>| score.map_or_else(|| "no verdict".to_owned(), |score| format!("{score}"));
        let _ = write!(text, "\n## Quality\n\nOverall: {}\n\n", shown(self.quality.overall));
        for agent in &self.quality.agents {
            let _ = writeln!(text, "- {}: {}", agent.author, shown(agent.score));
        }
        for failure in &self.quality.failed {
            let _ = writeln!(text, "- {} gave nothing: {}", failure.author, failure.message);
        }
        for (title, lines) in [
            ("Deployment", &self.deployment.steps),
            ("Checks", &self.deployment.checks),
            ("Risks", &self.deployment.risks),
        ] {
            if !lines.is_empty() {
                let _ = write!(text, "\n## {title}\n\n");
                lines.iter().for_each(|line| {
                    let _ = writeln!(text, "- {line}");
                });
            }
        }
        if !self.actions.is_empty() {
            text.push_str("\n## Actions\n\n");
            for action in &self.actions {
                let _ = writeln!(text, "- [{}] {}: {}", action.priority, action.who, action.what);
            }
        }
        text
    }
}

/// A path of names alone.
fn relative(path: &str) -> Result<PathBuf, Error> {
    let plain =
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let relative: PathBuf = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
    if !plain || relative.file_name().is_none() || path.contains(['\\', '\0']) {
        let text =
            format!("the asset `{path}` leads out of the folder, or names no file; nothing was written");
        return Err(Error::new(ErrorKind::InvalidArguments, text));
    }
    Ok(relative)
}

fn refuse_links(folder: &Path, path: &Path) -> Result<(), Error> {
    let mut at = folder.to_owned();
    for part in path {
        at.push(part);
        if at.symlink_metadata().is_ok_and(|found| found.file_type().is_symlink()) {
            let text =
                format!("{} is a symbolic link; take it away, or write to another folder", at.display());
            return Err(Error::new(ErrorKind::InvalidArguments, text));
        }
    }
    Ok(())
}
