// The sync door: no runtime of your own, from any thread.

use ambidex::models::ScriptedModel;
use ambidex::{Agent, EventKind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder().model(ScriptedModel::new(["Hello."])).build()?;
    println!("{}", agent.blocking().run("Say hello.")?.text);

    let threads = (0..4).map(|_| {
        let agent = agent.blocking();
        std::thread::spawn(move || agent.run("Say hello.").map(|result| result.text))
    });
    for thread in threads.collect::<Vec<_>>() {
        assert_eq!(thread.join().map_err(|_| "a thread panicked")??, "Hello.");
    }

    let mut said = String::new();
    for event in agent.blocking().stream("Say hello.")? {
        if let EventKind::ModelDelta { text } = event.kind {
            said.push_str(&text);
        }
    }
    assert_eq!(said, "Hello.");
    Ok(())
}
