//! Models side by side.

use crate::support::Place;

fn three() -> Place {
    let more = "[models.priced]\nkind = \"scripted\"\nscript = \"script.toml\"\nprice = { input = 0.0, output = 5000.0 }\n\
        [models.broken]\nkind = \"scripted\"\nscript = \"broken.toml\"\nretry = { attempts = 1 }\n\
        [routes.safe]\nstrategy = \"fallback\"\nuse = [\"broken\", \"priced\"]\n\
        [cache]\nkind = \"exact\"\n";
    let place = Place::scripted(
        "[default]\ntext = \"{{ last }}\"\nusage = { input_tokens = 7, output_tokens = 100 }\n",
        more,
    );
    place.write(
        "broken.toml",
        "[default]\ntext = \"x\"\nfaults = [{ kind = \"overloaded\", always = true }]\n",
    );
    place
}

#[test]
fn targets_are_compared_in_a_table() {
    let place = three();
    let ran = place.ambidex(&["models", "bench", "priced", "safe", "script", "--runs", "4"]).ends(0);
    let lines: Vec<Vec<&str>> = ran
        .out
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["TARGET", "FIRST TOKEN", "TOTAL", "P95", "TOKENS/S", "COST/CALL", "FAILED"]);
    assert_eq!((lines[1][0], lines[1][5], lines[1][6]), ("priced", "$0.50", "0 of 4"));
    assert_eq!((lines[2][0], lines[2][6]), ("safe", "0 of 4"));
    assert_eq!((lines[3][0], lines[3][5]), ("script", "-"));
    assert!(lines[1][1].ends_with(" ms") || lines[1][1].ends_with(" s"), "{:?}", lines[1]);
    // A target that never answered has no times, and its reason.
    let ran = place.ambidex(&["models", "bench", "broken", "--runs", "3"]).ends(1);
    ran.prints("3 of 3").says("broken: ").says("[overloaded] (3 times)");
    place
        .ambidex(&["-c", "models.desk={kind=\"human\"}", "models", "bench", "desk"])
        .ends(2)
        .says("`desk` is a person");
    place.ambidex(&["models", "bench", "brokn"]).ends(2).says("there is no model `brokn`");
}

#[test]
fn the_numbers_are_to_be_had_as_json_and_nothing_comes_from_the_cache() {
    let place = three();
    let args = ["models", "bench", "priced", "broken", "--runs", "6", "--concurrency", "3", "--json"];
    let all = place.ambidex(&[args.as_slice(), &["--prompt", "Hi"]].concat()).ends(1).json();
    assert_eq!(
        (&all[0]["name"], &all[0]["calls"], &all[0]["failed"]),
        (&"priced".into(), &6.into(), &0.into())
    );
    // A kept reply costs nothing.
    assert_eq!((all[0]["usd"].as_f64(), all[0]["output_tokens"].as_u64()), (Some(3.0), Some(600)));
    let (median, p95) = (&all[0]["seconds"]["median"], &all[0]["seconds"]["p95"]);
    assert!(median.as_f64().unwrap() <= p95.as_f64().unwrap(), "{all}");
    assert!(all[0]["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!((&all[1]["failed"], &all[1]["errors"]["overloaded"]), (&6.into(), &6.into()));
    assert!(all[1]["seconds"]["median"].is_null());
}
