//! The examples run, and what they say holds.
#![allow(clippy::unwrap_used)]

macro_rules! examples {
    ($($name:ident)*) => {$(
        mod $name {
            include!(concat!("../../examples/", stringify!($name), ".rs"));

            #[test]
            fn runs() {
                main().unwrap();
            }
        }
    )*};
}

examples!(tools streaming structured_output hooks approvals blocking);
