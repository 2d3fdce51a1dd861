//! `fake-provider`: the provider as a process. Prints `{"addr":"127.0.0.1:PORT"}` when it is ready and serves
//! until Ctrl-C.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use ambidex_fake_provider::{FakeProvider, Fault, Script, When};

const HELP: &str = "\
Usage: fake-provider [--script FILE] [--fault NAME] [--when always|once|first|N] [--pace MS] [--chunks N] [--port PORT]
       fake-provider --list-faults

Without a script it answers every conversation with the text `ok`.
";

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\n\n{HELP}")]
    Usage(String),
    #[error("cannot read the script {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("the script {path} is not valid: {source}")]
    Script { path: String, source: serde_json::Error },
    #[error("cannot serve: {0}")]
    Serve(#[from] std::io::Error),
}

struct Arguments {
    script: Script,
    port: u16,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fake-provider: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let Some(arguments) = parse(std::env::args().skip(1))? else { return Ok(()) };
    let addr = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    let provider = FakeProvider::start_on(addr, arguments.script).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::json!({"addr": provider.addr().to_string()}))?;
    out.flush()?;
    tokio::signal::ctrl_c().await?;
    provider.shutdown().await;
    Ok(())
}

/// The arguments; none when all was said with the listing.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Arguments>, Failure> {
    let mut script = Script::text("ok");
    let (mut fault, mut when, mut pace, mut chunks, mut port) = (None, When::Always, None, None, 0);
    while let Some(flag) = arguments.next() {
        match flag.as_str() {
            "--list-faults" => {
                list_faults()?;
                return Ok(None);
            }
            "--help" | "-h" => {
                std::io::stdout().write_all(HELP.as_bytes())?;
                return Ok(None);
            }
            _ => {}
        }
        let value =
            arguments.next().ok_or_else(|| Failure::Usage(format!("{flag} is unknown or needs a value")))?;
        let number = || {
            value.parse::<u64>().map_err(|_| Failure::Usage(format!("{flag} takes a number, not {value:?}")))
        };
        match flag.as_str() {
            "--script" => {
                let text = std::fs::read_to_string(&value)
                    .map_err(|source| Failure::Read { path: value.clone(), source })?;
                script =
                    Script::from_json(&text).map_err(|source| Failure::Script { path: value, source })?;
            }
            "--fault" => {
                let known = Fault::by_name(&value);
                fault = Some(known.ok_or_else(|| {
                    Failure::Usage(format!("there is no fault {value:?}; see --list-faults"))
                })?);
            }
            "--when" => {
                when = match value.as_str() {
                    "always" => When::Always,
                    "once" => When::Once,
                    "first" => When::First,
                    _ => When::Attempt(u32::try_from(number()?).unwrap_or(u32::MAX)),
                };
            }
            "--pace" => pace = Some(Duration::from_millis(number()?)),
            "--chunks" => chunks = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "--port" => {
                port = u16::try_from(number()?)
                    .map_err(|_| Failure::Usage(format!("--port {value} is no port")))?;
            }
            _ => return Err(Failure::Usage(format!("there is no flag {flag}"))),
        }
    }
    if let Some(fault) = fault {
        script = script.with_fault(fault, when);
    }
    if let Some(pace) = pace {
        script = script.with_pace(pace);
    }
    if let Some(chunks) = chunks {
        script = script.with_chunks(chunks);
    }
    Ok(Some(Arguments { script, port }))
}

/// One JSON line per fault.
fn list_faults() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for fault in Fault::all() {
        let wires: Vec<&str> = fault.wires().iter().map(|wire| wire.as_str()).collect();
        let line = serde_json::json!({
            "name": fault.name(), "wires": wires, "stream_only": fault.stream_only(),
            "demand": fault.demand(), "summary": fault.summary(),
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
