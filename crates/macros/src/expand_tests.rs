//! What misuse is answered with.

use proc_macro2::TokenStream;

use crate::expand::tool;

fn told(options: &str, function: &str) -> String {
    let parse = |text: &str| text.parse::<TokenStream>().map_err(|error| error.to_string());
    match (parse(options), parse(function)) {
        (Ok(options), Ok(function)) => match tool(options, function) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string(),
        },
        (options, function) => format!("{options:?} {function:?}"),
    }
}

#[test]
fn what_is_right_expands() {
    assert_eq!(told("", "fn a() {}"), "fine");
    assert_eq!(
        told(
            "name = \"b-2\", description = \"d\", effect = \"once\", timeout = \"10s\", attempts = 2, concurrency = 3, \
             exclusive",
            "pub(crate) async fn a(#[arg(default = 3, description = \"n\", name = \"m\")] mut n: u32, c: ambidex::Context) \
             -> std::io::Result<u32> { Ok(n) }"
        ),
        "fine"
    );
}

#[test]
fn misuse_says_what_to_do_instead() {
    for (options, function, remedy) in [
        ("", "struct A;", "stands on a `fn`"),
        ("", "fn a(&self) {}", "a tool is a free function"),
        ("", "fn a<T>(t: T) {}", "no generic parameters"),
        ("", "unsafe fn a() {}", "safe one"),
        ("", "fn a(t: &str) {}", "String for &str"),
        ("", "fn a(c: &Context) {}", "by value"),
        ("", "fn a(c: Context, d: Context) {}", "one `Context`"),
        ("", "fn a((x, y): (u8, u8)) {}", "needs a name"),
        ("", "fn a(t: impl Into<String>) {}", "a type of its own"),
        ("", "fn a(#[serde(default)] t: u8) {}", "#[arg(...)] only"),
        ("", "fn a(#[arg(optional)] t: u8) {}", "there are name, description and default"),
        ("", "fn größe() {}", "set another with name"),
        ("name = \"a b\"", "fn a() {}", "providers take"),
        ("effect = \"write\"", "fn a() {}", "unknown effect"),
        ("timeout = \"soon\"", "fn a() {}", "not a duration"),
        ("timeout = \"0s\"", "fn a() {}", "not a duration"),
        ("attempts = 0", "fn a() {}", "1 at least"),
        ("retries = 3", "fn a() {}", "unknown option"),
    ] {
        let told = told(options, function);
        assert!(told.contains(remedy), "#[tool({options})] {function}: {told}");
    }
}
