//! Making one result of what several agents gave.
//!
//! `concat` and `vote` are functions. The others ask models, and a question to a model is an effect of the run: so a
//! merge is compiled to nodes of a graph ([`Merge::nodes`]), where judges and writers are agents with runs of their
//! own. What belongs to a merge is pinned with its nodes; the code behind them ([`functions`]) is the same for all.

mod actors;
mod assets;
mod combine;
mod functions;
mod integrated;
mod judging;
mod member;
mod nodes;
mod vote;

use ambidex_core::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use actors::Actor;
pub use functions::functions;
pub(crate) use functions::{Code, function};
pub use integrated::{
    Action, AgentQuality, Asset, AssetConflict, AssetKind, Deployment, Integrated, PartQuality, Quality,
};
pub(crate) use judging::mark;
pub use member::{Failure, MemberAt, MemberOutput, Members};
pub use nodes::MergeNodes;

/// How the outputs of several agents become one. As it stands in a workflow: `merge = { how = "vote", .. }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    pub how: How,
    /// `vote`: the field of the members' outputs that is voted on, or a path with dots; without it the whole answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// `vote`: without it `median` where all votes are numbers, else `majority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce: Option<Reduce>,
    /// `concat`: stands between the texts; an empty line where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The model or agent that writes: one text of all (`fuse`), deployment and actions (`integrate`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Models or agents that judge (`best_of`, `integrate`). Where one of `model` and `judge` is missing, the other
    /// does both.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub judge: Names,
    /// Opinions that are asked for, 1 to 15; their median counts. 3 where neither this nor several judges are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judges: Option<u32>,
    /// What judges look at, in words.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub rubric: Names,
    /// Members that must have given something; 1 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// All texts, one behind the other: `{text, parts, failed}`.
    Concat,
    /// A field of all outputs, reduced to one value: `{FIELD, text, voted, votes, failed}`.
    Vote,
    /// The output that judges score highest: `{text, output, author, score, scores, judges, failed}`.
    BestOf,
    /// One text that a model writes from all: `{text, output, authors, failed}`.
    Fuse,
    /// [`Integrated`].
    Integrate,
}

/// How votes become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduce {
    Median,
    Mean,
    Min,
    Max,
    Sum,
    /// What most have said; of those said equally often the one said first.
    Majority,
    /// Whether all said `true`.
    All,
    /// Whether one said `true`.
    Any,
}

/// One text or several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Names {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Names {
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

impl From<&str> for Names {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

impl<S: Into<String>> FromIterator<S> for Names {
    fn from_iter<T: IntoIterator<Item = S>>(names: T) -> Self {
        Self::Many(names.into_iter().map(Into::into).collect())
    }
}

impl How {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Concat => "concat",
            Self::Vote => "vote",
            Self::BestOf => "best_of",
            Self::Fuse => "fuse",
            Self::Integrate => "integrate",
        }
    }

    fn judges(self) -> bool {
        matches!(self, Self::BestOf | Self::Integrate)
    }

    fn writes(self) -> bool {
        matches!(self, Self::Fuse | Self::Integrate)
    }
}

/// Begins the names of a team's own judges and writer, which no member should happen to have.
pub(crate) const TEAMS: &str = "team's ";

/// Opinions that are asked for, where nothing says how many.
const JUDGES: u32 = 3;
const MOST_JUDGES: u32 = 15;

impl Merge {
    /// With nothing but its kind; set the rest as fields.
    pub fn new(how: How) -> Self {
        Self {
            how,
            field: None,
            reduce: None,
            separator: None,
            model: None,
            judge: Names::None,
            judges: None,
            rubric: Names::None,
            at_least: None,
        }
    }

    pub fn concat() -> Self {
        Self::new(How::Concat)
    }

    /// Votes on a field of the members' outputs.
    pub fn vote(field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(How::Vote) }
    }

    pub fn best_of(judge: impl Into<Names>) -> Self {
        Self { judge: judge.into(), ..Self::new(How::BestOf) }
    }

    pub fn fuse(model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..Self::new(How::Fuse) }
    }

    pub fn integrate(judge: impl Into<Names>) -> Self {
        Self { judge: judge.into(), ..Self::new(How::Integrate) }
    }

    /// Whether it needs no model.
    pub fn is_pure(&self) -> bool {
        !self.how.judges() && !self.how.writes()
    }

    /// What can be known to be wrong before anything runs.
    ///
    /// # Errors
    /// `config_invalid`: a key that this kind does not take, one that is missing, a number out of its range.
    pub fn check(&self) -> Result<(), Error> {
        let how = self.how.as_str();
        let takers = [
            ("field", self.field.is_some(), self.how == How::Vote, "vote"),
            ("reduce", self.reduce.is_some(), self.how == How::Vote, "vote"),
            ("separator", self.separator.is_some(), self.how == How::Concat, "concat"),
            ("model", self.model.is_some(), !self.is_pure(), "best_of, fuse and integrate"),
            ("judge", !self.judge.is_empty(), !self.is_pure(), "best_of, fuse and integrate"),
            ("judges", self.judges.is_some(), self.how.judges(), "best_of and integrate"),
            ("rubric", !self.rubric.is_empty(), !self.is_pure(), "best_of, fuse and integrate"),
        ];
        for (key, given, taken, by) in takers {
            if given && !taken {
                return Err(invalid(format!(
                    "`{key}` is for {by}, and `how` is \"{how}\"; take one of them out"
                )));
            }
        }
        if !self.is_pure() && self.model.is_none() && self.judge.is_empty() {
            let key = if self.how == How::Fuse { "model" } else { "judge" };
            return Err(invalid(format!("how = \"{how}\" asks a model; name one with `{key}`")));
        }
        if self.judges.is_some_and(|judges| judges == 0 || judges > MOST_JUDGES) {
            return Err(invalid(format!("`judges` is a number from 1 to {MOST_JUDGES}")));
        }
        if self.at_least == Some(0) {
            return Err(invalid("`at_least` is 0; one member at least has to give something".into()));
        }
        if let Some(field) = &self.field {
            let first = field.split('.').next().unwrap_or_default();
            if field.split('.').any(str::is_empty) {
                return Err(invalid(format!(
                    "`field` is \"{field}\", which is no field, nor a path with dots"
                )));
            }
            if vote::RESERVED.contains(&first) {
                let taken = vote::RESERVED.join("`, `");
                let text = format!(
                    "`field` is \"{field}\", but the result of a vote has its own `{taken}`; vote on another"
                );
                return Err(invalid(text));
            }
        }
        Ok(())
    }

    /// Names of the models or agents that judge, one for each opinion.
    pub fn judges(&self) -> Vec<&str> {
        if !self.how.judges() {
            return vec![];
        }
        let named: Vec<&str> = match (self.judge.as_slice(), &self.model) {
            ([], Some(model)) => vec![model],
            (judges, _) => judges.iter().map(String::as_str).collect(),
        };
        let few = if named.len() > 1 { u32::try_from(named.len()).unwrap_or(MOST_JUDGES) } else { JUDGES };
        let many = self.judges.unwrap_or(few).min(MOST_JUDGES);
        named.iter().cycle().take(if named.is_empty() { 0 } else { many as usize }).copied().collect()
    }

    /// The name of the model or agent that writes, where one does.
    pub fn writer(&self) -> Option<&str> {
        let first = || self.judge.as_slice().first();
        self.how.writes().then(|| self.model.as_ref().or_else(first)).flatten().map(String::as_str)
    }

    /// The merge of members without a model.
    ///
    /// # Errors
    /// `unsupported`: it asks models, see [`Merge::nodes`]. `output_invalid`: too few members gave something that can
    /// be merged, which says who gave what.
    pub fn combine(&self, members: &[MemberOutput]) -> Result<serde_json::Value, Error> {
        let usable = member::usable(members, self.at_least)?;
        match self.how {
            How::Concat => Ok(combine::concat(self, &usable, members)),
            How::Vote => vote::vote(self, members),
            How::BestOf | How::Fuse | How::Integrate => {
                let text = format!(
                    "how = \"{}\" asks models: it is carried out by a graph's nodes",
                    self.how.as_str()
                );
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::ConfigInvalid, format!("merge: {text}"))
}
