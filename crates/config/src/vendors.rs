//! Vendors and servers that speak Chat Completions, known by the name of their section.

/// One of them. What else is special about it is known where requests are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vendor {
    pub name: &'static str,
    /// None where each customer has an address of his own.
    pub base_url: Option<&'static str>,
    /// Where the addresses of customers are: what their hosts end with.
    pub domains: &'static [&'static str],
    /// The variable that holds the key; none where a key is not asked for.
    pub key: Option<&'static str>,
}

impl Vendor {
    /// Whether an address is one of those that its customers have, over TLS. Only there its key goes unasked.
    pub(crate) fn is_at(&self, base_url: &str) -> bool {
        let authority = base_url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?']).next());
        let host = authority.unwrap_or_default().to_ascii_lowercase();
        self.domains.iter().any(|domain| host.ends_with(domain))
    }
}

const fn vendor(name: &'static str, base_url: &'static str, key: Option<&'static str>) -> Vendor {
    Vendor { name, base_url: Some(base_url), domains: &[], key }
}

/// All of them.
pub const VENDORS: &[Vendor] = &[
    vendor("openai", "https://api.openai.com/v1", Some("OPENAI_API_KEY")),
    Vendor {
        name: "azure",
        base_url: None,
        domains: &[".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"],
        key: Some("AZURE_OPENAI_API_KEY"),
    },
    vendor("deepseek", "https://api.deepseek.com", Some("DEEPSEEK_API_KEY")),
    vendor("openrouter", "https://openrouter.ai/api/v1", Some("OPENROUTER_API_KEY")),
    vendor("groq", "https://api.groq.com/openai/v1", Some("GROQ_API_KEY")),
    vendor("mistral", "https://api.mistral.ai/v1", Some("MISTRAL_API_KEY")),
    vendor("together", "https://api.together.xyz/v1", Some("TOGETHER_API_KEY")),
    vendor("xai", "https://api.x.ai/v1", Some("XAI_API_KEY")),
    vendor("vllm", "http://127.0.0.1:8000/v1", None),
    vendor("llama-cpp", "http://127.0.0.1:8080/v1", None),
    vendor("lm-studio", "http://127.0.0.1:1234/v1", None),
];

/// The vendor of this name. A hyphen may be left out or be an underscore.
pub(crate) fn named(name: &str) -> Option<&'static Vendor> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    VENDORS.iter().find(|vendor| plain(vendor.name) == plain(name))
}
