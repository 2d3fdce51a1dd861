//! Builds teams and checks them.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::budget::Budget;
use ambidex_core::{Error, ErrorKind, Model};

use super::Team;
use super::prompts::PLANNER;
use super::settings::{Known, Settings};
use super::{TeamParts, analysis};
use crate::agent::Agent;
use crate::engine::Engine;
use crate::merge::{Actor, How, Merge, Names, TEAMS};

/// Parts of an analysis, where nothing says how many.
const MOST_PARTS: usize = 20;
const AT_ONCE: u32 = 8;

/// What becomes of the others when a part has failed, after its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The team's run fails, and what is in flight is stopped.
    #[default]
    Fail,
    /// The others go on. Those that need the part are told that it failed, and the result says so too.
    Continue,
}

/// Settings of a [`Team`]. Only agents are needed.
#[must_use]
#[derive(Default)]
pub struct TeamBuilder {
    name: Option<String>,
    engine: Option<Engine>,
    members: Vec<(Agent, Option<String>)>,
    planner: Option<Actor>,
    everyone: bool,
    judges: Vec<Actor>,
    writer: Option<Actor>,
    merge: Option<Merge>,
    budget: Budget,
    at_once: Option<u32>,
    attempts: u32,
    part_timeout: Option<Duration>,
    on_failure: OnFailure,
    most_parts: Option<usize>,
    repairs: Option<u32>,
    threshold: Option<f64>,
    rounds: Option<u32>,
}

impl TeamBuilder {
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Keeps all runs of the team; without it the engine of the first agent does.
    pub fn engine(mut self, engine: &Engine) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    /// A member. Two of one name are told apart by a number.
    pub fn agent(mut self, agent: Agent) -> Self {
        self.members.push((agent, None));
        self
    }

    /// A member, and what a planner is told about it in place of its instructions.
    pub fn member(mut self, agent: Agent, about: impl Into<String>) -> Self {
        self.members.push((agent, Some(about.into())));
        self
    }

    pub fn agents(mut self, agents: impl IntoIterator<Item = Agent>) -> Self {
        self.members.extend(agents.into_iter().map(|agent| (agent, None)));
        self
    }

    /// Takes a task apart. Where none is given and the merge is `integrate`, the judge does.
    pub fn planner(mut self, planner: impl Model + 'static) -> Self {
        self.planner = Some(Actor::Model(Arc::new(planner)));
        self
    }

    /// As [`Self::planner`], of a model that is shared, or of an agent.
    pub fn planned_by(mut self, planner: impl Into<Actor>) -> Self {
        self.planner = Some(planner.into());
        self
    }

    /// Nobody takes the task apart: every member does the whole of it.
    pub fn everyone(mut self) -> Self {
        self.everyone = true;
        self
    }

    /// Judges. Several are asked in turn.
    pub fn judge(mut self, judge: impl Model + 'static) -> Self {
        self.judges.push(Actor::Model(Arc::new(judge)));
        self
    }

    /// As [`Self::judge`], of a model that is shared, or of an agent.
    pub fn judged_by(mut self, judge: impl Into<Actor>) -> Self {
        self.judges.push(judge.into());
        self
    }

    /// Writes what a merge writes (`fuse`, `integrate`); without it the judge does.
    pub fn writer(mut self, writer: impl Model + 'static) -> Self {
        self.writer = Some(Actor::Model(Arc::new(writer)));
        self
    }

    /// As [`Self::writer`], of a model that is shared, or of an agent.
    pub fn written_by(mut self, writer: impl Into<Actor>) -> Self {
        self.writer = Some(writer.into());
        self
    }

    /// How the outputs become one. Its `judge` and `model` may name members; where they name nobody, they are the
    /// team's judges and writer. Without it `integrate` where there is a judge, else `concat`.
    pub fn merge(mut self, merge: Merge) -> Self {
        self.merge = Some(merge);
        self
    }

    /// Of the whole team's run, its parts included.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Parts that may be done at once; 8 where it is not given.
    pub fn at_once(mut self, parts: u32) -> Self {
        self.at_once = Some(parts);
        self
    }

    /// Attempts of a part whose failure says that another may help.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Of one attempt at a part.
    pub fn part_timeout(mut self, timeout: Duration) -> Self {
        self.part_timeout = Some(timeout);
        self
    }

    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Parts that a task may be divided into; 20 where it is not given.
    pub fn most_parts(mut self, parts: usize) -> Self {
        self.most_parts = Some(parts);
        self
    }

    /// Times that a plan which cannot be followed is given back to the planner; 1 where it is not given.
    pub fn repairs(mut self, repairs: u32) -> Self {
        self.repairs = Some(repairs);
        self
    }

    /// Sends parts back that judges score below this (of 10), with what they said; once, unless [`Self::rounds`] says
    /// otherwise. Needs `integrate`.
    pub fn threshold(mut self, score: f64) -> Self {
        self.threshold = Some(score);
        self
    }

    /// Times that work may be sent back.
    pub fn rounds(mut self, rounds: u32) -> Self {
        self.rounds = Some(rounds);
        self
    }

    /// # Errors
    /// `config_invalid`: no agents, a merge that lacks a judge or does not fit, a number out of its range.
    pub fn build(mut self) -> Result<Team, Error> {
        let name = self.name.clone().unwrap_or_else(|| "team".to_owned());
        let place = |error: Error| error.context(format!("the team `{name}`"));
        let invalid = |text: &str| place(Error::new(ErrorKind::ConfigInvalid, text));
        let Some((first, _)) = self.members.first() else {
            return Err(invalid("it has no agents; add at least one with `.agent(...)`"));
        };
        let engine = self.engine.clone().unwrap_or_else(|| first.engine().clone());
        let agents = named(std::mem::take(&mut self.members));
        let (merge, actors) = self.merging(&agents).map_err(place)?;
        if self.at_once == Some(0) || self.most_parts == Some(0) {
            return Err(invalid("`at_once` and `most_parts` are at least 1"));
        }
        if let Some(threshold) = self.threshold {
            if merge.how != How::Integrate {
                return Err(invalid(
                    "`threshold` needs scores of the parts: merge with `integrate`, or leave it out",
                ));
            }
            if !(0.0..=10.0).contains(&threshold) {
                return Err(invalid("`threshold` is a score from 0 to 10"));
            }
        } else if self.rounds.is_some() {
            return Err(invalid(
                "`rounds` without a `threshold` sends nothing back; give one, or leave it out",
            ));
        }
        let planner = match self.planner.take() {
            _ if self.everyone => None,
            None if merge.how == How::Integrate => self.judges.first().cloned(),
            planner => planner,
        };
        let helpers = merge.agents(super::plan::RESULT, &engine, |named| {
            actors.iter().find(|(name, _)| name == named).map(|(_, actor)| actor.clone())
        });
        let helpers = helpers.map_err(place)?;
        let settings = Settings {
            agents: agents
                .iter()
                .map(|(name, _, about)| Known { name: name.clone(), about: about.clone() })
                .collect(),
            merge,
            budget: self.budget,
            at_once: self.at_once.unwrap_or(AT_ONCE),
            attempts: self.attempts,
            part_timeout_ms: self.part_timeout.map(crate::clock::millis),
            goes_on: self.on_failure == OnFailure::Continue,
            most_parts: self.most_parts.unwrap_or(MOST_PARTS),
            repairs: self.repairs.unwrap_or(1),
            threshold: self.threshold,
            rounds: self.rounds.unwrap_or(1),
            name,
        };
        let planner = match planner {
            Some(planner) => {
                let output = Some(("plan", analysis::schema(settings.names())));
                Some(planner.make(&engine, &settings.planner_name(), PLANNER, output)?)
            }
            None => None,
        };
        let agents = agents.into_iter().map(|(name, agent, _)| (name, agent)).collect();
        Team::new(TeamParts { settings, engine, agents, planner, helpers })
    }

    /// The merge with everybody it names.
    fn merging(&self, agents: &[(String, Agent, String)]) -> Result<(Merge, Vec<(String, Actor)>), Error> {
        let default = if self.judges.is_empty() { How::Concat } else { How::Integrate };
        let mut merge = self.merge.clone().unwrap_or_else(|| Merge::new(default));
        let mut actors: Vec<(String, Actor)> =
            agents.iter().map(|(name, agent, _)| (name.clone(), Actor::Agent(agent.clone()))).collect();
        if !merge.is_pure() {
            let judges: Vec<_> = (1..)
                .zip(&self.judges)
                .map(|(number, judge)| (format!("{TEAMS}judge {number}"), judge))
                .collect();
            if merge.judge.is_empty() && merge.how != How::Fuse {
                merge.judge = judges.iter().map(|(name, _)| name.as_str()).collect::<Names>();
            }
            actors.extend(judges.iter().map(|(name, judge)| (name.clone(), Actor::clone(judge))));
            let writer = self.writer.as_ref().or(self.judges.first());
            if let (None, Some(writer), true) = (&merge.model, writer, merge.how != How::BestOf) {
                merge.model = Some(format!("{TEAMS}writer"));
                actors.push((format!("{TEAMS}writer"), writer.clone()));
            }
        } else if !self.judges.is_empty() || self.writer.is_some() {
            let how = merge.how.as_str();
            let text = format!(
                "it has a judge or a writer, and `{how}` asks neither; merge otherwise, or leave it out"
            );
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        }
        merge.check()?;
        Ok((merge, actors))
    }
}

/// Members by names of their own, with what is said about them.
fn named(members: Vec<(Agent, Option<String>)>) -> Vec<(String, Agent, String)> {
    let mut named: Vec<(String, Agent, String)> = Vec::with_capacity(members.len());
    for (agent, about) in members {
        let mut name = agent.name().to_owned();
        let mut number = 2;
        while named.iter().any(|(taken, ..)| *taken == name) {
            name = format!("{} {number}", agent.name());
            number += 1;
        }
        let about = about.unwrap_or_else(|| crate::agent_tool::about(&agent));
        named.push((name, agent, about));
    }
    named
}
