//! What a route is made of.

use std::fmt;
use std::sync::Arc;

use ambidex_core::Model;
use ambidex_core::model::{Capabilities, ModelInfo, StructuredOutput};
use ambidex_core::usage::Price;

use super::balancer::Balancer;
use super::hedge::Stagger;
use super::race::Winner;
use super::target::Target;
use crate::retry::AfterFirstToken;

/// The provider's name of all routes.
const PROVIDER: &str = "route";

pub(super) struct Plan {
    pub(super) info: ModelInfo,
    pub(super) name: Arc<str>,
    pub(super) targets: Vec<Arc<Target>>,
    /// None: in the targets' order.
    pub(super) balancer: Option<Balancer>,
    /// Whether anything depends on how soon first tokens come.
    pub(super) measures: bool,
}

/// How a route starts its targets and which one it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) start: Start,
    pub(super) win: Winner,
    pub(super) after_first_token: AfterFirstToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    AtOnce,
    /// The next one when the one before has failed.
    OnFailure,
    /// The next one also when there is no first token after a while.
    After(Stagger),
}

impl Plan {
    pub(super) fn new(
        name: String,
        targets: impl IntoIterator<Item = Arc<dyn Model>>,
        rules: &Rules,
    ) -> Arc<Self> {
        Arc::new(Self::of(name, targets, rules, None))
    }

    pub(super) fn balanced(
        name: String,
        targets: impl IntoIterator<Item = Arc<dyn Model>>,
        rules: &Rules,
        balancer: Balancer,
    ) -> Arc<Self> {
        Arc::new(Self::of(name, targets, rules, Some(balancer)))
    }

    fn of(
        name: String,
        targets: impl IntoIterator<Item = Arc<dyn Model>>,
        rules: &Rules,
        balancer: Option<Balancer>,
    ) -> Self {
        let targets: Vec<_> = targets.into_iter().map(|model| Arc::new(Target::new(model))).collect();
        let infos: Vec<_> = targets.iter().map(|target| target.model.info()).collect();
        let info = describe(&name, &infos, rules);
        let measures = matches!(rules.start, Start::After(Stagger::P95 { .. }))
            || balancer.as_ref().is_some_and(Balancer::measures);
        Self { name: name.into(), info, targets, balancer, measures }
    }

    pub(super) fn debug(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<&str> = self.targets.iter().map(|target| &*target.name).collect();
        f.debug_struct(kind).field("name", &self.name).field("targets", &targets).finish()
    }
}

/// What is true of a route. Structured output is asked for as every target understands it. A route can do what
/// one of its targets can, and its context is the largest known: a target that cannot, or whose context is
/// smaller, passes the request on.
fn describe(name: &str, targets: &[&ModelInfo], rules: &Rules) -> ModelInfo {
    let mut info = ModelInfo::new(name, PROVIDER);
    info.context = targets.iter().filter_map(|target| target.context).max();
    let weakest = targets.iter().map(|target| target.structured_output).max_by_key(|way| match way {
        StructuredOutput::Native => 0,
        StructuredOutput::NativeWithoutTools => 1,
        StructuredOutput::Tool => 2,
    });
    info.structured_output = weakest.unwrap_or(StructuredOutput::Native);
    let can = |of: fn(&Capabilities) -> Option<bool>| {
        let mut known = targets.iter().map(|target| of(&target.capabilities));
        match known.clone().all(|can| can == Some(false)) {
            true => known.next().map(|_| false),
            false => known.any(|can| can == Some(true)).then_some(true),
        }
    };
    info.capabilities = Capabilities {
        vision: can(|it| it.vision),
        tools: can(|it| it.tools),
        parallel_tool_calls: can(|it| it.parallel_tool_calls),
        max_output: targets.iter().filter_map(|target| target.capabilities.max_output).max(),
    };
    // Only for estimates. A race pays all of them.
    let mut prices = targets.iter().filter_map(|target| target.price);
    info.price = match rules.start {
        Start::AtOnce => prices.reduce(sum),
        Start::OnFailure | Start::After(_) => prices.next(),
    };
    info
}

fn sum(a: Price, b: Price) -> Price {
    let cached = |price: &Price| price.cached_input.unwrap_or(price.input);
    Price {
        input: a.input + b.input,
        output: a.output + b.output,
        cached_input: Some(cached(&a) + cached(&b)),
    }
}
