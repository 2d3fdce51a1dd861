//! What stands in the brackets of `#[tool(...)]` and `#[arg(...)]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::{Attribute, Expr, ExprLit, Lit, LitInt, LitStr, Meta, Result};

#[derive(Default)]
pub(crate) struct ToolOptions {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    /// Calls of the tool's builder.
    pub(crate) settings: TokenStream,
}

impl ToolOptions {
    pub(crate) fn parse(options: TokenStream) -> Result<Self> {
        let mut parsed = Self::default();
        syn::meta::parser(|option| parsed.take(&option)).parse2(options)?;
        Ok(parsed)
    }

    fn take(&mut self, option: &ParseNestedMeta<'_>) -> Result<()> {
        let is = |name: &str| option.path.is_ident(name);
        if is("name") {
            let name: LitStr = option.value()?.parse()?;
            check_name(&name.value(), name.span())?;
            self.name = Some(name.value());
        } else if is("description") {
            self.description = Some(option.value()?.parse::<LitStr>()?.value());
        } else if is("effect") {
            let effect = effect(&option.value()?.parse()?)?;
            self.settings.extend(quote!(.effect(#effect)));
        } else if is("timeout") {
            let milliseconds = milliseconds(&option.value()?.parse()?)?;
            self.settings.extend(quote!(.timeout(::std::time::Duration::from_millis(#milliseconds))));
        } else if is("attempts") {
            let attempts = count(&option.value()?.parse()?, "attempts")?;
            self.settings.extend(quote!(.attempts(#attempts)));
        } else if is("concurrency") {
            let calls = count(&option.value()?.parse()?, "concurrency")?;
            self.settings.extend(quote!(.concurrency(#calls)));
        } else if is("exclusive") {
            self.settings.extend(quote!(.exclusive()));
        } else {
            return Err(option.error(
                "unknown option; there are name, description, effect, timeout, attempts, concurrency and exclusive",
            ));
        }
        Ok(())
    }
}

/// What stands on one parameter.
#[derive(Default)]
pub(crate) struct ArgOptions {
    pub(crate) name: Option<LitStr>,
    pub(crate) description: Option<String>,
    pub(crate) default: Option<DefaultValue>,
}

pub(crate) enum DefaultValue {
    OfType,
    Expression(Expr),
}

impl ArgOptions {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut parsed = Self { description: docs(attributes), ..Self::default() };
        for attribute in attributes {
            if attribute.path().is_ident("doc") {
                continue;
            }
            if !attribute.path().is_ident("arg") {
                return Err(syn::Error::new_spanned(
                    attribute,
                    "a parameter of a tool takes doc comments and #[arg(...)] only",
                ));
            }
            attribute.parse_nested_meta(|option| {
                if option.path.is_ident("name") {
                    parsed.name = Some(option.value()?.parse()?);
                } else if option.path.is_ident("description") {
                    parsed.description = Some(option.value()?.parse::<LitStr>()?.value());
                } else if option.path.is_ident("default") {
                    parsed.default = Some(match option.value() {
                        Ok(value) => DefaultValue::Expression(value.parse()?),
                        Err(_) => DefaultValue::OfType,
                    });
                } else {
                    return Err(option.error("unknown option; there are name, description and default"));
                }
                Ok(())
            })?;
        }
        Ok(parsed)
    }
}

/// The text of doc comments.
pub(crate) fn docs(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> =
        lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The rule of all providers.
pub(crate) fn check_name(name: &str, span: Span) -> Result<()> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(syn::Error::new(
        span,
        "not a tool's name: providers take 1 to 64 letters, digits, `_` and `-`; set another with name = \"...\"",
    ))
}

fn effect(word: &LitStr) -> Result<TokenStream> {
    Ok(match word.value().as_str() {
        "read" => quote!(::ambidex::__private::EffectClass::Read),
        "idempotent" => quote!(::ambidex::__private::EffectClass::Idempotent),
        "once" => quote!(::ambidex::__private::EffectClass::Once),
        _ => {
            return Err(syn::Error::new(
                word.span(),
                "unknown effect; use \"read\" (changes nothing), \"idempotent\" (may be repeated under the same \
                 key) or \"once\", or leave it out",
            ));
        }
    })
}

fn milliseconds(text: &LitStr) -> Result<u64> {
    let value = text.value();
    let digits = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
    let factor = match &value[digits..] {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = value[..digits].parse::<u64>().ok().filter(|number| *number > 0);
    number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor)).ok_or_else(|| {
        syn::Error::new(
            text.span(),
            "not a duration; write a number and a unit: \"250ms\", \"10s\", \"5m\" or \"1h\"",
        )
    })
}

fn count(number: &LitInt, option: &str) -> Result<u32> {
    match number.base10_parse::<u32>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(syn::Error::new(number.span(), format!("`{option}` is a number, 1 at least"))),
    }
}
