//! Routes of a configuration.

use std::sync::Arc;

use ambidex_config::{
    AfterFirstToken as ConfiguredRule, Breaker as ConfiguredBreaker, Duration, ModelReference, ModelSource,
    Pick as ConfiguredPick, Route as Configured, Stagger as ConfiguredStagger, Strategy,
    Winner as ConfiguredWinner,
};
use ambidex_core::model::{Model, ModelInfo};
use ambidex_core::{Error, ErrorKind};
use ambidex_models::route::{Balance, Breaker, BreakerPolicy, Fallback, Hedge, Pick, Race, Stagger, Winner};
use ambidex_models::{AfterFirstToken, Preset, Retry, RetryPolicy, Unavailable};

use super::Project;
use super::models::invalid;

/// Limits of time that a route sets in place of its models' own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Times {
    pub connect: Option<Duration>,
    pub first_token: Option<Duration>,
    pub idle: Option<Duration>,
}

impl Times {
    /// What a route says, else what is said by the one around it.
    #[must_use]
    pub fn within(route: &Configured, around: &Self) -> Self {
        Self {
            connect: route.timeout.connect.or(around.connect),
            first_token: route.timeout.first_token.or(around.first_token),
            idle: route.timeout.idle.or(around.idle),
        }
    }
}

/// Routes that ask a model in the same way share what they know of it, such as its breaker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TargetKey {
    model: String,
    times: Times,
    failures: u32,
    open_for: Duration,
}

impl Project {
    /// The route of this name, asked with these limits of time where it has none. `way` are the routes it is
    /// built for.
    ///
    /// # Errors
    /// `config_invalid`: it leads back to itself, or a target cannot be built. A target whose key cannot be had
    /// fails when it is asked.
    pub(super) fn route(
        &mut self,
        name: &str,
        above: &Times,
        way: &mut Vec<String>,
    ) -> Result<Arc<dyn Model>, Error> {
        let place = (name.to_owned(), *above);
        if let Some(route) = self.routes.get(&place) {
            return Ok(route.clone());
        }
        let Some(route) = self.config().routes.get(name).cloned() else {
            return Err(invalid(format!("there is no route `{name}`")));
        };
        if way.iter().any(|known| known == name) {
            return Err(invalid(format!("route `{name}` leads back to itself: {}", way.join(" → "))));
        }
        way.push(name.to_owned());
        let times = Times::within(&route, above);
        let targets = route.targets.iter().map(|name| self.named_target(name, &times, &route.breaker, way));
        let targets = targets.collect::<Result<Vec<_>, _>>();
        way.pop();
        let targets = targets.map_err(|error| error.context(format!("route `{name}`")))?;
        let built = self::route(name, &route, targets);
        self.routes.insert(place, built.clone());
        Ok(built)
    }

    /// What a route asks under this name: routes that ask a model in the same way share its breaker.
    ///
    /// # Errors
    /// As [`model`](Self::model), but for a key that cannot be had: such a target fails when it is asked.
    pub fn target(
        &mut self,
        reference: &str,
        times: &Times,
        breaker: &ConfiguredBreaker,
    ) -> Result<Arc<dyn Model>, Error> {
        self.named_target(reference, times, breaker, &mut Vec::new())
    }

    fn named_target(
        &mut self,
        reference: &str,
        times: &Times,
        breaker: &ConfiguredBreaker,
        way: &mut Vec<String>,
    ) -> Result<Arc<dyn Model>, Error> {
        if let Some(ModelReference::Route(name, _)) = self.config().model(reference) {
            let name = name.to_owned();
            return self.route(&name, times, way);
        }
        let key = TargetKey {
            model: reference.to_owned(),
            times: *times,
            failures: breaker.failures,
            open_for: breaker.open_for,
        };
        if let Some(target) = self.targets.get(&key) {
            return Ok(target.clone());
        }
        let (name, configured) = self.leaf(reference)?;
        let target = match self.build_model(&name, &configured, times) {
            // A person who is away has not failed.
            Ok(model) if matches!(configured.source, ModelSource::Human { .. }) => model,
            Ok(model) => {
                let model = self.cached(breakable(model, breaker), &configured);
                Arc::new(Preset::new(model, self.settings(&configured))) as Arc<dyn Model>
            }
            Err(error) if error.kind() == ErrorKind::Unauthorized => {
                let provider = error.provider().unwrap_or_default().to_owned();
                Arc::new(Unavailable::new(ModelInfo::new(name, provider), error))
            }
            Err(error) => return Err(error.context(format!("model `{name}`"))),
        };
        self.targets.insert(key, target.clone());
        Ok(target)
    }
}

/// A model that is left alone for a while when it failed too often.
pub fn breakable(model: Arc<dyn Model>, breaker: &ConfiguredBreaker) -> Arc<dyn Model> {
    let policy = BreakerPolicy { failures: breaker.failures, open_for: breaker.open_for.get() };
    Arc::new(Breaker::new(model, policy))
}

/// A route as it is configured over these models, which stand for its targets in their order.
pub fn route(name: &str, route: &Configured, targets: Vec<Arc<dyn Model>>) -> Arc<dyn Model> {
    let rule = match route.after_first_token {
        ConfiguredRule::Restart => AfterFirstToken::Restart,
        ConfiguredRule::Fail => AfterFirstToken::Fail,
    };
    let asks: Arc<dyn Model> = match &route.strategy {
        Strategy::Fallback => Arc::new(Fallback::new(name, targets).after_first_token(rule)),
        Strategy::Race { winner } => {
            let winner = match winner {
                ConfiguredWinner::FirstToken => Winner::FirstToken,
                ConfiguredWinner::FirstComplete => Winner::FirstComplete,
                ConfiguredWinner::FirstValid => Winner::FirstValid,
            };
            Arc::new(Race::new(name, winner, targets))
        }
        Strategy::Hedge { stagger } => {
            let stagger = match stagger {
                ConfiguredStagger::P95 => Stagger::default(),
                ConfiguredStagger::After(time) => Stagger::Fixed(time.get()),
            };
            Arc::new(Hedge::new(name, stagger, targets).after_first_token(rule))
        }
        Strategy::Balance { pick, weights } => {
            let pick = match pick {
                ConfiguredPick::RoundRobin => Pick::RoundRobin,
                ConfiguredPick::Weighted => {
                    let weight = |target| weights.get(target).map_or(1, |weight| weight.0);
                    Pick::Weighted(route.targets.iter().map(weight).collect())
                }
                ConfiguredPick::LeastBusy => Pick::LeastBusy,
                ConfiguredPick::LowestLatency => Pick::LowestLatency,
            };
            Arc::new(Balance::new(name, pick, targets).after_first_token(rule))
        }
    };
    let policy = RetryPolicy {
        attempts: route.retry.attempts,
        base: route.retry.base.get(),
        cap: route.retry.cap.get(),
        after_first_token: rule,
        total: route.timeout.total.get(),
    };
    Arc::new(Retry::new(asks, policy, Arc::default()))
}
