//! Examples that work with files and commands, as their readers run them.

use serde_json::{Value, json};

use crate::flow::example;
use crate::support::{Place, Ran};

fn run(place: &Place, more: &[&str]) -> Ran {
    let mut args = vec!["flow", "run", "flow.toml", "--result-json"];
    args.extend(more);
    place.ambidex(&args)
}

fn output(ran: &Ran) -> Value {
    ran.json()["output"].clone()
}

#[test]
fn a_ticket_goes_its_way_and_is_filed() {
    let place = example("support");
    let told = output(&run(&place, &["The pump does not give water, Ada"]).ends(0));
    assert_eq!(told["route"], "fault");
    assert_eq!(told["answer"], "We looked it up. Do this: open the valve behind the pump for a minute.");
    let told = output(&run(&place, &["How much do I owe, Grace"]).ends(0));
    assert_eq!(told["answer"], "These invoices are open:\n2041;Grace;120.00\n2043;Grace;35.50");
    // `grep` finds nothing, which stops nobody.
    let told = output(&run(&place, &["How much do I owe, Bob"]).ends(0));
    assert_eq!(told["answer"], "There is no open invoice of Bob.");

    let db = ["--db", "sqlite:state.db"];
    let waits = run(&place, &["I want my money back, Ada", db[0], db[1]]).ends(3);
    waits.says("Ada wants his money back");
    let resume = ["runs", "resume", "@last", "-w", "flow.toml", "--result-json", db[0], db[1], "--answer"];
    let answer = |answer| place.ambidex(&[&resume[..], &[answer]].concat());
    answer(r#"{"pay": "yes, of course"}"#).ends(2).says("boolean");
    let told = output(&answer(r#"{"pay": true, "word": "Sorry."}"#).ends(0));
    assert_eq!(told["answer"], "Your money is on its way. Sorry.");
    let filed = place.read("answers.log");
    let routes: Vec<_> =
        filed.lines().filter_map(|line| line.split_once(" | ")).map(|(route, _)| route).collect();
    assert_eq!(routes, ["fault", "billing", "billing", "refund"], "{filed}");
}

#[test]
fn what_does_not_add_up_is_taken_out_again() {
    let place = example("extract");
    let told = output(&run(&place, &[]).ends(0));
    let list = |key: &str| {
        let mut list: Vec<_> = told[key].as_array().unwrap().iter().map(Value::to_string).collect();
        list.sort();
        list
    };
    // Once; twice because a scan is blurred; three times in vain.
    assert_eq!(list("rounds"), ["1", "1", "2", "3"]);
    assert_eq!((list("good").len(), &told["bad"]), (3, &json!(["19"])));
    assert_eq!(place.read("invoices.csv"), "17;119;1\n18;238;2\n19;99;3\n20;48;1\n");
    // One more, and one that cannot be read.
    place.write("invoices/e.txt", "Invoice 21\nnet 1\ntax 1\ntotal 2\n");
    run(&place, &[]).ends(0);
    assert!(place.read("invoices.csv").ends_with("21;2;1\n"));
}

#[test]
fn the_most_common_translation_wins() {
    let place = example("polyglot");
    let told = output(&run(&place, &["-i", "text=The water is cold."]).ends(0));
    let expected = [
        "de: Das Wasser ist kalt. (vote)",
        "fr: L'eau est froide. (vote)",
        "eo: La akvo malvarmas. (vote)",
        "nl: Het water is koud. (editor)",
    ];
    assert_eq!(told, json!(expected));
    assert_eq!(place.read("text.nl"), "Het water is koud.");
    // Who knows no word of it: two of three must give something.
    let ran = run(&place, &["-i", "text=x", "-i", "languages=xx"]).ends(1);
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("drafts"), "{}", ran.out);
}

#[test]
fn a_night_is_reported_with_what_could_not_be_read() {
    let place = example("nightly");
    let told = output(&run(&place, &[]).ends(0));
    let lines = ["web: 2 errors after 2 looks", "mail: quiet", "queue: its log cannot be read"];
    assert_eq!(told["lines"], json!(lines));
    assert_eq!(place.read("report.md"), "# Last night\n\n3 services, 2 of them in trouble.");
}

#[test]
fn a_change_is_merged_or_waits_for_a_person_or_ends() {
    let place = example("codereview");
    let told = output(&run(&place, &[]).ends(0));
    assert_eq!(told["merged"], true, "{told}");
    assert_eq!(place.read("before/greet.sh"), place.read("after/greet.sh"));

    let old = place.read("before/run.sh");
    let db = ["--db", "sqlite:state.db"];
    let waits = run(&place, &["-i", "file=run.sh", db[0], db[1]]).ends(3);
    waits.says("NO: eval on what a stranger typed.").says("To do: 1");
    let no = ["runs", "resume", "@last", "-w", "flow.toml", "--result-json", db[0], db[1], "--no"];
    let told = output(&place.ambidex(&no).ends(0));
    assert_eq!((&told["merged"], place.read("before/run.sh")), (&json!(false), old));

    let told = output(&run(&place, &["-i", "file=torn.sh"]).ends(0));
    assert_eq!(told["merged"], false);
}
