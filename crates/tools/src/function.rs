//! A tool made from an async function.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use ambidex_core::{BoxFuture, Context, Error, ErrorKind, Tool, ToolOutput, ToolSpec};
use futures_util::FutureExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::input::{arguments, schema_of};
use crate::options::spec_options;
use crate::output::{failure, output, panicked};

type Function = dyn Fn(Value, Context) -> BoxFuture<'static, Result<ToolOutput, Error>> + Send + Sync;

/// An async function a model may call.
///
/// ```
/// use ambidex_core::Context;
/// use ambidex_core::tool::EffectClass;
/// use ambidex_tools::FunctionTool;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Arguments {
///     /// The city's name.
///     city: String,
/// }
///
/// let tool = FunctionTool::new("weather", "The weather in a city.", async |arguments: Arguments, _: Context| {
///     Ok::<_, std::io::Error>(format!("{}: sunny", arguments.city))
/// })
/// .effect(EffectClass::Read);
/// ```
///
/// A panic in the function is the call's error (`tool_failed`); its run goes on.
#[derive(Clone)]
pub struct FunctionTool {
    spec: ToolSpec,
    function: Arc<Function>,
}

impl FunctionTool {
    /// The input schema is made from `Args`. A result that is text stays text, anything else becomes JSON;
    /// an error that is an [`Error`] is kept, any other is `tool_failed` with its message.
    pub fn new<Args, Out, Failure, F, Fut>(
        name: impl Into<String>,
        description: impl Into<String>,
        f: F,
    ) -> Self
    where
        Args: DeserializeOwned + JsonSchema,
        Out: Serialize + 'static,
        Failure: Display + 'static,
        F: Fn(Args, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, Failure>> + Send + 'static,
    {
        let mut spec = ToolSpec::new(name, description);
        spec.input = schema_of::<Args>();
        Self::from_function(spec, move |value, context| {
            let call = arguments(value).map(|arguments| f(arguments, context));
            async move { call?.await.map_err(failure).and_then(output) }.boxed()
        })
    }

    /// A tool whose schema is known only at run time. The function gets an object that matched
    /// `spec.input`.
    pub fn dynamic<F, Fut>(spec: ToolSpec, f: F) -> Self
    where
        F: Fn(Value, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<ToolOutput, Error>> + Send + 'static,
    {
        Self::from_function(spec, move |value, context| f(value, context).boxed())
    }

    fn from_function(
        spec: ToolSpec,
        function: impl Fn(Value, Context) -> BoxFuture<'static, Result<ToolOutput, Error>> + Send + Sync + 'static,
    ) -> Self {
        Self { spec, function: Arc::new(function) }
    }

    spec_options!();
}

impl Tool for FunctionTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>> {
        let function = self.function.clone();
        let name = self.spec.name.clone();
        // The function's own body, before its first await, may panic too.
        let call = async move { function(arguments, context).await };
        async move {
            match AssertUnwindSafe(call).catch_unwind().await {
                Ok(result) => result,
                Err(payload) => Err(panicked(&name, &*payload)),
            }
        }
        .boxed()
    }
}

impl std::fmt::Debug for FunctionTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionTool").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Why a function was not called.
pub(crate) fn invalid_arguments(problem: impl Display) -> Error {
    Error::new(ErrorKind::InvalidArguments, problem.to_string())
}
