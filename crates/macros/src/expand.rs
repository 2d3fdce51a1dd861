//! From a function to a unit struct of its name that implements `Tool`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, LitStr, Pat, PatType, Result, ReturnType, Type};

use crate::options::{ArgOptions, DefaultValue, ToolOptions, check_name, docs};

pub(crate) fn tool(options: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let options = ToolOptions::parse(options)?;
    let mut function: ItemFn = syn::parse2(function.clone())
        .map_err(|error| Error::new(error.span(), "#[tool] stands on a `fn` or an `async fn`"))?;
    check(&function)?;
    let ident = function.sig.ident.clone();
    let name = match options.name {
        Some(name) => name,
        None => {
            let name = ident.unraw().to_string();
            check_name(&name, ident.span())?;
            name
        }
    };
    let description = options.description.or_else(|| docs(&function.attrs)).unwrap_or_default();

    let mut fields = TokenStream::new();
    let mut defaults = TokenStream::new();
    let mut passed = Vec::new();
    let mut places = Vec::new();
    for input in &mut function.sig.inputs {
        let FnArg::Typed(parameter) = input else { continue };
        let place = Parameter::take(parameter)?;
        if place.is_context {
            passed.push(quote!(__context));
        } else {
            let at = format_ident!("__default_{}", places.len());
            place.declare(&at, &mut fields, &mut defaults);
            let field = &place.ident;
            passed.push(quote!(__arguments.#field));
        }
        places.push(place.ident.clone());
    }
    Ok(assemble(&Parts {
        function,
        ident,
        name,
        description,
        settings: options.settings,
        fields,
        defaults,
        passed,
        places,
    }))
}

struct Parts {
    function: ItemFn,
    ident: Ident,
    name: String,
    description: String,
    settings: TokenStream,
    fields: TokenStream,
    defaults: TokenStream,
    /// What the function is called with, by the tool.
    passed: Vec<TokenStream>,
    /// The parameters' names.
    places: Vec<Ident>,
}

fn assemble(parts: &Parts) -> TokenStream {
    let Parts { function, ident, name, description, settings, fields, defaults, passed, places } = parts;
    let visibility = &function.vis;
    let docs = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let (kind, call, awaited) = match function.sig.asyncness {
        Some(_) => (quote!(FunctionTool), quote!(#ident(#(#passed),*).await), quote!(.await)),
        None => (quote!(BlockingTool), quote!(#ident(#(#passed),*)), quote!()),
    };
    let result = if returns_result(&function.sig.output) {
        call
    } else {
        quote!(::core::result::Result::<_, ::core::convert::Infallible>::Ok(#call))
    };
    let result = if function.sig.asyncness.is_some() { quote!(async move { #result }) } else { result };
    let mut inner = function.clone();
    inner.vis = syn::Visibility::Inherited;
    inner.attrs.retain(|attribute| !attribute.path().is_ident("doc"));
    let (asyncness, output) = (&function.sig.asyncness, &function.sig.output);
    let types = function.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(parameter) => Some(&parameter.ty),
        FnArg::Receiver(_) => None,
    });
    quote! {
        #(#docs)*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #ident;

        #[allow(dead_code, clippy::all)]
        const _: () = {
            #inner

            #[derive(::ambidex::__private::serde::Deserialize, ::ambidex::__private::schemars::JsonSchema)]
            #[serde(crate = "::ambidex::__private::serde", deny_unknown_fields)]
            #[schemars(crate = "::ambidex::__private::schemars")]
            struct __Arguments { #fields }

            #defaults

            static __TOOL: ::std::sync::LazyLock<::ambidex::__private::#kind> = ::std::sync::LazyLock::new(|| {
                ::ambidex::__private::#kind::new(
                    #name,
                    #description,
                    |__arguments: __Arguments, __context: ::ambidex::__private::Context| #result,
                ) #settings
            });

            impl #ident {
                /// The function itself.
                pub #asyncness fn function(#(#places: #types),*) #output {
                    #ident(#(#places),*) #awaited
                }

                /// The tool, to set what the attribute does not.
                pub fn tool() -> ::ambidex::__private::#kind {
                    ::core::clone::Clone::clone(&*__TOOL)
                }
            }

            impl ::ambidex::__private::Tool for #ident {
                fn spec(&self) -> &::ambidex::__private::ToolSpec {
                    ::ambidex::__private::Tool::spec(&*__TOOL)
                }

                fn call(
                    &self,
                    arguments: ::ambidex::__private::serde_json::Value,
                    context: ::ambidex::__private::Context,
                ) -> ::ambidex::__private::BoxFuture<
                    'static,
                    ::core::result::Result<::ambidex::__private::ToolOutput, ::ambidex::__private::Error>,
                > {
                    ::ambidex::__private::Tool::call(&*__TOOL, arguments, context)
                }

                fn cancel_grace(&self) -> ::core::time::Duration {
                    ::ambidex::__private::Tool::cancel_grace(&*__TOOL)
                }

                fn blocks(&self) -> bool {
                    ::ambidex::__private::Tool::blocks(&*__TOOL)
                }
            }
        };
    }
}

struct Parameter {
    ident: Ident,
    ty: Type,
    options: ArgOptions,
    is_context: bool,
}

impl Parameter {
    /// Reads a parameter and removes what only we understand.
    fn take(parameter: &mut PatType) -> Result<Self> {
        let options = ArgOptions::parse(&parameter.attrs)?;
        parameter.attrs.clear();
        let Pat::Ident(pattern) = &*parameter.pat else {
            return Err(Error::new(
                parameter.pat.span(),
                "a parameter of a tool needs a name, since the model sees it; take it apart in the body",
            ));
        };
        let ident = pattern.ident.clone();
        let is_context = is_context(&parameter.ty);
        if let Type::Reference(reference) = &*parameter.ty {
            let remedy = if self::is_context(&reference.elem) {
                "take `Context` by value; it is cheap to clone"
            } else {
                "a tool owns its arguments; use an owned type, such as String for &str and Vec<T> for &[T]"
            };
            return Err(Error::new(reference.span(), remedy));
        }
        if let Type::ImplTrait(hidden) = &*parameter.ty {
            return Err(Error::new(
                hidden.span(),
                "an argument needs a type of its own to be read from JSON",
            ));
        }
        Ok(Self { ident, ty: (*parameter.ty).clone(), options, is_context })
    }

    fn declare(&self, default: &Ident, fields: &mut TokenStream, defaults: &mut TokenStream) {
        let Self { ident, ty, options, .. } = self;
        let description = options.description.as_ref().map(|text| quote!(#[doc = #text]));
        let rename = options.name.as_ref().map(|name| quote!(#[serde(rename = #name)]));
        let missing = options.default.as_ref().map(|value| match value {
            DefaultValue::OfType => quote!(#[serde(default)]),
            DefaultValue::Expression(value) => {
                defaults.extend(quote!(fn #default() -> #ty { #value }));
                let path = LitStr::new(&default.to_string(), ident.span());
                quote!(#[serde(default = #path)])
            }
        });
        fields.extend(quote!(#description #rename #missing #ident: #ty,));
    }
}

fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let fault = |at: proc_macro2::Span, problem: &str| Err(Error::new(at, problem));
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        return fault(
            receiver.span(),
            "a tool is a free function; make `self` a state that a closure captures, with \
                                       FunctionTool::new",
        );
    }
    if !signature.generics.params.is_empty() {
        return fault(signature.generics.span(), "a tool has no generic parameters; write out the types");
    }
    if let Some(unsafety) = &signature.unsafety {
        return fault(unsafety.span(), "a model must not call an unsafe function; wrap it in a safe one");
    }
    if let Some(variadic) = &signature.variadic {
        return fault(variadic.span(), "a tool has a fixed number of arguments; use Vec<T>");
    }
    let mut contexts = signature.inputs.iter().filter(|input| match input {
        FnArg::Typed(parameter) => is_context(&parameter.ty),
        FnArg::Receiver(_) => false,
    });
    match contexts.nth(1) {
        Some(second) => fault(second.span(), "there is one `Context`; remove this one"),
        None => Ok(()),
    }
}

fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Context"))
}

/// Any type named `Result`, with whatever arguments.
fn returns_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, ty) = output else { return false };
    matches!(&**ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Result"))
}
