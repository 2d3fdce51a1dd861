//! No text, variable or flag makes loading or rendering panic, and every error has a place.

use ambidex_config::{Environment, LoadOptions, Style, load};
use proptest::prelude::*;

use crate::schema::WHOLE;

/// A change of a text: at a place, so many characters go and others come.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, String)>> {
    let piece = prop_oneof![
        Just(String::new()),
        "[\\[\\]{}=\"'#.,\n é\t0-9-]{0,4}",
        Just("= { env = 1 }".to_owned()),
        Just("\u{feff}🦀".to_owned()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..6usize, piece), 1..6)
}

fn edited(edits: Vec<(prop::sample::Index, usize, String)>) -> String {
    let mut text: Vec<char> = WHOLE.chars().collect();
    for (at, gone, come) in edits {
        let start = at.index(text.len() + 1);
        let end = (start + gone).min(text.len());
        text.splice(start..end, come.chars());
    }
    text.into_iter().collect()
}

fn check(options: &LoadOptions) {
    match load(options) {
        Ok(loaded) => {
            let mut again = LoadOptions::in_directory("/");
            again.text = Some(loaded.show(true));
            let reloaded = load(&again).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain)));
            assert_eq!(reloaded.show(false), loaded.show(false));
        }
        Err(errors) => {
            assert!(errors.iter().count() > 0);
            errors.render(Style::Color);
            for error in &errors {
                assert!(error.origin.line_column().is_some(), "{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn of_a_file(edits in edits()) {
        let mut options = LoadOptions::in_directory("/");
        options.text = Some(edited(edits));
        check(&options);
    }

    #[test]
    fn of_variables_and_flags(name in "[A-Z_]{0,12}", value in ".{0,12}", flag in ".{0,4}[a-z.\"]{0,8}=?.{0,12}") {
        let mut options = LoadOptions::in_directory("/");
        options.text = Some(WHOLE.into());
        options.environment = Environment::from_iter([(format!("AMBIDEX__{name}"), value)]);
        options.overrides = vec![flag];
        check(&options);
    }
}
