// A hook that keeps a tool inside its folder and counts what models are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ambidex::models::{ScriptedModel, Turn};
use ambidex::{
    Agent, BoxFuture, Context, Error, ErrorKind, Hook, Request, ToolDecision, ToolInvocation, tool,
};
use serde_json::json;

/// Removes a file.
#[tool(effect = "idempotent")]
async fn remove(path: String) -> String {
    format!("{path} is gone (well, it is an example)")
}

#[derive(Clone, Default)]
struct Guard {
    model_calls: Arc<AtomicUsize>,
}

impl Hook for Guard {
    fn before_model<'a>(&'a self, _: &'a Context, request: Request) -> BoxFuture<'a, Result<Request, Error>> {
        self.model_calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(request) })
    }

    fn before_tool<'a>(
        &'a self,
        _: &'a Context,
        call: ToolInvocation,
    ) -> BoxFuture<'a, Result<ToolDecision, Error>> {
        Box::pin(async move {
            let outside = call.arguments["path"].as_str().is_none_or(|path| path.starts_with('/'));
            if outside {
                // The model is told why, and the run goes on.
                return Err(Error::new(ErrorKind::Denied, "only files of this project may be removed"));
            }
            Ok(ToolDecision::Run(call))
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let guard = Guard::default();
    let model = ScriptedModel::new([
        Turn::call("remove", json!({"path": "/etc/passwd"})).and_call("remove", json!({"path": "notes.txt"})),
        Turn::text("One of the two is gone."),
    ]);
    let agent = Agent::builder().model(model).tool(remove).hook(guard.clone()).build()?;
    let result = agent.run("Remove both.").await?;
    println!("{}", result.text);
    assert_eq!(guard.model_calls.load(Ordering::Relaxed), 2);
    let said = format!("{:?}", result.messages);
    assert!(said.contains("only files of this project") && said.contains("notes.txt is gone"));
    Ok(())
}
