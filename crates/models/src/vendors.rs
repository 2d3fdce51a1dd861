//! Vendors and servers that speak Chat Completions, as rows of data. Read 2026-11-20 from the sources named; a row
//! says what was not found there.
//!
//! A row is found by the host of the base URL, else by the provider's name: so `[providers.groq]` behind a
//! gateway of one's own keeps Groq's habits. What no row describes gets [`Quirks::DEFAULT`].

use ambidex_core::model::StructuredOutput;

use crate::openai_chat::{Effort, History, KeyHeader, NamedTool, Off, OutputFormat, Quirks, ReasoningBack};

/// One vendor or server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// The provider's name by which it is known.
    pub name: &'static str,
    /// Its hosts; one that begins with a dot stands for all below it. Local servers have none.
    pub hosts: &'static [&'static str],
    /// Where it is; none where each customer has an address of his own.
    pub base_url: Option<&'static str>,
    /// The variable that holds its key; none where a key is not asked for.
    pub key_variable: Option<&'static str>,
    pub structured_output: StructuredOutput,
    pub quirks: Quirks,
}

/// The three levels that nearly all know.
const THREE: &[&str] = &["low", "medium", "high"];

/// No reasoning in messages, and no field that is not in the interface.
const BARE: History =
    History { dialect: "openai-chat/bare", reasoning: ReasoningBack::Never, refusal: true, narrow: false };

const OPENAI: Quirks = Quirks { max_completion_tokens: true, history: BARE, ..Quirks::DEFAULT };

const fn hosted(
    name: &'static str,
    hosts: &'static [&'static str],
    base_url: &'static str,
    key_variable: &'static str,
    quirks: Quirks,
) -> Vendor {
    let structured_output = StructuredOutput::Native;
    Vendor {
        name,
        hosts,
        base_url: Some(base_url),
        key_variable: Some(key_variable),
        structured_output,
        quirks,
    }
}

/// A server of one's own. A grammar for the output keeps it from calling tools.
const fn local(name: &'static str, base_url: &'static str, quirks: Quirks) -> Vendor {
    let structured_output = StructuredOutput::NativeWithoutTools;
    Vendor { name, hosts: &[], base_url: Some(base_url), key_variable: None, structured_output, quirks }
}

/// All rows.
pub const VENDORS: &[Vendor] = &[
    // The types of `openai` 3.52 (PyPI).
    hosted("openai", &["api.openai.com"], "https://api.openai.com/v1", "OPENAI_API_KEY", OPENAI),
    // learn.microsoft.com, Azure OpenAI, API lifecycle: since August 2025 `/openai/v1` needs no `api-version`;
    // the older addresses end with `/openai/deployments/NAME?api-version=DATE`.
    Vendor {
        name: "azure",
        hosts: &[".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"],
        base_url: None,
        key_variable: Some("AZURE_OPENAI_API_KEY"),
        structured_output: StructuredOutput::Native,
        quirks: Quirks { key: KeyHeader::ApiKey, base_path: Some("/openai/v1"), ..OPENAI },
    },
    // api-docs.deepseek.com, Thinking Mode and Create Chat Completion: no `json_schema`; messages with calls
    // must bring `reasoning_content` in thinking mode, which is on unless it is disabled.
    Vendor {
        structured_output: StructuredOutput::NativeWithoutTools,
        ..hosted(
            "deepseek",
            &["api.deepseek.com"],
            "https://api.deepseek.com",
            "DEEPSEEK_API_KEY",
            Quirks {
                parallel_tool_calls: false,
                output: OutputFormat::Object,
                effort: Effort { object: false, words: &["low", "high", "max"], off: Off::Thinking },
                history: History {
                    dialect: "openai-chat/reasoning_content-demanded",
                    reasoning: ReasoningBack::Demanded("reasoning_content"),
                    refusal: false,
                    narrow: false,
                },
                ..Quirks::DEFAULT
            },
        )
    },
    // The types of `openrouter` 1.3.84 (PyPI); openrouter.ai/docs, Reasoning Tokens.
    hosted(
        "openrouter",
        &["openrouter.ai"],
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        Quirks { effort: Effort { object: true, words: &[], off: Off::Word }, ..Quirks::DEFAULT },
    ),
    // The types of `groq` 1.7.0 (PyPI): `reasoning` alone in messages; `reasoning_content` is answered with 400, and
    // `reasoning` too by models that do not think (github.com/vercel/ai 8056).
    // console.groq.com/docs/structured-outputs: not beside tools.
    Vendor {
        structured_output: StructuredOutput::NativeWithoutTools,
        ..hosted(
            "groq",
            &["api.groq.com"],
            "https://api.groq.com/openai/v1",
            "GROQ_API_KEY",
            Quirks {
                max_completion_tokens: true,
                effort: Effort { object: false, words: THREE, off: Off::Word },
                history: History {
                    dialect: "openai-chat/reasoning",
                    reasoning: ReasoningBack::Only("reasoning"),
                    refusal: false,
                    narrow: false,
                },
                ..Quirks::DEFAULT
            },
        )
    },
    // The types of `mistralai` 3.7.0 (PyPI): unknown fields are answered with 422, `stream_options` among
    // them. Ids of calls have nine letters and digits; `user` after `tool` is refused (code 3230).
    hosted(
        "mistral",
        &["api.mistral.ai"],
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        Quirks {
            stream_options: false,
            seed: "random_seed",
            history: History {
                dialect: "openai-chat/narrow",
                reasoning: ReasoningBack::Never,
                refusal: false,
                narrow: true,
            },
            ..Quirks::DEFAULT
        },
    ),
    // The types of `together` 3.1.1 (PyPI): no `stream_options`, no `parallel_tool_calls`.
    hosted(
        "together",
        &["api.together.xyz", "api.together.ai"],
        "https://api.together.xyz/v1",
        "TOGETHER_API_KEY",
        Quirks {
            stream_options: false,
            parallel_tool_calls: false,
            effort: Effort { object: false, words: THREE, off: Off::Enabled },
            ..Quirks::DEFAULT
        },
    ),
    // docs.x.ai, Reasoning: which efforts there are differs by model; `none` is refused by those that always think.
    // Best Practices: Chat Completions are deprecated. What the limit is called, and what a history may hold, was not
    // found there.
    hosted(
        "xai",
        &["api.x.ai", ".api.x.ai"],
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        Quirks {
            max_completion_tokens: true,
            effort: Effort { object: false, words: THREE, off: Off::Word },
            history: History {
                dialect: "openai-chat/reasoning_content",
                reasoning: ReasoningBack::Only("reasoning_content"),
                refusal: false,
                narrow: false,
            },
            ..Quirks::DEFAULT
        },
    ),
    // docs.vllm.ai, Reasoning Outputs: `enable_thinking`; Tool Calling: one tool may be named. vllm 39929: beside an
    // output schema the model calls no tool.
    local(
        "vllm",
        "http://127.0.0.1:8000/v1",
        Quirks { effort: Effort { object: false, words: THREE, off: Off::Template }, ..Quirks::DEFAULT },
    ),
    // llama.cpp 26535 and 26849: an object as `tool_choice` is taken for `auto`, without an error. Its server refuses
    // a grammar beside tools.
    local(
        "llama-cpp",
        "http://127.0.0.1:8080/v1",
        Quirks {
            named_tool: NamedTool::Alone,
            effort: Effort { object: false, words: THREE, off: Off::Template },
            ..Quirks::DEFAULT
        },
    ),
    // lmstudio-bug-tracker 670: an object as `tool_choice` is answered with 400. Nothing was found about
    // `parallel_tool_calls`, so it is not sent, and nothing about efforts.
    local(
        "lm-studio",
        "http://127.0.0.1:1234/v1",
        Quirks {
            named_tool: NamedTool::Alone,
            parallel_tool_calls: false,
            effort: Effort { object: false, words: THREE, off: Off::Word },
            ..Quirks::DEFAULT
        },
    ),
];

/// The row of this name. A hyphen may be left out or be an underscore.
pub fn named(name: &str) -> Option<&'static Vendor> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    VENDORS.iter().find(|vendor| plain(vendor.name) == plain(name))
}

/// The row that describes this provider at this host.
pub fn of(provider: &str, host: &str) -> Option<&'static Vendor> {
    let host = host.to_ascii_lowercase();
    let at = |known: &str| if known.starts_with('.') { host.ends_with(known) } else { host == known };
    VENDORS.iter().find(|vendor| vendor.hosts.iter().any(|known| at(known))).or_else(|| named(provider))
}
